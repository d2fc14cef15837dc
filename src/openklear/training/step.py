"""Gradients of one optimizer step, a micro-batch at a time.

The law (tests/laws): the gradient does not depend on how the step's sequences are split into micro-batches, packs or
ranks, on padding, or on their order. So every term's denominator is counted over the whole step before the first
micro-batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from openklear.errors import NonFinite
from openklear.models.dropout import dropping, drops, token_keys
from openklear.objectives import diagnostics
from openklear.objectives.aggregate import Counts, aggregate, token_weights
from openklear.objectives.catalog import more_inputs
from openklear.objectives.correction import CORRECTIONS
from openklear.objectives.policy import OBJECTIVES, PolicyLoss, gate_open
from openklear.objectives.policy.custom import guarded
from openklear.objectives.ratio import bounded_log_ratio
from openklear.objectives.segments import segment_mean
from openklear.objectives.supervised import negative_log_likelihood
from openklear.recipe.objectives import CustomObjective, Objective, band_of
from openklear.recipe.schema import Phase
from openklear.training import parallel
from openklear.training.layout import Layout, Microbatch, TokenRow, members
from openklear.training.sharding import is_sharded, logprobs_of, passes, spare_pass
from openklear.verifiers.custom import function

Metrics = dict[str, float | list[float]]
Values = dict[int, tuple[NDArray[np.float32], ...]]
"""By index of a sequence, its log-probabilities and entropies (T,) as a step's own pass computed them, before it."""


@dataclass(frozen=True, slots=True, eq=False)
class PolicySequence:
    """One rollout as the policy loss takes it: prompt and completion. Arrays are 0 outside the mask."""

    ids: NDArray[np.int32]  # (T,)
    loss_mask: NDArray[np.bool_]  # (T,) True on the completion's tokens
    old_logprobs: NDArray[np.float32] | None
    """(T,) before this iteration's updates. None in the first of them: the step's own pass has them, and the ratio is
    exactly 1; then `old_entropies` are the pass's too."""
    advantage: float
    correct: bool
    """By the verdict, never by the reward: which rollouts the joint loss imitates."""
    group: int
    sample: int = 0
    """Index in its group; carried for the caller, no loss looks at it."""
    rollout_logprobs: NDArray[np.float32] | None = None  # (T,) as the sampler reported; for a correction
    counted: bool = True
    """Whether its tokens are in the policy loss and its denominator; a rollout that is not may be imitated."""
    old_entropies: NDArray[np.float32] | None = None  # (T,) nats; for the entropy gate


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """One micro-batch of rollouts, all tensors (B, T)."""

    layout: Layout
    given: Tensor | None
    """Old log-probabilities that came with the sequences."""
    advantages: Tensor
    correct: Tensor
    weights: Tensor
    """Of each token in the step's loss, by the aggregation."""
    rollout_logprobs: Tensor | None
    old_entropies: Tensor | None

    @property
    def loss_mask(self) -> Tensor:
        return self.layout.loss_mask

    @property
    def old_logprobs(self) -> Tensor:
        assert self.given is not None, "those of the pass itself were put in"
        return self.given

    def with_own(self, logprobs: Tensor, entropies: Tensor) -> _Batch:
        """With the pass's own values in the place of old ones where none were given."""
        if self.given is not None:
            return self
        return replace(self, given=logprobs.detach(), old_entropies=entropies)


