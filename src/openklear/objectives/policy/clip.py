"""The PPO-clip family: one value, four ways to treat the tokens outside the band 1-clip_low .. 1+clip_high."""

from __future__ import annotations

import torch
from torch import Tensor

from openklear.objectives.catalog import listed
from openklear.objectives.policy.tokens import Tokens, loss_of, read


@listed(
    "GPPO",
    positive="min(r, 1+eh); beta_high (1+eh) above the band",
    negative="max(r, 1-el); beta_low (1-el) below it; 0 above dual_clip",
    source="arXiv 2508.07629, Eq. 11, 12, 17",
    note="betas of 1 and no dual clip are the report; its released code leaves a dual clip of 3 or 10 on",
)
def gppo(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    beta_low: float = 1.0,
    beta_high: float = 1.0,
    dual_clip: float | None = None,
    loss_mask: Tensor | None = None,
) -> Tensor:
    """GPPO, the report's Eq. 11: -min(r A, clip(r, (1-el)/sg(r) r, (1+eh)/sg(r) r) A), in the general form of Eq. 17.

    Value: that of `ppo_clip`. Gradient (Eq. 12): w = min(r, 1+eh) for A > 0, max(r, 1-el) for A < 0, so tokens that
    `ppo_clip` drops keep a bounded push. Unlike `cispo`, the pessimistic sides (A > 0 below the band, A < 0 above it)
    keep w = r. `beta_low` scales value and gradient below the band for A < 0, `beta_high` above it for A > 0 (Eq. 17,
    18); (1, 1) is GPPO. The released code leaves a `dual_clip` on (3 by default, 10 in its launch scripts): w = 0 for
    A < 0 above it; the report has none.
    """
    tokens = read(logprobs, old_logprobs, advantages, loss_mask)
    low, high = beta_low * (1.0 - clip_low), beta_high * (1.0 + clip_high)
    weight = torch.where(
        tokens.positive,
        torch.where(tokens.ratio > 1.0 + clip_high, high, tokens.ratio),
        torch.where(tokens.ratio < 1.0 - clip_low, low, tokens.ratio),
    )
    return loss_of(tokens, *_dual_clipped(tokens, -tokens.advantages * weight, weight, dual_clip))


@listed(
    "CE-GPPO",
    positive="r; beta_high (1+eh) above the band",
    negative="r; beta_low (1-el) below it",
    source="arXiv 2509.20712",
    note="the general form of GPPO with that paper's numbers (beta_low 0.5 to 0.75)",
)
def ce_gppo(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    beta_low: float = 0.75,
    beta_high: float = 1.0,
    loss_mask: Tensor | None = None,
) -> Tensor:
    """CE-GPPO (arXiv 2509.20712): the general form of `gppo` with the published numbers of that paper.

    Gradient: w = beta_high (1+eh) above the band for A > 0, beta_low (1-el) below it for A < 0, r elsewhere.
    """
    return gppo(
        logprobs,
        old_logprobs,
        advantages,
        clip_low=clip_low,
        clip_high=clip_high,
        beta_low=beta_low,
        beta_high=beta_high,
        loss_mask=loss_mask,
    )


@listed(
    "PPO clip, clip-higher",
    positive="r; 0 above 1+eh",
    negative="r; 0 below 1-el and above dual_clip",
    source="arXiv 1707.06347, 2503.14476; the report's Eq. 7",
    note="the value of GPPO, without the gradients of clipped tokens",
)
def ppo_clip(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    dual_clip: float | None = None,
    loss_mask: Tensor | None = None,
) -> Tensor:
    """PPO's clip with its own upper bound ("clip-higher"), the report's Eq. 7: -min(r A, clip(r, 1-el, 1+eh) A).

    Gradient: w = r, and 0 where the clip acts (A > 0 and r > 1+eh; A < 0 and r < 1-el). With `dual_clip` = c (arXiv
    1912.09729) the loss of a token with A < 0 is at most -A c, so w = 0 there above c. `gppo` has the same value and
    keeps the gradients that the clip drops. Sources: arXiv 1707.06347 (PPO), 2503.14476 (DAPO's clip-higher, defaults).
    """
    tokens = read(logprobs, old_logprobs, advantages, loss_mask)
    outside = torch.where(tokens.positive, tokens.ratio > 1.0 + clip_high, tokens.ratio < 1.0 - clip_low)
    weight = torch.where(outside, 0.0, tokens.ratio)
    value = clipped_value(tokens, 1.0 - clip_low, 1.0 + clip_high)
    return loss_of(tokens, *_dual_clipped(tokens, value, weight, dual_clip))


@listed(
    "two-sided clip",
    positive="r; 0 above 1+eh",
    negative="r; 0 below 1-el and above delta",
    source="arXiv 2505.07291",
    note="PPO's dual clip under another name; TRL's `delta`",
)
def two_sided(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    delta: float = 4.0,
    loss_mask: Tensor | None = None,
) -> Tensor:
    """Two-sided clipping of INTELLECT-2 (arXiv 2505.07291): -min(min(r, delta) A, clip(r, 1-el, 1+eh) A).

    Gradient: that of `ppo_clip`, and 0 for A < 0 above delta: it is PPO's dual clip under another name.
    """
    return ppo_clip(
        logprobs, old_logprobs, advantages, clip_low=clip_low, clip_high=clip_high, dual_clip=delta, loss_mask=loss_mask
    )


def clipped_value(tokens: Tokens, low: float, high: float) -> Tensor:
    """-min(r A, clip(r, low, high) A)."""
    return -torch.minimum(tokens.ratio * tokens.advantages, tokens.ratio.clamp(low, high) * tokens.advantages)


def _dual_clipped(tokens: Tokens, value: Tensor, weight: Tensor, bound: float | None) -> tuple[Tensor, Tensor]:
    """Value and weight with the loss of A < 0 held at -A bound, where no gradient is left."""
    if bound is None:
        return value, weight
    held = ~tokens.positive & (tokens.ratio > bound)
    return torch.where(held, -tokens.advantages * bound, value), torch.where(held, 0.0, weight)
