"""One step of AdamW with moments of 8 bits on a CPU: torchao's arithmetic, to the bit, at a fiftieth of its cost there.

A moment x is kept as a code c (a byte) and a scale s for each 256 of them: x = map[c] * s, where the map has 256 values
in rising order. Two things make it fast. The tensor is gone through in stretches that stay in the cache. And a number's
code is not searched in eight halvings: the upper 16 bits of an fp32 number leave at most two neighbouring codes, which
a table holds, and one comparison decides between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

__all__ = ["Rates", "step_of_8_bits"]

STRETCH = 1 << 15
"""Numbers gone through at a time."""
BLOCK = 256
SMALLEST = 1e-12
"""A scale is at least this."""


@dataclass(frozen=True, slots=True)
class Rates:
    """The numbers of a step; tensors are of no dimension, as torchao has them, and round like its."""

    rate: Tensor
    decay: Tensor
    """Learning rate * weight decay."""
    beta1: float
    beta2: float
    correct1: Tensor
    """1 - beta1 ** step."""
    correct2: Tensor
    eps: float


def step_of_8_bits(parameter: Tensor, first: Any, second: Any, rates: Rates) -> None:
    """Move `parameter` (fp32, by its `.grad`) and the moments `first` and `second` (torchao's OptimState8bit)."""
    assert parameter.grad is not None
    weights, gradients = parameter.detach().view(-1), parameter.grad.reshape(-1)
    moments = [(m.codes.view(-1), m.scale, quantiser(tuple(m.qmap.tolist()))) for m in (first, second)]
    for start in range(0, len(weights), STRETCH):
        part, blocks = slice(start, start + STRETCH), slice(start // BLOCK, (start + STRETCH) // BLOCK)
        gradient = gradients[part]
        found = []
        for (codes, scale, quantise), beta, new in zip(
            moments, (rates.beta1, rates.beta2), (gradient, gradient.square()), strict=True
        ):
            moment = quantise.read(codes[part], scale[blocks]).lerp_(new, 1 - beta)
            codes[part], scale[blocks] = quantise.written(moment)
            found.append(moment)
        down = (found[1].sqrt_() / rates.correct2.sqrt()).add_(rates.eps)
        weight = weights[part]
        kept = weight - rates.decay * weight
        torch.sub(kept, rates.rate * (found[0] / rates.correct1) / down, out=weight)


class Quantiser:
    """From fp32 numbers to codes and back, for one map of 256 rising values."""

    def __init__(self, values: tuple[float, ...]) -> None:
        self.values = torch.tensor(values)
        self.thresholds = torch.cat([_thresholds(self.values), torch.tensor([float("inf")])])
        self.table = self._table()

    def read(self, codes: Tensor, scale: Tensor) -> Tensor:
        """Numbers (n,) of codes (n,) and scales (n / 256,)."""
        found = self.values.index_select(0, codes.int())
        return (found.view(-1, BLOCK) * scale[:, None]).view(-1)

    def written(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Codes and scales of numbers (n,)."""
        blocks = numbers.view(-1, BLOCK)
        scale = blocks.abs().amax(-1).clip(SMALLEST)
        return self.codes((blocks / scale[:, None]).view(-1)), scale

    def codes(self, numbers: Tensor) -> Tensor:
        """How many thresholds a number has reached: the index of the value that it is nearest to."""
        codes = self.table.index_select(0, (numbers.view(torch.int32) >> 16) + (1 << 15))
        return codes.add_(numbers >= self.thresholds.index_select(0, codes)).to(torch.uint8)

    def _table(self) -> Tensor:
        """For the upper 16 bits of a number, the code of the least number that has them."""
        upper = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32) << 16
        least = torch.where(upper < 0, upper | 0xFFFF, upper).view(torch.float32)  # a negative one falls with its bits
        return torch.bucketize(least, self.thresholds[:-1], right=True).int()


@lru_cache(maxsize=4)
def quantiser(values: tuple[float, ...]) -> Quantiser:
    """The one for a map."""
    return Quantiser(values)


def _thresholds(values: Tensor) -> Tensor:
    """The least fp32 number that torchao rounds up from each value to the next.

    It does so where x - low >= (high - low) / 2 in fp32, which may be a number or two beside the middle.
    """
    low, high = values[:-1], values[1:]
    half = (high - low) * 0.5
    found = low + half
    infinity = torch.full_like(found, float("inf"))
    for _ in range(4):  # to where it is rounded down for certain
        found = torch.nextafter(found, -infinity)
    for _ in range(9):
        found = torch.where(found - low >= half, found, torch.nextafter(found, infinity))
    return found
