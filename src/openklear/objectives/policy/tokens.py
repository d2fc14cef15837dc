"""What every policy loss does first and last: read its inputs safely, and join a value with a gradient.

Value and gradient are computed side by side and joined by `_Sloped`, because log r is bounded outside the graph: a
bound inside it would kill the gradient beyond it. The stop-gradients of the published formulas are therefore structural
here: the ratio is a constant, and all of a loss's gradient is the weight it hands to `loss_of`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from openklear.objectives.ratio import at_least_fp32, bounded_log_ratio, require_same_shape

LOGPROB_BOUND = 1e6
"""|log pi| beyond this is cut in the value of losses that show it: a token of probability 0 has a finite one."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Inputs of a loss, all (B, T), in fp32 or wider, with zeros outside the mask (so that r = 1 there)."""

    logprobs: Tensor
    """With gradient."""
    old_logprobs: Tensor
    advantages: Tensor
    mask: Tensor
    log_ratio: Tensor
    """Bounded, outside the graph."""
    ratio: Tensor

    @property
    def positive(self) -> Tensor:
        """Where A > 0; A = 0 counts as negative, its gradient is 0 anyway."""
        return self.advantages > 0


def read(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, loss_mask: Tensor | None) -> Tokens:
    """Zeros outside the mask before any arithmetic: masking the loss alone would still leak NaN gradients.

    ValueError unless all shapes are equal. No mask means that every position counts.
    """
    mask = torch.ones_like(logprobs, dtype=torch.bool) if loss_mask is None else loss_mask.bool()
    require_same_shape(logprobs=logprobs, old_logprobs=old_logprobs, advantages=advantages, loss_mask=mask)
    current, old, advantage = (torch.where(mask, at_least_fp32(t), 0.0) for t in (logprobs, old_logprobs, advantages))
    log_ratio = bounded_log_ratio(current, old)
    return Tokens(current, old.detach(), advantage.detach(), mask, log_ratio, log_ratio.exp())


def loss_of(tokens: Tokens, value: Tensor, weight: Tensor) -> Tensor:
    """The loss (B, T) with this value and d loss / d logprobs = -A weight; 0 and no gradient outside the mask."""
    loss: Tensor = _Sloped.apply(tokens.logprobs, value, -tokens.advantages * weight)  # type: ignore[no-untyped-call]
    return torch.where(tokens.mask, loss, 0.0)


def surrogate_value(tokens: Tokens, weight: Tensor) -> Tensor:
    """-A w: the value of losses written with w/sg(r) r, or with r itself."""
    return -tokens.advantages * weight


def log_value(tokens: Tokens, weight: Tensor) -> Tensor:
    """-A w log pi: the value of losses written with sg(w) log pi."""
    return -tokens.advantages * weight * tokens.logprobs.detach().clamp(-LOGPROB_BOUND, LOGPROB_BOUND)


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
