"""Our own losses, which in float64 stand for the published formulas, and the formula of the released GPPO code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from openklear.conformance.fixture import GROUPS, WHOLE, Fixture, Partition
from openklear.errors import UsageError
from openklear.objectives.aggregate import AGGREGATIONS as RULES
from openklear.objectives.aggregate import Counts, aggregate, token_weights
from openklear.objectives.catalog import more_inputs
from openklear.objectives.policy import CATALOG, OBJECTIVES

NAME = "OpenKlear"
RELEASED = "Klear released code"
LOSSES: Mapping[str, Mapping[str, Any]] = {name: {} for name in OBJECTIVES}
AGGREGATIONS: Mapping[str, str] = {name: name for name in RULES}

SEQUENCE = tuple(name for name, entry in CATALOG.items() if entry.sequence)
"""Objectives whose formula has one aggregation, the mean over sequences."""
ALL_AGGREGATIONS = ("gppo", "ppo_clip")
"""Objectives shown with every aggregation of ours; losses and aggregations are independent of each other."""

NOTES: Mapping[str, str] = {"klear_released": "the token mean of each micro-batch, then the mean over micro-batches"}
RELEASED_NOTES: Mapping[str, str] = {
    "gppo": "each micro-batch's token mean, then their mean; in fp32 (1-el)/sg(r)*r is not a number where |log r| > 88"
    "; values under the mask are multiplied, not replaced"
}


def evaluate(
    objective: str, numbers: Mapping[str, Any], aggregation: str, fixture: Fixture, partition: Partition
) -> tuple[float, Tensor]:
    """Loss of the step and its derivative by logprobs (B, T): the shares of the micro-batches, added."""
    if objective not in (*ALL_AGGREGATIONS, *SEQUENCE) and aggregation != "token_mean":
        raise UsageError(f"{objective} is shown with one aggregation")
    return _step(objective, numbers, aggregation, fixture, partition)


def _step(
    objective: str, numbers: Mapping[str, Any], aggregation: str, fixture: Fixture, partition: Partition
) -> tuple[float, Tensor]:
    logprobs = fixture.logprobs.clone().requires_grad_()
    width = fixture.mask.shape[1]
    lengths = fixture.lengths
    counts = Counts.of(lengths, GROUPS, microbatches=len(partition), constant=width)
    loss, total = OBJECTIVES[objective], logprobs.new_zeros(())
    for rows in map(list, partition):
        mask = fixture.mask[rows]
        more = {"correct": fixture.correct[rows][:, None].expand(-1, width), "segment_ids": None}  # a row is a sequence
        weights = token_weights(aggregation, [lengths[b] for b in rows], [GROUPS[b] for b in rows], counts)
        losses = loss(
            logprobs[rows],
            fixture.old_logprobs[rows],
            fixture.advantages[rows][:, None].expand(-1, width),
            loss_mask=mask,
            **numbers,
            **{name: more[name] for name in more_inputs(loss)},
        )
        total = total + aggregate(losses, losses.new_tensor(weights)[:, None].expand_as(losses), mask)
    (gradient,) = torch.autograd.grad(total, logprobs)
    return float(total.detach()), gradient


def published(objective: str, numbers: Mapping[str, Any], aggregation: str, fixture: Fixture) -> tuple[float, Tensor]:
    """The formula in float64 over the whole step. Log-ratios are bounded at 20, which no paper forbids or asks for."""
    meant = "token_mean" if aggregation == "klear_released" else aggregation
    return _step(objective, numbers, meant, fixture, WHOLE)


def released(
    objective: str,
    numbers: Mapping[str, Any],
    aggregation: str,
    fixture: Fixture,
    partition: Partition,
    dual_clip: float | None = None,
) -> tuple[float, Tensor]:
    """GPPO as the released code prints it: r A against clip(r, (1-el)/sg(r) r, (1+eh)/sg(r) r) A, nothing bounded.

    The mask multiplies, each micro-batch has its own token mean, and their mean is the step's.
    """
    logprobs = fixture.logprobs.clone().requires_grad_()
    total = logprobs.new_zeros(())
    for rows in map(list, partition):
        mask = fixture.mask[rows].to(logprobs.dtype)
        advantages = fixture.advantages[rows][:, None]
        ratio = (logprobs[rows] - fixture.old_logprobs[rows]).exp()
        low, high = ((edge / ratio.detach()) * ratio for edge in (1 - numbers["clip_low"], 1 + numbers["clip_high"]))
        losses = torch.maximum(-advantages * ratio, -advantages * torch.clamp(ratio, low, high))
        if dual_clip is not None:
            losses = torch.where(advantages < 0, torch.minimum(-advantages * dual_clip, losses), losses)
        total = total + (losses * mask).sum() / mask.sum() / len(partition)
    (gradient,) = torch.autograd.grad(total, logprobs)
    return float(total.detach()), gradient
