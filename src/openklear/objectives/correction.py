"""Off-policy correction between the sampler and the trainer: importance weights for their different log-probabilities.

The sampler (another engine, another precision, older weights) drew the tokens from pi_rollout; the trainer computes
pi_old. The losses assume that the two are equal. A weight per token, outside the graph, multiplies the policy loss; the
denominators stay. How far apart they are is always shown (`diagnostics.sampler_gap`), with or without correction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from openklear.objectives.ratio import LOG_RATIO_BOUND, at_least_fp32, require_same_shape
from openklear.objectives.segments import segment_sum

Level = Literal["token", "sequence"]
Correction = Callable[..., Tensor]
"""(old_logprobs, rollout_logprobs, *, loss_mask, level, segment_ids, <its own numbers>) -> weights (B, T)."""


def truncate(
    old_logprobs: Tensor,
    rollout_logprobs: Tensor,
    *,
    loss_mask: Tensor,
    level: Level = "token",
    segment_ids: Tensor | None = None,
    cap: float = 2.0,
) -> Tensor:
    """TIS, truncated importance sampling: min(q, cap), q = pi_old / pi_rollout of the token or of its whole sequence.

    All (B, T); 0 outside the mask. Source of the practice and the default: "Your efficient RL framework secretly brings
    you off-policy RL training" (Yao et al., 2025).
    """
    ratio = importance_ratio(old_logprobs, rollout_logprobs, loss_mask, level, segment_ids)
    return torch.where(loss_mask, ratio.clamp(max=cap), 0.0)


def mask(
    old_logprobs: Tensor,
    rollout_logprobs: Tensor,
    *,
    loss_mask: Tensor,
    level: Level = "token",
    segment_ids: Tensor | None = None,
    low: float = 0.5,
    high: float = 5.0,
) -> Tensor:
    """IcePop (arXiv 2510.18855), masked importance sampling: q where low <= q <= high, 0 elsewhere; see `truncate`."""
    ratio = importance_ratio(old_logprobs, rollout_logprobs, loss_mask, level, segment_ids)
    return torch.where(loss_mask & (ratio >= low) & (ratio <= high), ratio, 0.0)


CORRECTIONS: Mapping[str, Correction] = {"truncate": truncate, "mask": mask}
"""The recipe's `type` -> function."""


def importance_ratio(
    old_logprobs: Tensor, rollout_logprobs: Tensor, loss_mask: Tensor, level: Level, segment_ids: Tensor | None
) -> Tensor:
    """q = exp of log pi_old - log pi_rollout, of each token, or summed over the loss tokens of its sequence; (B, T).

    The exponent is bounded as log-ratios are; outside the mask it is 0 at the token level. A sequence is a row, or
    a part of a row that `segment_ids` (B, T) int64 marks.
    """
    require_same_shape(old_logprobs=old_logprobs, rollout_logprobs=rollout_logprobs, loss_mask=loss_mask)
    old, sampled = (torch.where(loss_mask, at_least_fp32(t.detach()), 0.0) for t in (old_logprobs, rollout_logprobs))
    log_ratio = (old - sampled).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
    if level == "sequence":
        log_ratio = segment_sum(log_ratio, loss_mask, segment_ids)
    return log_ratio.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp()
