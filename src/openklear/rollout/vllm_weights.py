"""A model's weights in the memory that a vLLM process shares with this one."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from openklear.models.lora import plain_weights
from openklear.rollout.vllm_worker import digest

ALIGNED = 64
"""Bytes at a multiple of which every tensor begins."""


@dataclass(frozen=True, slots=True)
class Written:
    """What lies there."""

    size: int
    hash: str
    """Of all bytes."""
    tensors: tuple[tuple[str, str, tuple[int, ...], int], ...]
    """(name, dtype, shape, offset) of each; tied ones stand there once."""


def write_weights(model: Any, memory: int) -> Written:
    """Write the weights as they are now into the open file `memory`, whose old content goes; adapters are merged."""
    rows, place = [], 0
    for name, one in _weights(model):
        rows.append((name, str(one.dtype).removeprefix("torch."), tuple(one.shape), place))
        place += -(-one.nbytes // ALIGNED) * ALIGNED
    os.ftruncate(memory, 0)
    os.ftruncate(memory, place)
    with mmap.mmap(memory, place) as content:
        for (_, one), (_, _, shape, offset) in zip(_weights(model), rows, strict=True):
            view = torch.frombuffer(content, dtype=one.dtype, count=one.numel(), offset=offset)
            view.view(shape).copy_(one)
            del view  # the memory can only be closed once nothing points into it
        found = digest(content)
    return Written(place, found, tuple(rows))


def _weights(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Of a plain model; a tensor that is tied to another stands there once, and buffers are the architecture's own."""
    own = {name.replace(".base_layer.", ".") for name, _ in model.named_parameters()}
    return ((name, one.detach()) for name, one in plain_weights(model) if name in own)
