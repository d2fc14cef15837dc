"""What every framework is asked: a few tokens that reach each case of the losses, and the ways to split them.

All numbers are exact in fp32, so that a framework working in fp32 sees the same inputs as the formula in float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Partition = tuple[tuple[int, ...], ...]
"""Micro-batches as row numbers; every row is in one of them."""


@dataclass(frozen=True, slots=True)
class Fixture:
    """One optimizer step: B rows, one completion each, of at most T tokens."""

    name: str
    logprobs: Tensor
    """(B, T) float64; a leaf without gradient; clone it to have one."""
    old_logprobs: Tensor
    """(B, T) float64."""
    advantages: Tensor
    """(B,) float64, one number per row."""
    mask: Tensor
    """(B, T) bool, the loss tokens; ragged."""
    groups: tuple[int, ...]
    """The group (prompt) of each row."""
    partitions: Mapping[str, Partition]
    """The first one is the whole step as one micro-batch."""

    @property
    def correct(self) -> Tensor:
        """(B,) bool: verdicts that do not follow the sign of A."""
        return torch.arange(len(self.mask)) % 3 != 1

    @property
    def lengths(self) -> list[int]:
        """Loss tokens of each row."""
        return [int(n) for n in self.mask.sum(dim=1)]

    def to(self, dtype: torch.dtype) -> Fixture:
        """The same with numbers of another type, none of which changes its value in fp32."""
        current, old, advantages = (t.to(dtype) for t in (self.logprobs, self.old_logprobs, self.advantages))
        return Fixture(self.name, current, old, advantages, self.mask, self.groups, self.partitions)

    @property
    def whole(self) -> Partition:
        """All rows as one micro-batch."""
        return (tuple(range(len(self.mask))),)


_LENGTHS = (8, 5, 3, 7, 1, 6)
_ADVANTAGES = (1.0, -1.0, 0.5, -0.5, 1.5, -1.5)
_GROUPS = (0, 0, 1, 1, 2, 2)
_WIDTH = max(_LENGTHS)

# Below, inside and above every published band, and above the dual clips of 3 and 10. A row takes them from its start.
_NEAR = tuple(math.log(r) for r in (1.5, 0.5, 0.79, 1.1, 0.95, 1.27, 3.5, 0.1, 12.0, 0.7, 1.25, 1.0))
_STARTS = (0, 7, 2, 5, 0, 1)
_OLD = (-0.125, -1.5, -0.5, -3.0, -0.25, -6.0, -2.25)


def fixtures() -> dict[str, Fixture]:
    """By name: `near`, `far`, `runaway` and `masked`.

    near     ratios .1 to 12 on both signs of A: all four cells outside the band, and the inside
    far      log r of 25 to 100 and -25 to -100 beyond the band where PPO's clip drops the token (and A > 0 below it)
    runaway  A < 0 with log r of 25 and 100: PPO and GPPO push back with r itself, which overflows unless it is bounded
    masked   `near`, with NaN in both log-probabilities at every position outside the mask
    """
    near = _fixture("near", _near_log_ratios())
    far = _fixture("far", _with(_near_log_ratios(), _FAR))
    runaway = _fixture("runaway", _with(_near_log_ratios(), _RUNAWAY))
    hidden = [torch.where(near.mask, t, math.nan) for t in (near.logprobs, near.old_logprobs)]
    masked = Fixture("masked", hidden[0], hidden[1], near.advantages, near.mask, near.groups, near.partitions)
    return {f.name: f for f in (near, far, runaway, masked)}


_FAR = {(0, 0): 25.0, (0, 4): 100.0, (2, 1): -30.0, (2, 2): 90.0, (1, 0): -25.0, (1, 3): -100.0, (3, 2): -90.0}
_RUNAWAY = {(1, 1): 25.0, (3, 4): 100.0, (5, 2): 50.0}


def _near_log_ratios() -> list[list[float]]:
    rows = [_from(start) for start in _STARTS]
    rows[4][0] = 2.0**-13  # inside the narrow band of sequence losses
    return rows


def _from(start: int) -> list[float]:
    """A row of log-ratios, taken from `_NEAR` in a circle."""
    return [_NEAR[(start + t) % len(_NEAR)] for t in range(_WIDTH)]


def _with(rows: list[list[float]], far: Mapping[tuple[int, int], float]) -> list[list[float]]:
    """The rows, changed in place."""
    for (b, t), value in far.items():
        rows[b][t] = value
    return rows


def _fixture(name: str, log_ratios: Sequence[Sequence[float]]) -> Fixture:
    log_ratio = torch.tensor(log_ratios, dtype=torch.float32)
    count = log_ratio.numel()
    old = torch.tensor([_OLD[i % len(_OLD)] for i in range(count)], dtype=torch.float32).view_as(log_ratio)
    old = torch.minimum(old, -log_ratio - 0.125)  # so that log pi is negative too
    mask = torch.arange(_WIDTH) < torch.tensor(_LENGTHS)[:, None]
    rows = range(len(_LENGTHS))
    partitions: dict[str, Partition] = {
        "whole": (tuple(rows),),
        "one by one": tuple((b,) for b in rows),
        "unequal": ((0, 4), (1, 2, 3), (5,)),
    }
    advantages = torch.tensor(_ADVANTAGES, dtype=torch.float64)
    return Fixture(name, (old + log_ratio).double(), old.double(), advantages, mask, _GROUPS, partitions)
