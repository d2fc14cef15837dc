"""Closed forms of w in d loss / d logprobs = -A w(r, sign of A): the tests' oracle.

They are written apart from `openklear.objectives.policy` on purpose; tests compare autograd with them. Shapes are free
and kept; `ratio` is pi/pi_old > 0, `positive` says where A > 0. Of the sequence losses, `ratio` is the sequence's.
Formulas and sources: `openklear.objectives.catalog`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

TokenWeight = Callable[..., Tensor]
"""(ratio, positive, <the objective's own numbers>) -> w."""


def reinforce(ratio: Tensor, positive: Tensor) -> Tensor:
    """1."""
    return torch.ones_like(ratio)


def ppo_clip(
    ratio: Tensor, positive: Tensor, *, clip_low: float, clip_high: float, dual_clip: float | None = None
) -> Tensor:
    """0 where Eq. 7's clip or the dual clip acts, r elsewhere."""
    acts = clipped_high(ratio, positive, clip_high) | clipped_low(ratio, positive, clip_low)
    return torch.where(acts | _dual(ratio, positive, dual_clip), 0.0, ratio)


def two_sided(ratio: Tensor, positive: Tensor, *, clip_low: float, clip_high: float, delta: float) -> Tensor:
    """r where A > 0 and r <= 1+eh, or A < 0 and 1-el <= r <= delta; 0 elsewhere."""
    kept = torch.where(positive, ratio <= 1.0 + clip_high, (ratio >= 1.0 - clip_low) & (ratio <= delta))
    return ratio * kept


def gppo(
    ratio: Tensor,
    positive: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    beta_low: float = 1.0,
    beta_high: float = 1.0,
    dual_clip: float | None = None,
) -> Tensor:
    """Eq. 18: beta_high (1+eh) if A > 0 and r > 1+eh; beta_low (1-el) if A < 0 and r < 1-el; r otherwise.

    Eq. 12 is that with both betas 1.
    """
    bounded = torch.where(clipped_high(ratio, positive, clip_high), beta_high * (1.0 + clip_high), ratio)
    bounded = torch.where(clipped_low(ratio, positive, clip_low), beta_low * (1.0 - clip_low), bounded)
    return torch.where(_dual(ratio, positive, dual_clip), 0.0, bounded)


def ce_gppo(
    ratio: Tensor, positive: Tensor, *, clip_low: float, clip_high: float, beta_low: float, beta_high: float
) -> Tensor:
    """r inside the band and on the pessimistic sides, beta times the band's edge in the two clipped cells."""
    above, below = ratio - (1.0 + clip_high), (1.0 - clip_low) - ratio
    clipped = torch.where(positive, above, below) > 0
    high = torch.where(clipped & positive, beta_high * (1.0 + clip_high), ratio)
    return torch.where(clipped & ~positive, beta_low * (1.0 - clip_low), high)


def cispo(ratio: Tensor, positive: Tensor, *, clip_low: float, clip_high: float) -> Tensor:
    """Eq. 16: r held in the band 1-el .. 1+eh, whatever the sign of A."""
    return ratio.clamp(1.0 - clip_low, 1.0 + clip_high)


def cispo_verl(ratio: Tensor, positive: Tensor, *, clip_low: float, clip_high: float) -> Tensor:
    """1-el below the band, 1+eh above it, r inside."""
    return ratio.maximum(torch.full_like(ratio, 1.0 - clip_low)).minimum(torch.full_like(ratio, 1.0 + clip_high))


def cispo_minimax(ratio: Tensor, positive: Tensor, *, clip_high: float) -> Tensor:
    """min(r, 1+eh)."""
    return torch.where(ratio > 1.0 + clip_high, 1.0 + clip_high, ratio)


def cispo_trl(ratio: Tensor, positive: Tensor, *, cap: float) -> Tensor:
    """min(r, cap)."""
    return torch.where(ratio > cap, cap, ratio)


def sapo(ratio: Tensor, positive: Tensor, *, tau_positive: float, tau_negative: float) -> Tensor:
    """r / cosh^2(tau (r-1) / 2), which is 4 s (1-s) r."""
    tau = torch.where(positive, ratio.new_tensor(tau_positive), ratio.new_tensor(tau_negative))
    half = (tau * (ratio - 1.0) / 2).abs()
    decay = torch.exp(-2 * half)
    return ratio * 4 * decay / (1 + decay) ** 2  # 1/cosh^2 without overflow


def aspo(ratio: Tensor, positive: Tensor, *, clip_low: float, clip_high: float, cap: float) -> Tensor:
    """A > 0: min(1/r, cap), 0 above 1+eh; A < 0: min(r, cap), 0 below 1-el."""
    kept = ~(clipped_high(ratio, positive, clip_high) | clipped_low(ratio, positive, clip_low))
    return torch.where(positive, 1.0 / ratio, ratio).clamp(max=cap) * kept


def dgpo(ratio: Tensor, positive: Tensor, *, clip_low: float, clip_high: float, n: float, m: float) -> Tensor:
    """A > 0, r > 1+eh: r^(1-1/m) (1+eh)^(1/m); A < 0, r < 1-el: r (r/(1-el))^n; r elsewhere. In logarithms."""
    log = ratio.log()
    high = math.log1p(clip_high)
    low = math.log1p(-clip_low) if clip_low < 1 else -math.inf
    above = log - (log - high).clamp(min=0) / m
    below = log + n * (log - low).clamp(max=0)
    return torch.where(positive, above, below).exp()


def topr(ratio: Tensor, positive: Tensor) -> Tensor:
    """1 where the rollout is correct, min(r, 1) where it is not; here `positive` says which are correct."""
    return torch.where(positive | (ratio > 1.0), 1.0, ratio)


def dppo_tv(
    ratio: Tensor, positive: Tensor, *, divergence: float, cap: float, old_prob: Tensor | float = 0.2
) -> Tensor:
    """min(r, cap), 0 where p (r-1) > d with A > 0 or p (1-r) > d with A < 0; p = pi_old, for the figure .2."""
    moved = torch.where(positive, ratio - 1.0, 1.0 - ratio) * old_prob
    return ratio.clamp(max=cap) * (moved <= divergence)


def gspo(ratio: Tensor, positive: Tensor, *, clip_low: float, clip_high: float) -> Tensor:
    """s, 0 where the clip acts; `ratio` is s = exp(mean log r) of the sequence."""
    kept = torch.where(positive, ratio <= 1.0 + clip_high, ratio >= 1.0 - clip_low)
    return ratio * kept


def gmpo(
    ratio: Tensor, positive: Tensor, *, clip_low: float, clip_high: float, sequence_ratio: Tensor | None = None
) -> Tensor:
    """rho where A > 0 and log r <= ch, or A < 0 and log r >= -cl; 0 elsewhere. `ratio` is the token's.

    Without `sequence_ratio` = rho, sequences of one token, as in the figure: there rho is r wherever w is not 0.
    """
    kept = torch.where(positive, ratio.log() <= clip_high, ratio.log() >= -clip_low)
    return (ratio if sequence_ratio is None else sequence_ratio) * kept


WEIGHTS: Mapping[str, TokenWeight] = {
    "gppo": gppo,
    "ce_gppo": ce_gppo,
    "ppo_clip": ppo_clip,
    "two_sided": two_sided,
    "cispo": cispo,
    "cispo_minimax": cispo_minimax,
    "cispo_verl": cispo_verl,
    "cispo_trl": cispo_trl,
    "sapo": sapo,
    "aspo": aspo,
    "dgpo": dgpo,
    "topr": topr,
    "dppo_tv": dppo_tv,
    "gspo": gspo,
    "gmpo": gmpo,
    "reinforce": reinforce,
}
"""The recipe's `type` -> closed form; its other keys are the function's keyword arguments."""


def clipped_high(ratio: Tensor, positive: Tensor, clip_high: float) -> Tensor:
    """A > 0 and r > 1+eh: one of the two cells where PPO's clip acts."""
    return positive & (ratio > 1.0 + clip_high)


def clipped_low(ratio: Tensor, positive: Tensor, clip_low: float) -> Tensor:
    """A < 0 and r < 1-el: the other one. A = 0 is put with the negative; its gradient is 0 anyway."""
    return ~positive & (ratio < 1.0 - clip_low)


def _dual(ratio: Tensor, positive: Tensor, bound: float | None) -> Tensor:
    return ~positive & (ratio > (math.inf if bound is None else bound))
