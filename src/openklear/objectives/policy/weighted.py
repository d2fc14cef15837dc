"""Losses that weigh each token's gradient by a function of its ratio, in place of PPO's clip."""

from __future__ import annotations

import torch
from torch import Tensor

from openklear.objectives.catalog import listed
from openklear.objectives.policy.tokens import log_value, loss_of, read, surrogate_value
from openklear.objectives.ratio import require_same_shape

_CISPO = "one of four dialects of CISPO"


@listed(
    "CISPO (report)",
    positive="clip(r, 1-el, 1+eh)",
    negative="the same",
    source="arXiv 2508.07629, Eq. 15, 16",
    note=f"{_CISPO}: both bounds, the numbers of the report's comparison",
)
def cispo(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    loss_mask: Tensor | None = None,
) -> Tensor:
    """CISPO as the report compares it, Eq. 15: -A sg(clip(r, 1-el, 1+eh)) log pi.

    Gradient (Eq. 16): w = clip(r, 1-el, 1+eh) for both signs of A. It differs from `gppo` on the pessimistic sides
    only: A > 0 below the band is pushed with 1-el instead of r, A < 0 above it with 1+eh instead of r. verl's dialect
    has this form with other numbers (`cispo_verl`); MiniMax's has no lower bound (`cispo_minimax`), TRL's one absolute
    cap (`cispo_trl`).
    """
    tokens = read(logprobs, old_logprobs, advantages, loss_mask)
    weight = tokens.ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
    return loss_of(tokens, log_value(tokens, weight), weight)


@listed(
    "CISPO (MiniMax)",
    positive="min(r, 1+eh)",
    negative="the same",
    source="arXiv 2506.13585",
    note=f"{_CISPO}: no lower bound; the paper prints no number, .28 is the report's",
)
def cispo_minimax(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    *,
    clip_high: float = 0.28,
    loss_mask: Tensor | None = None,
) -> Tensor:
    """CISPO as MiniMax-M1 runs it (arXiv 2506.13585, section 3.1): -A sg(min(r, 1+eh)) log pi, no lower bound.

    Gradient: w = min(r, 1+eh) for both signs of A. The paper prints no number for eh; ours is the report's.
    """
    tokens = read(logprobs, old_logprobs, advantages, loss_mask)
    weight = tokens.ratio.clamp(max=1.0 + clip_high)
    return loss_of(tokens, log_value(tokens, weight), weight)


@listed(
    "CISPO (verl)",
    positive="clip(r, 1-el, 1+eh)",
    negative="the same",
    source="verl 0.9.1, loss_mode cispo",
    note=f"{_CISPO}: both bounds, verl's clip_ratio on either side",
)
def cispo_verl(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    loss_mask: Tensor | None = None,
) -> Tensor:
    """CISPO as verl 0.9 runs it: `cispo` with verl's clip_ratio on either side.

    Gradient: w = clip(r, 1-el, 1+eh) for both signs of A.
    """
    return cispo(logprobs, old_logprobs, advantages, clip_low=clip_low, clip_high=clip_high, loss_mask=loss_mask)


@listed(
    "CISPO (TRL)",
    positive="min(r, cap)",
    negative="the same",
    source="TRL 1.16, loss_type cispo; arXiv 2510.13786",
    note=f"{_CISPO}: TRL's epsilon_high is the cap itself, not its distance from 1",
)
def cispo_trl(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, *, cap: float = 5.0, loss_mask: Tensor | None = None
) -> Tensor:
    """CISPO as TRL reads its `epsilon_high`: an absolute cap on r, -A sg(min(r, cap)) log pi, no lower bound.

    Gradient: w = min(r, cap) for both signs of A. Default: the 5 of arXiv 2510.13786, which TRL's documentation names.
    """
    tokens = read(logprobs, old_logprobs, advantages, loss_mask)
    weight = tokens.ratio.clamp(max=cap)
    return loss_of(tokens, log_value(tokens, weight), weight)


@listed(
    "SAPO",
    positive="4 s (1-s) r, s = sigmoid(tau_positive (r-1))",
    negative="the same with tau_negative",
    source="arXiv 2511.20347",
    note="a soft gate: never flat, without a corner",
)
def sapo(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    *,
    tau_positive: float = 1.0,
    tau_negative: float = 1.05,
    loss_mask: Tensor | None = None,
) -> Tensor:
    """SAPO (arXiv 2511.20347), a soft gate: -A (4/tau) sigmoid(tau (r-1)), tau by the sign of A.

    Gradient: w = 4 s (1-s) r with s = sigmoid(tau (r-1)): 1 at r = 1, falling to 0 on both sides without a corner.
    """
    tokens = read(logprobs, old_logprobs, advantages, loss_mask)
    ratio = tokens.ratio
    tau = torch.where(tokens.positive, ratio.new_tensor(tau_positive), ratio.new_tensor(tau_negative))
    shift = tau * (ratio - 1.0)
    weight = 4.0 * torch.sigmoid(shift) * torch.sigmoid(-shift) * ratio  # 1-s would lose digits
    return loss_of(tokens, surrogate_value(tokens, 4.0 / tau * torch.sigmoid(shift)), weight)


