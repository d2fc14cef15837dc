"""Dropout that depends on a token and its step alone, not on what is computed beside it.

Whether an input of a layer is dropped follows from the step, the sequence up to the token, the layer and the input's
index: numbers that are hashed, not drawn one after another. So the gradient of a step does not depend on how its
sequences are split into micro-batches, padded or packed, activations that are computed again are the same, and a run
that goes on from a checkpoint has the same bits. What two sequences of a step begin with in common, as two with one
prompt do, is dropped alike, whether it is computed once or twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["Draws", "TokenDropout", "dropping", "drops", "next_step", "token_keys"]

_MARK = "openklear_dropout"
_GOLDEN = 0x9E3779B9 - (1 << 32)
_MIXERS = 0x85EBCA6B - (1 << 32), 0xC2B2AE35 - (1 << 32)
"""Of MurmurHash3's last stage, as signed numbers of 32 bits, which wrap around."""


class Draws:
    """What all layers of a model have in common: the step, and the keys of the tokens in hand."""

    def __init__(self, model: nn.Module, name: str) -> None:
        self.name, self.salt = name, 0
        self.keys: Tensor | None = None
        setattr(model, _MARK, self)


class TokenDropout(nn.Module):
    """Drops a share of a layer's inputs, where a gradient is taken inside `dropping`; elsewhere it does nothing."""

    def __init__(self, share: float, layer: str, draws: Draws) -> None:
        super().__init__()
        self.share, self.draws, self.salt = share, draws, _hashed(layer)
        self.least = int(share * 2**32) - 2**31  # a hash below it, of all 2^32, is dropped

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (..., in), one row for each key in hand."""
        keys = self.draws.keys
        if keys is None or not torch.is_grad_enabled():  # probes of the model take no gradient
            return inputs
        of_token = _mixed(keys.reshape(*inputs.shape[:-1], 1) ^ _narrow(self.salt ^ self.draws.salt))
        index = torch.arange(inputs.shape[-1], dtype=torch.int32, device=inputs.device) * _GOLDEN
        dropped = _mixed(of_token + index) < self.least
        return inputs.masked_fill(dropped, 0.0) * (1.0 / (1.0 - self.share))


def next_step(model: Any, number: int) -> None:
    """Tell the model's dropout, if there is one, which step comes."""
    draws: Draws | None = getattr(model, _MARK, None)
    if draws is not None:
        draws.salt = _hashed(f"{draws.name}/{number}")


def drops(model: Any) -> bool:
    """Whether the model has dropout; then a token's state depends on its whole sequence, which no other may share."""
    return getattr(model, _MARK, None) is not None


@contextmanager
def dropping(model: Any, keys: Tensor) -> Iterator[None]:
    """Dropout acts on the tokens of these keys (B, T) meanwhile, forward and backward."""
    draws: Draws | None = getattr(model, _MARK, None)
    if draws is None:
        yield
        return
    draws.keys = keys.int()
    try:
        yield
    finally:
        draws.keys = None


def token_keys(ids: NDArray[np.int32]) -> NDArray[np.int32]:
    """A key for every token of a sequence (T,), from the sequence up to it."""
    places = np.arange(1, len(ids) + 1, dtype=np.uint64)
    each = _scattered(ids.astype(np.uint64) + places * np.uint64(0x9E3779B97F4A7C15))
    return (_scattered(np.cumsum(each, dtype=np.uint64)) >> np.uint64(32)).astype(np.uint32).view(np.int32)


def _scattered(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finalizer; multiplication wraps around."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        numbers = (numbers ^ (numbers >> np.uint64(shift))) * np.uint64(factor)
    return numbers ^ (numbers >> np.uint64(31))


def _hashed(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little", signed=True)


def _narrow(number: int) -> int:
    return (number + (1 << 31)) % (1 << 32) - (1 << 31)


def _mixed(numbers: Tensor) -> Tensor:
    """MurmurHash3's finalizer of int32 numbers; multiplication wraps around."""
    for shift, factor in zip((16, 13), _MIXERS, strict=True):
        numbers = (numbers ^ _shifted(numbers, shift)) * factor
    return numbers ^ _shifted(numbers, 16)


def _shifted(numbers: Tensor, bits: int) -> Tensor:
    """Shifted to the right, zeros coming in."""
    return (numbers >> bits) & ((1 << (32 - bits)) - 1)