def policy_gradient(
    model: PreTrainedModel,
    sequences: Sequence[PolicySequence],
    microbatches: Sequence[Microbatch],
    phase: Phase,
    *,
    group: parallel.Group | None = None,
    found: Values | None = None,
) -> Metrics:
    """Add the gradient of policy loss + `sft_loss_weight` * imitation of correct rollouts (Eq. 13) to `.grad`.

    `microbatches` holds indices into `sequences`, each exactly once; a tuple of indices shares a row. With a process
    `group` the step is that of all its ranks: each hands in its own share, which may be empty, with numbers of groups
    that are the step's. Returns loss, policy_loss, sft_loss (only where its weight is not 0) and what
    `objectives.diagnostics.finish` describes, clip figures only for objectives with a band; `found` takes what the pass
    computed. A micro-batch without advantages has no backward pass. Raises NonFinite naming the
    micro-batch before its backward pass, so the weights have not moved; gradients of earlier ones are then in `.grad`.
    """
    lengths = _loss_tokens(sequences, microbatches)
    _require_tokens(lengths, group)
    groups = [s.group for s in sequences]
    counted = [n * s.counted for n, s in zip(lengths, sequences, strict=True)]
    held = [sum(map(counted.__getitem__, members(some))) for some in microbatches]  # counted tokens of each
    filled = len(held) - held.count(0)
    counts = Counts.of(counted, groups, microbatches=filled, constant=phase.max_completion_tokens)
    counts = parallel.counts_of_all(counts, group)
    imitated = Counts.of([n * s.correct for n, s in zip(lengths, sequences, strict=True)], groups)
    imitated = parallel.counts_of_all(imitated, group)
    idles = [_is_idle(sequences, some, phase) for some in microbatches]
    sums: diagnostics.Sums | None = None
    with parallel.failing_together(group), _finite(model) as require_finite:
        for number, microbatch, idle in passes(model, microbatches, idles, group):
            if microbatch is None:
                spare_pass(model, idle=idle)
                continue
            batch = _batch(model, sequences, microbatch, counted, phase, counts)
            with torch.set_grad_enabled(not idle):
                logprobs, entropies = _logprobs(model, batch.layout, phase.temperature)
            _keep(found, microbatch, batch.layout, logprobs, entropies)
            batch = batch.with_own(logprobs, entropies)
            losses = _token_losses(logprobs, entropies, batch, phase)
            loss = policy = aggregate(losses, batch.weights, batch.loss_mask)
            shares = {"policy_loss": policy.detach().double()}
            if phase.sft_loss_weight:
                imitation = negative_log_likelihood(logprobs, batch.loss_mask & batch.correct, imitated.tokens)
                shares["sft_loss"] = imitation.detach().double()
                loss = policy + phase.sft_loss_weight * imitation
            require_finite(loss, number, microbatches)
            if not idle:
                loss.backward()  # type: ignore[no-untyped-call]
            sums = diagnostics.add(sums, shares | _sums(logprobs, entropies, batch, phase))
    _fill_gradients(model)
    if not is_sharded(model):  # its own backward pass has added them
        parallel.add_gradients(model.parameters(), group)
    return _metrics(parallel.sums_of_all(sums, group), phase)


def supervised_gradient(
    model: PreTrainedModel,
    rows: Sequence[TokenRow],
    microbatches: Sequence[Microbatch],
    *,
    group: parallel.Group | None = None,
) -> Metrics:
    """Add the gradient of the token-mean of -log pi over all rows' masks to `.grad`; returns loss and tokens.

    `microbatches` holds indices into `rows`, each exactly once. With a process `group` the step is that of all its
    ranks, as in `policy_gradient`. Raises NonFinite as that does.
    """
    tokens = _require_tokens(_loss_tokens(rows, microbatches), group)
    total = 0.0
    idles = [False] * len(microbatches)
    with parallel.failing_together(group), _finite(model) as require_finite:
        for number, chosen, idle in passes(model, microbatches, idles, group):
            if chosen is None:
                spare_pass(model, idle=idle)
                continue
            layout = Layout.of(rows, chosen, model.device, share=not drops(model))
            keys = layout.join([token_keys(rows[i].ids) for i in members(chosen)], torch.int32)
            with dropping(model, keys):
                logprobs, _ = _logprobs(model, layout, 1.0, entropy=False)
                loss = negative_log_likelihood(logprobs, layout.loss_mask, tokens)
                require_finite(loss, number, microbatches)
                loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
    if not is_sharded(model):
        parallel.add_gradients(model.parameters(), group)
    return {"loss": parallel.total_of_all(total, group), "tokens": float(tokens)}


