"""From per-token losses to one number, over counts of the whole optimizer step.

An aggregation gives the weight of a token, from counts over all sequences of the step (on all ranks) that were taken
before the first micro-batch. The loss is the weighted sum, so the shares of micro-batches, packs and ranks add up to
it, however the step was split. With a mean over each micro-batch they would not; the released Klear code takes one, and
its rule is here, under its name, for comparison.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openklear.objectives.ratio import at_least_fp32, require_same_shape


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of one optimizer step over all its sequences; those without a loss token are left out."""

    tokens: int
    sequences: int
    tokens_of_group: Mapping[int, int]
    microbatches: int = 1
    constant: int = 1
    """What `constant` divides every sequence by: the tokens of the longest completion that the recipe allows."""

    @staticmethod
    def of(lengths: Sequence[int], groups: Sequence[int], *, microbatches: int = 1, constant: int = 1) -> Counts:
        """From the number of loss tokens of every sequence, and the group that each belongs to."""
        of_group: Counter[int] = Counter()
        for number, group in zip(lengths, groups, strict=True):
            if number:
                of_group[group] += number
        return Counts(sum(lengths), sum(n > 0 for n in lengths), of_group, microbatches, constant)

    @staticmethod
    def together(parts: Iterable[Counts]) -> Counts:
        """The counts of all ranks as one step's; a group may be spread over ranks."""
        parts = list(parts)
        of_group: Counter[int] = Counter()
        for part in parts:
            of_group.update(part.tokens_of_group)
        return Counts(
            sum(p.tokens for p in parts),
            sum(p.sequences for p in parts),
            of_group,
            sum(p.microbatches for p in parts),
            max(p.constant for p in parts),
        )


@dataclass(frozen=True, slots=True)
class SequencePlace:
    """Where a sequence stands: its loss tokens, its group, and the loss tokens of its micro-batch."""

    tokens: int
    group: int
    microbatch_tokens: int


Aggregation = Callable[[SequencePlace, Counts], float]
"""(place of a sequence, counts of the step) -> the weight of one of its tokens."""


def token_mean(place: SequencePlace, counts: Counts) -> float:
    """Every token of the step weighs the same (our reading of Eq. 7 and 11, and the field's)."""
    return 1.0 / counts.tokens


def group_token_mean(place: SequencePlace, counts: Counts) -> float:
    """The mean over groups of each group's token mean: Eq. 7 and 11 as printed."""
    return 1.0 / (len(counts.tokens_of_group) * counts.tokens_of_group[place.group])


def sequence_mean(place: SequencePlace, counts: Counts) -> float:
    """The mean over sequences of each sequence's token mean (GRPO's 1/|o|): a token of a long answer weighs less."""
    return 1.0 / (counts.sequences * place.tokens)


def constant(place: SequencePlace, counts: Counts) -> float:
    """The mean over sequences of each sequence's token sum over a constant (Dr. GRPO, arXiv 2503.20783)."""
    return 1.0 / (counts.sequences * counts.constant)


def klear_released(place: SequencePlace, counts: Counts) -> float:
    """The mean over micro-batches of each one's token mean, as released; it depends on the split (tests/laws)."""
    return 1.0 / (counts.microbatches * place.microbatch_tokens)


AGGREGATIONS: Mapping[str, Aggregation] = {
    f.__name__: f for f in (token_mean, group_token_mean, sequence_mean, constant, klear_released)
}
"""The recipe's `aggregation` -> function."""

AGGREGATION_NOTES: Mapping[str, str] = {
    "token_mean": "every token of the step weighs the same (our reading of Eq. 7 and 11)",
    "group_token_mean": "mean over problems of their groups' token means (Eq. 7 and 11 as printed)",
    "sequence_mean": "mean over rollouts of their token means (GRPO)",
    "constant": "mean over rollouts of their token sums over max_completion_tokens (Dr. GRPO)",
    "klear_released": "token mean of each micro-batch, then over micro-batches, as released: depends on the split",
}
"""The same as tables show them."""


def token_weights(aggregation: str, lengths: Sequence[int], groups: Sequence[int], counts: Counts) -> list[float]:
    """The weight of a token of each sequence of one micro-batch; sequences without a loss token get 0."""
    total = sum(lengths)
    rule = AGGREGATIONS[aggregation]
    return [rule(SequencePlace(n, g, total), counts) if n else 0.0 for n, g in zip(lengths, groups, strict=True)]


def aggregate(losses: Tensor, weights: Tensor, loss_mask: Tensor) -> Tensor:
    """Sum of weight times loss over the mask: the micro-batch's share of the step's loss; all (B, T) -> scalar."""
    require_same_shape(losses=losses, weights=weights, loss_mask=loss_mask)
    return (torch.where(loss_mask, at_least_fp32(losses), 0.0) * torch.where(loss_mask, weights, 0.0)).sum()
