"""What `openklear.integrations.trl` computes from a micro-batch of TRL's: functions of tensors, without TRL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from openklear.objectives import diagnostics
from openklear.objectives.divergence import k3
from openklear.objectives.policy import OBJECTIVES
from openklear.objectives.ratio import at_least_fp32, bounded_log_ratio


@dataclass(frozen=True, slots=True)
class StepTotals:
    """Of one optimizer step, all its micro-batches and all processes, counted before the first of them."""

    tokens: int
    correct_tokens: int
    microbatches: int


@dataclass(frozen=True, slots=True)
class TrlBatch:
    """A micro-batch as the losses read it; all (B, T)."""

    old_logprobs: Tensor
    advantages: Tensor
    mask: Tensor
    correct: Tensor
    """The loss tokens of correct completions."""
    ref_logprobs: Tensor | None
    correction: Tensor | None
    """Weights of vLLM's completions, 0 outside the mask."""

    @staticmethod
    def of(inputs: Mapping[str, Any], logprobs: Tensor) -> TrlBatch:
        """From TRL's inputs of a micro-batch and its current log-probabilities (B, T)."""
        mask, correct = loss_masks(inputs)
        old, ratio = inputs.get("old_per_token_logps"), inputs.get("importance_sampling_ratio")
        advantages = inputs["advantages"]
        return TrlBatch(
            # TRL leaves the old ones out where they are the current ones, with one update a generation batch.
            old_logprobs=logprobs.detach() if old is None else old,
            advantages=(advantages.unsqueeze(1) if advantages.ndim == 1 else advantages).expand_as(mask),
            mask=mask,
            correct=correct,
            ref_logprobs=inputs.get("ref_per_token_logps"),
            correction=None if ratio is None else torch.where(mask, ratio.expand_as(mask), 0.0),
        )


def loss_masks(inputs: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """(tokens that count, those of correct completions) of a micro-batch of TRL's, both bool (B, T)."""
    mask: Tensor = inputs["completion_mask"].bool()
    if inputs.get("tool_mask") is not None:
        mask = mask & inputs["tool_mask"].bool()
    correct = inputs.get("correct")
    return mask, torch.zeros_like(mask) if correct is None else mask & correct.unsqueeze(1)


def policy_losses(objective: str, numbers: Mapping[str, Any], logprobs: Tensor, batch: TrlBatch) -> Tensor:
    """The policy loss of each token (B, T), times the correction of vLLM's completions where there is one."""
    old, advantages, mask = batch.old_logprobs, batch.advantages, batch.mask
    losses = OBJECTIVES[objective](logprobs, old, advantages, loss_mask=mask, **numbers)
    return losses if batch.correction is None else losses * batch.correction


def reference_kl(logprobs: Tensor, batch: TrlBatch, *, corrected: bool) -> Tensor:
    """TRL's KL to the reference policy per token (B, T): k3(d) with d = log ref - log pi, times r where `corrected`.

    Gradient: 1 - e^d; where corrected r (log pi - log ref), the unbiased one of reverse KL. d and log r are bounded
    outside the graph, so that no exponential overflows; inside the bounds value and gradient are TRL's.
    """
    assert batch.ref_logprobs is not None, "a KL term needs the reference's log-probabilities"
    current, old, reference = (
        torch.where(batch.mask, at_least_fp32(t), 0.0) for t in (logprobs, batch.old_logprobs, batch.ref_logprobs)
    )
    difference = bounded_log_ratio(reference, current)
    value, slope = k3(difference), -difference.expm1()
    if corrected:
        ratio = bounded_log_ratio(current, old).exp()
        value, slope = ratio * value, -ratio * difference
    return torch.where(batch.mask, value + slope * (current - current.detach()), 0.0)


def sums_of(
    objective: str, numbers: Mapping[str, Any], logprobs: Tensor, entropies: Tensor, batch: TrlBatch
) -> diagnostics.Sums:
    """What a micro-batch adds to the numbers that its optimizer step reports."""
    slopes = diagnostics.slopes_of(lambda leaf: policy_losses(objective, numbers, leaf, batch), logprobs)
    old, advantages, mask = batch.old_logprobs, batch.advantages, batch.mask
    sums = diagnostics.policy_sums(logprobs, old, advantages, mask, entropies.detach())
    band = {"clip_low": numbers["clip_low"], "clip_high": numbers["clip_high"]}
    return sums | diagnostics.clip_sums(bounded_log_ratio(logprobs, old), advantages, slopes, mask, **band)


def shown(sums: diagnostics.Sums) -> dict[str, float]:
    """Metrics of a step, histograms left out; the clip fractions under TRL's names too, so that charts compare."""
    metrics = {name: value for name, value in diagnostics.finish(sums).items() if isinstance(value, float)}
    high, low = metrics["clip_fraction_high_positive"], metrics["clip_fraction_low_negative"]
    metrics |= {"clip_ratio/high_mean": high, "clip_ratio/low_mean": low, "clip_ratio/region_mean": high + low}
    return metrics | {"step_tokens": metrics.pop("tokens")}