@torch.no_grad()
def reference_logprobs(
    model: PreTrainedModel,
    sequences: Sequence[TokenRow],
    microbatches: Sequence[Microbatch],
    temperature: float,
    *,
    entropy: bool = False,
    group: parallel.Group | None = None,
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """Log-probabilities and entropies (T,) of each sequence under the weights as they are, 0 outside its mask.

    Given the micro-batches that `policy_gradient` gets next, they have the bits that it computes: log r is exactly 0.
    Without `entropy` the second list holds NaN, so that it cannot be mistaken for one. With a process `group` each rank
    hands in sequences of its own; of a sharded model it must be given.
    """
    _require_tokens(_loss_tokens(sequences, microbatches), group)
    found: list[list[NDArray[np.float32]]] = [[np.zeros(0, np.float32)] * len(sequences) for _ in range(2)]
    for _, chosen, _ in passes(model, microbatches, [True] * len(microbatches), group):
        if chosen is None:
            spare_pass(model, idle=True)
            continue
        layout = Layout.of(sequences, chosen, model.device)
        for target, values in zip(found, _logprobs(model, layout, temperature, entropy=entropy), strict=True):
            for i, row in zip(members(chosen), layout.split(values), strict=True):
                target[i] = row
    return found[0], found[1]


def _keep(found: Values | None, microbatch: Microbatch, layout: Layout, *values: Tensor) -> None:
    if found is not None:
        rows = zip(*map(layout.split, values), strict=True)
        found.update(zip(members(microbatch), rows, strict=True))


def _fill_gradients(model: PreTrainedModel) -> None:
    """Zeros where no micro-batch had a gradient: the optimizer moves such weights by its moments all the same."""
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)


def _loss_tokens(rows: Sequence[TokenRow], microbatches: Sequence[Microbatch]) -> list[int]:
    """Loss tokens of every row; ValueError if the micro-batches do not hold each row once."""
    if sorted(chain.from_iterable(map(members, microbatches))) != list(range(len(rows))):
        raise ValueError(f"the micro-batches must hold each of {len(rows)} sequences exactly once")
    return [int(np.count_nonzero(row.loss_mask)) for row in rows]


def _require_tokens(lengths: Sequence[int], group: parallel.Group | None) -> int:
    """The loss tokens of the whole step; ValueError where there are none. A rank of several may have none."""
    tokens = parallel.total_of_all(sum(lengths), group)
    if not tokens:
        raise ValueError("an optimizer step needs at least one token to train on")
    return tokens


def _logprobs(
    model: PreTrainedModel, layout: Layout, temperature: float, *, entropy: bool = True
) -> tuple[Tensor, Tensor]:
    return logprobs_of(
        model,
        layout.ids,
        layout.loss_mask,
        temperature=temperature,
        entropy=entropy,
        segments=layout.packed,
    )


def _batch(
    model: PreTrainedModel,
    sequences: Sequence[PolicySequence],
    microbatch: Microbatch,
    lengths: Sequence[int],
    phase: Phase,
    counts: Counts,
) -> _Batch:
    indices = members(microbatch)
    chosen = [sequences[i] for i in indices]
    layout = Layout.of(sequences, microbatch, model.device)
    dtype = torch.float64 if model.dtype == torch.float64 else torch.float32
    weights = token_weights(phase.aggregation, [lengths[i] for i in indices], [s.group for s in chosen], counts)
    return _Batch(
        layout=layout,
        given=_joined(layout, [s.old_logprobs for s in chosen], dtype),
        advantages=layout.spread([s.advantage for s in chosen], dtype),
        correct=layout.spread([s.correct for s in chosen], torch.bool),
        weights=layout.spread(weights, dtype),
        rollout_logprobs=_joined(layout, [s.rollout_logprobs for s in chosen], dtype),
        old_entropies=_joined(layout, [s.old_entropies for s in chosen], dtype),
    )


def _joined(layout: Layout, arrays: Sequence[NDArray[np.float32] | None], dtype: torch.dtype) -> Tensor | None:
    present = [array for array in arrays if array is not None]
    if present and len(present) < len(arrays):
        raise ValueError("of the sequences of one micro-batch some have old values and some have none")
    return layout.join(present, dtype) if present else None


def _token_losses(logprobs: Tensor, entropies: Tensor, batch: _Batch, phase: Phase) -> Tensor:
    """The policy loss of each token (B, T): objective, gate, correction."""
    loss, numbers = _loss(phase.objective)
    more = {"segment_ids": batch.layout.segments, "correct": batch.correct}
    losses = loss(
        logprobs,
        batch.old_logprobs,
        batch.advantages,
        loss_mask=batch.loss_mask,
        **numbers,
        **{name: more[name] for name in more_inputs(loss)},
    )
    gate, weights = _gate(entropies, batch, phase), _correction(batch, phase)
    if gate is not None:
        losses = torch.where(gate, losses, 0.0)
    return losses if weights is None else losses * weights


