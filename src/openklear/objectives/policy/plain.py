"""The loss without a ratio."""

from __future__ import annotations

import torch
from torch import Tensor

from openklear.objectives.catalog import listed
from openklear.objectives.policy.tokens import log_value, loss_of, read


@listed("REINFORCE", positive="1", negative="1", source="Williams 1992", note="no ratio, no clip")
def reinforce(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, *, loss_mask: Tensor | None = None) -> Tensor:
    """REINFORCE: -A log pi. Gradient: w = 1, whatever the old policy was; `old_logprobs` is only checked for shape."""
    tokens = read(logprobs, old_logprobs, advantages, loss_mask)
    weight = torch.ones_like(tokens.ratio)
    return loss_of(tokens, log_value(tokens, weight), weight)
