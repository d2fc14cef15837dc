"""Losses whose ratio belongs to a whole sequence. Every token of a sequence carries its loss, for `sequence_mean`.

With `sequence_mean` the sum over a sequence's tokens, each divided by their number, is the sequence's loss once, and
its gradient is the published one. Any other aggregation would weigh sequences by their length; recipes refuse it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from openklear.objectives.catalog import listed
from openklear.objectives.policy.tokens import loss_of, read, surrogate_value
from openklear.objectives.segments import segment_mean


@listed(
    "GSPO",
    positive="s = exp(mean log r); 0 above 1+eh",
    negative="s; 0 below 1-el",
    source="arXiv 2507.18071",
    note="one ratio per sequence; drawn for sequences of one token",
)
def gspo(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    *,
    clip_low: float = 3e-4,
    clip_high: float = 4e-4,
    segment_ids: Tensor | None = None,
    loss_mask: Tensor | None = None,
) -> Tensor:
    """GSPO (arXiv 2507.18071): -min(s A, clip(s, 1-el, 1+eh) A), s = exp(mean of log r over the sequence).

    Gradient: w = s at every token of the sequence, 0 where the clip acts. `segment_ids` (B, T) int64 tells the
    sequences of a packed row apart; without it a row is one sequence. The mean is of bounded log-ratios. A is read at
    each token, and is meant to be equal over a sequence.
    """
    tokens = read(logprobs, old_logprobs, advantages, loss_mask)
    ratio = segment_mean(tokens.log_ratio, tokens.mask, segment_ids).exp()
    held = torch.where(tokens.positive, ratio.clamp(max=1.0 + clip_high), ratio.clamp(min=1.0 - clip_low))
    weight = torch.where(held == ratio, ratio, 0.0)
    return loss_of(tokens, surrogate_value(tokens, held), weight)


@listed(
    "GMPO",
    positive="rho = exp(mean min(log r, clip_high)); 0 at held tokens",
    negative="rho = exp(mean max(log r, -clip_low)); 0 at held tokens",
    source="arXiv 2507.20673",
    note="geometric mean with a bound on each log r; drawn for sequences of one token",
)
def gmpo(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    *,
    clip_low: float = 0.4,
    clip_high: float = 0.4,
    segment_ids: Tensor | None = None,
    loss_mask: Tensor | None = None,
) -> Tensor:
    """GMPO (arXiv 2507.20673): -rho A, rho = exp(mean of min(log r, ch)) for A > 0, of max(log r, -cl) for A < 0.

    The bounds are those of log r. Gradient: w = rho at the tokens inside their bound, 0 at those held at it.
    `segment_ids` and A as in `gspo`.
    """
    tokens = read(logprobs, old_logprobs, advantages, loss_mask)
    held = torch.where(tokens.positive, tokens.log_ratio.clamp(max=clip_high), tokens.log_ratio.clamp(min=-clip_low))
    ratio = segment_mean(held, tokens.mask, segment_ids).exp()
    weight = torch.where(held == tokens.log_ratio, ratio, 0.0)
    return loss_of(tokens, surrogate_value(tokens, ratio), weight)