def _loss(objective: Objective) -> tuple[PolicyLoss, dict[str, Any]]:
    """The function of an objective, and its numbers."""
    if isinstance(objective, CustomObjective):
        named = f'rl.objective.function = "{objective.function}"'
        return guarded(function(objective.function).call, named), objective.arguments
    return OBJECTIVES[objective.type], objective.model_dump(exclude={"type"})


def _gate(entropies: Tensor, batch: _Batch, phase: Phase) -> Tensor | None:
    """The tokens that an entropy gate leaves in (B, T)."""
    if phase.entropy_gate.type == "none":
        return None
    assert batch.old_entropies is not None, "the gate needs the entropies before the update"
    band = phase.entropy_gate.model_dump(exclude={"type"})
    return gate_open(entropies, batch.old_entropies, loss_mask=batch.loss_mask, **band)


def _correction(batch: _Batch, phase: Phase) -> Tensor | None:
    """Importance weights between sampler and trainer (B, T)."""
    if phase.correction.type == "none":
        return None
    assert batch.rollout_logprobs is not None, "a correction needs the sampler's log-probabilities"
    numbers: dict[str, Any] = phase.correction.model_dump(exclude={"type"})
    weigh: Callable[..., Tensor] = CORRECTIONS[phase.correction.type]
    return weigh(
        batch.old_logprobs,
        batch.rollout_logprobs,
        loss_mask=batch.loss_mask,
        segment_ids=batch.layout.segments,
        **numbers,
    )


def _sums(logprobs: Tensor, entropies: Tensor, batch: _Batch, phase: Phase) -> diagnostics.Sums:
    mask = batch.loss_mask
    sums = diagnostics.policy_sums(logprobs, batch.old_logprobs, batch.advantages, mask, entropies)
    if (gate := _gate(entropies, batch, phase)) is not None:
        sums |= diagnostics.gate_sums(gate, mask)
    if (weights := _correction(batch, phase)) is not None:
        sums |= diagnostics.correction_sums(weights, mask)
    band = band_of(phase.objective)
    if band is None:
        return sums
    slopes = diagnostics.slopes_of(lambda leaf: _token_losses(leaf, entropies, batch, phase), logprobs)
    log_ratio = bounded_log_ratio(logprobs, batch.old_logprobs)
    if phase.objective.type == "gspo":  # its band is on the sequence's ratio
        log_ratio = segment_mean(log_ratio, mask, batch.layout.segments)
    low, high = band
    return sums | diagnostics.clip_sums(log_ratio, batch.advantages, slopes, mask, clip_low=low, clip_high=high)


def _metrics(sums: diagnostics.Sums, phase: Phase) -> Metrics:
    policy, imitation = float(sums.pop("policy_loss")), float(sums.pop("sft_loss", 0.0))
    metrics: Metrics = {"loss": policy + phase.sft_loss_weight * imitation, "policy_loss": policy}
    if phase.sft_loss_weight:
        metrics["sft_loss"] = imitation
    return metrics | diagnostics.finish(sums)


def _is_idle(sequences: Sequence[PolicySequence], microbatch: Microbatch, phase: Phase) -> bool:
    """Whether no gradient comes from a micro-batch: every advantage is 0, and nothing is imitated.

    A function of the user's own may have one all the same.
    """
    chosen = [sequences[i] for i in members(microbatch)]
    if isinstance(phase.objective, CustomObjective) or any(s.advantage for s in chosen):
        return False
    return not (phase.sft_loss_weight and any(s.correct and s.loss_mask.any() for s in chosen))


@contextmanager
def _finite(model: PreTrainedModel) -> Iterator[Callable[[Tensor, int, Sequence[Microbatch]], None]]:
    """A function that raises NonFinite for a loss; of a sharded model the first such loss is told at the block's end,
    when this rank has made every pass that the others wait for."""
    late: list[NonFinite] = []

    def require(loss: Tensor, number: int, microbatches: Sequence[Microbatch]) -> None:
        if torch.isfinite(loss):
            return
        late.append(
            NonFinite(
                f"the loss of micro-batch {number + 1} of {len(microbatches)} is {loss.item()} "
                f"(sequences {members(microbatches[number])})"
            )
        )
        if not is_sharded(model):
            raise late[0]

    yield require
    if late:
        raise late[0]
