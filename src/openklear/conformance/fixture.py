"""What every framework is asked: a few tokens that reach each case of the losses, and the ways to split them.

All numbers are exact in fp32, so that a framework working in fp32 sees the same inputs as the formula in float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Partition = tuple[tuple[int, ...], ...]
"""Micro-batches as row numbers; every row is in one of them."""


@dataclass(frozen=True, slots=True)
class Fixture:
    """One optimizer step: B rows, one completion each, of at most T tokens."""

    logprobs: Tensor
    """(B, T) float64; a leaf without gradient; clone it to have one."""
    old_logprobs: Tensor
    """(B, T) float64."""
    advantages: Tensor
    """(B,) float64, one number per row."""
    mask: Tensor
    """(B, T) bool, the loss tokens; ragged."""

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
        return Fixture(current, old, advantages, self.mask)


WHOLE: Partition = ((0, 1, 2, 3, 4, 5),)
EQUAL: Partition = ((0,), (1,), (2,), (3,), (4,), (5,))
UNEQUAL: Partition = ((0, 4), (1, 2, 3), (5,))
GROUPS = (0, 0, 1, 1, 2, 2)
"""The group (prompt) of each row."""
_LENGTHS = (8, 5, 3, 7, 1, 6)
_ADVANTAGES = (1.0, -1.0, 0.5, -0.5, 1.5, -1.5)

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
    near = _fixture({})
    hidden, old = (torch.where(near.mask, t, math.nan) for t in (near.logprobs, near.old_logprobs))
    masked = Fixture(hidden, old, near.advantages, near.mask)
    return {"near": near, "far": _fixture(_FAR), "runaway": _fixture(_RUNAWAY), "masked": masked}


_FAR = {(0, 0): 25.0, (0, 4): 100.0, (2, 1): -30.0, (2, 2): 90.0, (1, 0): -25.0, (1, 3): -100.0, (3, 2): -90.0}
_RUNAWAY = {(1, 1): 25.0, (3, 4): 100.0, (5, 2): 50.0}


def _fixture(far: Mapping[tuple[int, int], float]) -> Fixture:
    """`near`, with some log-ratios changed."""
    places = torch.arange(max(_LENGTHS))
    log_ratio = torch.tensor(_NEAR)[(torch.tensor(_STARTS)[:, None] + places) % len(_NEAR)]  # (B, T)
    log_ratio[4, 0] = 2.0**-13  # inside the narrow band of sequence losses
    for place, value in far.items():
        log_ratio[place] = value
    old = torch.tensor(_OLD)[torch.arange(log_ratio.numel()) % len(_OLD)].view_as(log_ratio)
    old = torch.minimum(old, -log_ratio - 0.125)  # so that log pi is negative too
    mask = places < torch.tensor(_LENGTHS)[:, None]
    return Fixture((old + log_ratio).double(), old.double(), torch.tensor(_ADVANTAGES, dtype=torch.float64), mask)