@listed(
    "ASPO",
    positive="min(1/r, cap); 0 above 1+eh",
    negative="min(r, cap); 0 below 1-el",
    source="arXiv 2510.06062",
    note="the ratio is inverted for A > 0",
)
def aspo(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    cap: float = 3.0,
    loss_mask: Tensor | None = None,
) -> Tensor:
    """ASPO (arXiv 2510.06062): for A > 0 the ratio is inverted, so that unlikely tokens are pushed harder.

    Gradient: A > 0: w = min(1/r, cap), 0 above 1+eh; A < 0: w = min(r, cap), 0 below 1-el. Value: -A times that weight,
    held at the band's edge where the gradient is dropped.
    """
    tokens = read(logprobs, old_logprobs, advantages, loss_mask)
    inside = torch.where(
        tokens.positive, tokens.ratio.clamp(max=1.0 + clip_high), tokens.ratio.clamp(min=1.0 - clip_low)
    )
    held = torch.where(tokens.positive, 1.0 / inside, inside).clamp(max=cap)
    weight = torch.where(inside == tokens.ratio, held, 0.0)
    return loss_of(tokens, surrogate_value(tokens, held), weight)


@listed(
    "DGPO",
    positive="r; r^(1-1/m) (1+eh)^(1/m) above the band",
    negative="r; r (r/(1-el))^n below it",
    source="arXiv 2603.14389",
    note="decays beyond the band, continuous at its edges",
)
def dgpo(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    n: float = 1.0,
    m: float = 2.0,
    loss_mask: Tensor | None = None,
) -> Tensor:
    """DGPO (arXiv 2603.14389): outside the band the gradient decays in probability space instead of stopping.

    Gradient: A > 0 above 1+eh: w = r^(1-1/m) (1+eh)^(1/m); A < 0 below 1-el: w = r (r/(1-el))^n; r elsewhere, so w is
    continuous at both edges. Value: -A w.
    """
    tokens = read(logprobs, old_logprobs, advantages, loss_mask)
    low, high, ratio = 1.0 - clip_low, 1.0 + clip_high, tokens.ratio
    above = torch.where(ratio > high, ratio ** (1.0 - 1.0 / m) * high ** (1.0 / m), ratio)
    below = torch.where(ratio < low, ratio * (ratio / low) ** n, ratio) if low > 0 else ratio
    weight = torch.where(tokens.positive, above, below)
    return loss_of(tokens, surrogate_value(tokens, weight), weight)


@listed(
    "TOPR",
    positive="1 for correct rollouts",
    negative="min(r, 1) for the others",
    source="arXiv 2503.14286",
    note="switches on the verdict, not on the sign of A",
)
def topr(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, *, correct: Tensor, loss_mask: Tensor | None = None
) -> Tensor:
    """TOPR (arXiv 2503.14286): -A sg(w) log pi, w = 1 for correct rollouts and min(r, 1) for the others.

    `correct` (B, T) bool is the verdict on the token's rollout; the sign of A plays no part in w.
    """
    require_same_shape(logprobs=logprobs, correct=correct)
    tokens = read(logprobs, old_logprobs, advantages, loss_mask)
    weight = torch.where(correct, 1.0, tokens.ratio.clamp(max=1.0))
    return loss_of(tokens, log_value(tokens, weight), weight)


@listed(
    "DPPO (binary TV)",
    positive="min(r, cap); 0 where p (r-1) > divergence",
    negative="min(r, cap); 0 where p (1-r) > divergence",
    source="arXiv 2602.04879",
    note="a band on the probability; drawn at p = 0.2",
)
def dppo_tv(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    *,
    divergence: float = 0.2,
    cap: float = 20.0,
    loss_mask: Tensor | None = None,
) -> Tensor:
    """DPPO with binary total variation (arXiv 2602.04879): a band on the probability, not on the ratio.

    Gradient: w = min(r, cap); 0 for A > 0 where pi - pi_old > d, and for A < 0 where pi_old - pi > d. A rare token may
    thus move by a large ratio, a frequent one may not. Value: -A sg(w) log pi.
    """
    tokens = read(logprobs, old_logprobs, advantages, loss_mask)
    # Not from the bounded ratio: a token that rose from e^-100 to .9 has gained .9.
    gained = tokens.logprobs.detach().clamp(max=0.0).exp() - tokens.old_logprobs.clamp(max=0.0).exp()
    outside = torch.where(tokens.positive, gained > divergence, -gained > divergence)
    weight = torch.where(outside, 0.0, tokens.ratio.clamp(max=cap))
    return loss_of(tokens, log_value(tokens, weight), weight)
