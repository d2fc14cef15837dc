"""Closed forms of w in d loss / d logprobs = -A w(r, sign of A): what figures and metrics show, and the tests' oracle.

They are written apart from `openklear.objectives.policy` on purpose; tests compare autograd with them. Shapes are free
and kept; `ratio` is pi/pi_old > 0, `positive` says where A > 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

TokenWeight = Callable[..., Tensor]
"""(ratio, positive, <the objective's own numbers>) -> w."""


def gppo(ratio: Tensor, positive: Tensor, *, clip_low: float, clip_high: float) -> Tensor:
    """Eq. 12: 1+eh if A > 0 and r > 1+eh; 1-el if A < 0 and r < 1-el; r otherwise."""
    bounded = torch.where(clipped_high(ratio, positive, clip_high), 1.0 + clip_high, ratio)
    return torch.where(clipped_low(ratio, positive, clip_low), 1.0 - clip_low, bounded)


def ppo_clip(ratio: Tensor, positive: Tensor, *, clip_low: float, clip_high: float) -> Tensor:
    """0 where Eq. 7's clip acts, r elsewhere."""
    acts = clipped_high(ratio, positive, clip_high) | clipped_low(ratio, positive, clip_low)
    return torch.where(acts, 0.0, ratio)


def cispo(ratio: Tensor, positive: Tensor, *, clip_low: float, clip_high: float) -> Tensor:
    """Eq. 16: r held in the band 1-el .. 1+eh, whatever the sign of A."""
    return ratio.clamp(1.0 - clip_low, 1.0 + clip_high)


def reinforce(ratio: Tensor, positive: Tensor) -> Tensor:
    """1."""
    return torch.ones_like(ratio)


WEIGHTS: Mapping[str, TokenWeight] = {"gppo": gppo, "ppo_clip": ppo_clip, "cispo": cispo, "reinforce": reinforce}
"""The recipe's `type` -> closed form; its other keys are the function's keyword arguments."""


def clipped_high(ratio: Tensor, positive: Tensor, clip_high: float) -> Tensor:
    """A > 0 and r > 1+eh: one of the two cells where PPO's clip acts."""
    return positive & (ratio > 1.0 + clip_high)


def clipped_low(ratio: Tensor, positive: Tensor, clip_low: float) -> Tensor:
    """A < 0 and r < 1-el: the other one. A = 0 is put with the negative; its gradient is 0 anyway."""
    return ~positive & (ratio < 1.0 - clip_low)
