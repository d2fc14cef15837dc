"""From per-token losses to one number, over counts of the whole optimizer step.

Each function returns the share of the step's loss that lies in the tensors it is given, so the shares of all
micro-batches add up to the loss, however the step was split. A mean taken over a micro-batch would not
(losses.md, "Aggregation: the field's most repeated bug").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openklear.objectives.ratio import require_same_shape


@dataclass(frozen=True, slots=True)
class Denominators:
    """Counts over all sequences of one optimizer step; those without a loss token are not counted."""

    tokens: int
    sequences: int
    groups: int
    tokens_of_group: Mapping[int, int]

    @staticmethod
    def count(tokens: Sequence[int], groups: Sequence[int]) -> Denominators:
        """From the number of loss tokens of every sequence, and the group that each belongs to."""
        of_group: dict[int, int] = {}
        for number, group in zip(tokens, groups, strict=True):
            if number:
                of_group[group] = of_group.get(group, 0) + number
        return Denominators(sum(tokens), sum(n > 0 for n in tokens), len(of_group), of_group)


Aggregation = Callable[[Tensor, Tensor, Sequence[int], Denominators], Tensor]
"""(losses (B, T), loss_mask (B, T), the group of each row (B), denominators) -> scalar."""


def token_mean(losses: Tensor, loss_mask: Tensor, groups: Sequence[int], denominators: Denominators) -> Tensor:
    """Every token of the step weighs the same (our reading of Eq. 7 and 11, and the field's)."""
    return _row_sums(losses, loss_mask, groups).sum() / max(denominators.tokens, 1)


def group_token_mean(losses: Tensor, loss_mask: Tensor, groups: Sequence[int], denominators: Denominators) -> Tensor:
    """The mean over groups of each group's token mean: Eq. 7 and 11 as printed."""
    sums = _row_sums(losses, loss_mask, groups)
    tokens = [max(denominators.tokens_of_group.get(group, 0), 1) for group in groups]
    return (sums / torch.tensor(tokens, dtype=sums.dtype, device=sums.device)).sum() / max(denominators.groups, 1)


def sequence_mean(losses: Tensor, loss_mask: Tensor, groups: Sequence[int], denominators: Denominators) -> Tensor:
    """The mean over sequences of each sequence's token mean (GRPO's 1/|o|): long answers weigh less a token."""
    means = _row_sums(losses, loss_mask, groups) / loss_mask.sum(dim=1).clamp(min=1)
    return means.sum() / max(denominators.sequences, 1)


AGGREGATIONS: Mapping[str, Aggregation] = {
    "token_mean": token_mean,
    "group_token_mean": group_token_mean,
    "sequence_mean": sequence_mean,
}
"""The recipe's `aggregation` -> function."""


def _row_sums(losses: Tensor, loss_mask: Tensor, groups: Sequence[int]) -> Tensor:
    require_same_shape(losses=losses, loss_mask=loss_mask)
    if losses.ndim != 2 or len(groups) != len(losses):
        raise ValueError(f"losses {tuple(losses.shape)} must be (B, T) with one group a row, not {len(groups)}")
    return torch.where(loss_mask, losses, 0.0).sum(dim=1)
