"""The language-model loss: of demonstrations in SFT, and of the correct rollouts in the joint loss."""

from __future__ import annotations

import torch
from torch import Tensor

from openklear.objectives.ratio import at_least_fp32, require_same_shape


def negative_log_likelihood(logprobs: Tensor, loss_mask: Tensor, tokens: int) -> Tensor:
    """Sum of -log pi over the mask, divided by `tokens`: the step's global count; (B, T), (B, T) -> scalar.

    In the joint loss (report, Eq. 13 and 14) the mask holds the tokens of the correct rollouts of the kept groups, and
    `tokens` counts them over the whole optimizer step; 0 of them give a loss of 0. The report prints -pi in Eq. 14;
    its released code and the work it cites use -log pi, as here. Shares of micro-batches add up to the loss.
    """
    require_same_shape(logprobs=logprobs, loss_mask=loss_mask)
    return -torch.where(loss_mask, at_least_fp32(logprobs), 0.0).sum() / max(tokens, 1)
