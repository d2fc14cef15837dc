"""A model's weights packed for the way to another process: named bytes, and a hash that both sides compute."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openklear.errors import EngineError


@dataclass(frozen=True, slots=True, eq=False)
class Parcel:
    """Tensors as bytes: arrays of numpy, which are handed from process to process without a copy."""

    forms: tuple[tuple[str, str, tuple[int, ...]], ...]
    """(name, dtype, shape) of each tensor, in the order of `contents`."""
    contents: tuple[NDArray[np.uint8], ...]
    hash: str


def pack(weights: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> Parcel:
    """The weights by name; floating-point ones as `dtype`, where it is given."""
    forms, contents = [], []
    for name, tensor in weights.items():
        sent = tensor.detach().to("cpu")
        if dtype is not None and sent.is_floating_point():
            sent = sent.to(dtype)
        sent = sent.contiguous()
        forms.append((name, str(sent.dtype).removeprefix("torch."), tuple(sent.shape)))
        contents.append(sent.reshape(-1).view(torch.uint8).numpy())
    return Parcel(tuple(forms), tuple(contents), _hash(forms, contents))


def unpack(parcel: Parcel) -> dict[str, Tensor]:
    """The weights, in memory that is not to be written to. EngineError where they are not those that were packed."""
    if _hash(parcel.forms, parcel.contents) != parcel.hash:
        raise EngineError(
            "weights arrived damaged: their hash is not the one they were sent with; begin the stage again"
        )
    found = {}
    for (name, dtype, shape), content in zip(parcel.forms, parcel.contents, strict=True):
        flat = torch.from_numpy(np.array(content, copy=True)).view(getattr(torch, dtype))
        found[name] = flat.reshape(shape)
    return found


def _hash(forms: Iterable[tuple[str, str, tuple[int, ...]]], contents: Iterable[NDArray[np.uint8]]) -> str:
    digest = hashlib.blake2b(repr(tuple(forms)).encode(), digest_size=16)
    for content in contents:
        digest.update(content.data)
    return digest.hexdigest()
