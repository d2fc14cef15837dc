"""Policy objectives: per-token losses (B, T), minimised; aggregation is `openklear.objectives.aggregate`.

Notation: r = pi/pi_old of the token, A its advantage, el = clip_low, eh = clip_high, w the weight in
d loss / d logprobs = -A w (closed forms in `openklear.objectives.weights`). Every function takes `logprobs` (with
gradient), `old_logprobs` and `advantages`, all (B, T), and a `loss_mask` (B, T) of bools: outside it the inputs are not
looked at (NaN included), the loss is 0 and no gradient flows. Without a mask every position counts.

Value and gradient are computed side by side and joined by `_Sloped`, since log r is bounded outside the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from openklear.objectives.ratio import at_least_fp32, bounded_log_ratio, require_same_shape

PolicyLoss = Callable[..., Tensor]
"""(logprobs, old_logprobs, advantages, *, loss_mask=None, <the objective's own numbers>) -> loss (B, T)."""


def gppo(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    loss_mask: Tensor | None = None,
) -> Tensor:
    """GPPO, the report's Eq. 11: -min(r A, clip(r, (1-el)/sg(r) r, (1+eh)/sg(r) r) A).

    Value: that of `ppo_clip`. Gradient (Eq. 12): w = min(r, 1+eh) for A > 0, max(r, 1-el) for A < 0, so tokens that
    `ppo_clip` drops keep a bounded push. Unlike `cispo`, the pessimistic sides (A > 0 below the band, A < 0 above it)
    keep w = r.
    """
    current, old, advantage, mask = _masked(logprobs, old_logprobs, advantages, loss_mask)
    ratio = bounded_log_ratio(current, old).exp()
    weight = torch.where(advantage > 0, ratio.clamp(max=1.0 + clip_high), ratio.clamp(min=1.0 - clip_low))
    value = _clipped_value(ratio, advantage, clip_low, clip_high)
    return _finish(current, value, -advantage * weight, mask)


def ppo_clip(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    loss_mask: Tensor | None = None,
) -> Tensor:
    """PPO's clip with its own upper bound ("clip-higher"), the report's Eq. 7: -min(r A, clip(r, 1-el, 1+eh) A).

    Gradient: w = r, and 0 where the clip acts (A > 0 and r > 1+eh; A < 0 and r < 1-el). `gppo` has the same value and
    keeps those gradients.
    """
    current, old, advantage, mask = _masked(logprobs, old_logprobs, advantages, loss_mask)
    ratio = bounded_log_ratio(current, old).exp()
    dropped = torch.where(advantage > 0, ratio > 1.0 + clip_high, ratio < 1.0 - clip_low)
    weight = torch.where(dropped, 0.0, ratio)
    value = _clipped_value(ratio, advantage, clip_low, clip_high)
    return _finish(current, value, -advantage * weight, mask)


def cispo(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    loss_mask: Tensor | None = None,
) -> Tensor:
    """CISPO, the report's Eq. 15: -A sg(clip(r, 1-el, 1+eh)) log pi.

    Gradient (Eq. 16): w = clip(r, 1-el, 1+eh) for both signs of A. It differs from `gppo` on the pessimistic sides
    only: A > 0 below the band is pushed with 1-el instead of r, A < 0 above it with 1+eh instead of r.
    """
    current, old, advantage, mask = _masked(logprobs, old_logprobs, advantages, loss_mask)
    weight = bounded_log_ratio(current, old).exp().clamp(1.0 - clip_low, 1.0 + clip_high)
    slope = -advantage * weight
    return _finish(current, slope * current.detach(), slope, mask)


def reinforce(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, *, loss_mask: Tensor | None = None) -> Tensor:
    """REINFORCE: -A log pi. Gradient: w = 1, whatever the old policy was; `old_logprobs` is only checked for shape."""
    current, _, advantage, mask = _masked(logprobs, old_logprobs, advantages, loss_mask)
    return _finish(current, -advantage * current.detach(), -advantage, mask)


OBJECTIVES: Mapping[str, PolicyLoss] = {"gppo": gppo, "ppo_clip": ppo_clip, "cispo": cispo, "reinforce": reinforce}
"""The recipe's `type` -> function; its other keys are the function's keyword arguments."""


def _masked(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, loss_mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs in fp32 or wider with zeros outside the mask: masking only the loss would still leak NaN gradients."""
    mask = torch.ones_like(logprobs, dtype=torch.bool) if loss_mask is None else loss_mask
    require_same_shape(logprobs=logprobs, old_logprobs=old_logprobs, advantages=advantages, loss_mask=mask)
    current, old, advantage = (torch.where(mask, at_least_fp32(t), 0.0) for t in (logprobs, old_logprobs, advantages))
    return current, old.detach(), advantage.detach(), mask


def _clipped_value(ratio: Tensor, advantage: Tensor, clip_low: float, clip_high: float) -> Tensor:
    return -torch.minimum(ratio * advantage, ratio.clamp(1.0 - clip_low, 1.0 + clip_high) * advantage)


def _finish(logprobs: Tensor, value: Tensor, slope: Tensor, mask: Tensor) -> Tensor:
    loss: Tensor = _Sloped.apply(logprobs, value, slope)  # type: ignore[no-untyped-call]
    return torch.where(mask, loss, 0.0)


class _Sloped(torch.autograd.Function):
    """A loss with a given value and a given derivative by `logprobs`; neither is differentiated further."""

    @staticmethod
    def forward(ctx: Any, logprobs: Tensor, value: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return value.clone()  # a function must not hand an input back as its output

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return grad_outputs[0] * slope, None, None
