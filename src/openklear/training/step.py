"""Gradients of one optimizer step, a micro-batch at a time.

The law (tests/laws): the gradient does not depend on how the step's sequences are split into micro-batches, on padding,
or on their order. So every term's denominator is counted over the whole step before the first micro-batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from openklear.errors import NonFinite
from openklear.models.batching import pad_right
from openklear.models.logprobs import sequence_logprobs
from openklear.objectives import diagnostics
from openklear.objectives.aggregate import AGGREGATIONS, Denominators
from openklear.objectives.policy import OBJECTIVES
from openklear.objectives.ratio import bounded_log_ratio
from openklear.objectives.supervised import negative_log_likelihood
from openklear.objectives.weights import WEIGHTS
from openklear.recipe.schema import Objective

Metrics = dict[str, float | list[float]]


class TokenRow(Protocol):
    """A sequence and which of its tokens are trained; an encoded demonstration is one, a `PolicySequence` too."""

    @property
    def ids(self) -> NDArray[np.int32]:
        """(T,) token ids."""

    @property
    def loss_mask(self) -> NDArray[np.bool_]:
        """(T,) True where the token is trained; the first one never is."""


@dataclass(frozen=True, slots=True, eq=False)
class PolicySequence:
    """One rollout as the policy loss takes it: prompt and completion."""

    ids: NDArray[np.int32]  # (T,)
    loss_mask: NDArray[np.bool_]  # (T,) True on the completion's tokens
    old_logprobs: NDArray[np.float32]  # (T,) before this iteration's updates; 0 outside the mask
    advantage: float
    correct: bool
    """By the verdict, never by the reward: which rollouts the joint loss imitates."""
    group: int
    sample: int = 0
    """Index in its group; carried for the caller, no loss looks at it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """The padded tensors of one micro-batch, all (B, T)."""

    ids: Tensor
    loss_mask: Tensor
    old_logprobs: Tensor
    advantages: Tensor
    imitated: Tensor
    """Tokens of correct rollouts."""
    groups: list[int]


def policy_gradient(
    model: PreTrainedModel,
    sequences: Sequence[PolicySequence],
    microbatches: Sequence[Sequence[int]],
    *,
    objective: Objective,
    aggregation: Literal["token_mean", "group_token_mean", "sequence_mean"],
    sft_loss_weight: float,
    temperature: float,
) -> Metrics:
    """Add the gradient of policy loss + `sft_loss_weight` * imitation of correct rollouts (Eq. 13) to `.grad`.

    `microbatches` holds indices into `sequences`, each exactly once. `temperature` is the one they were sampled at;
    both terms see the policy at it. Returns loss, policy_loss, sft_loss (only where its weight is not 0) and what
    `objectives.diagnostics.finish` describes, clip figures only for objectives with a band. Raises NonFinite naming the
    micro-batch before its backward pass, so the weights have not moved; gradients of earlier ones are then in `.grad`.
    """
    lengths = _loss_tokens(sequences, microbatches)
    denominators = Denominators.count(lengths, [s.group for s in sequences])
    imitated = sum(n for n, s in zip(lengths, sequences, strict=True) if s.correct)
    policy_losses, sft_losses, sums = [], [], None
    for number, rows in enumerate(microbatches):
        batch = _policy_batch([sequences[i] for i in rows], model.device)
        logprobs, entropies = sequence_logprobs(model, batch.ids, batch.loss_mask, temperature=temperature)
        loss = AGGREGATIONS[aggregation](
            _losses(batch, logprobs, objective), batch.loss_mask, batch.groups, denominators
        )
        policy_losses.append(loss.item())
        if sft_loss_weight:
            imitation = negative_log_likelihood(logprobs, batch.imitated, imitated)
            sft_losses.append(imitation.item())
            loss = loss + sft_loss_weight * imitation
        _backward(loss, number, microbatches)
        sums = diagnostics.add(sums, _sums(batch, logprobs, entropies, objective))
    assert sums is not None  # _loss_tokens refused a step without tokens
    policy_loss, sft_loss = math.fsum(policy_losses), math.fsum(sft_losses)
    metrics: Metrics = {"loss": policy_loss + sft_loss_weight * sft_loss, "policy_loss": policy_loss}
    if sft_loss_weight:
        metrics["sft_loss"] = sft_loss
    return metrics | diagnostics.finish(sums)


def supervised_gradient(
    model: PreTrainedModel, rows: Sequence[TokenRow], microbatches: Sequence[Sequence[int]]
) -> dict[str, float]:
    """Add the gradient of the token-mean of -log pi over all rows' masks to `.grad`; returns loss and tokens.

    `microbatches` holds indices into `rows`, each exactly once. Raises NonFinite as `policy_gradient` does.
    """
    lengths = _loss_tokens(rows, microbatches)
    losses = []
    for number, chosen in enumerate(microbatches):
        ids, mask = _tokens([rows[i] for i in chosen], model.device)
        logprobs, _ = sequence_logprobs(model, ids, mask, entropy=False)
        loss = negative_log_likelihood(logprobs, mask, sum(lengths))
        _backward(loss, number, microbatches)
        losses.append(loss.item())
    return {"loss": math.fsum(losses), "tokens": float(sum(lengths))}


@torch.no_grad()
def reference_logprobs(
    model: PreTrainedModel,
    sequences: Sequence[TokenRow],
    microbatches: Sequence[Sequence[int]],
    temperature: float,
) -> list[NDArray[np.float32]]:
    """Log-probabilities (T,) of each sequence under the weights as they are, 0 outside its mask; no gradient.

    Given the micro-batches that `policy_gradient` gets next, they have the bits that it computes: log r is exactly 0.
    """
    _loss_tokens(sequences, microbatches)
    found = [np.zeros(len(s.ids), dtype=np.float32) for s in sequences]
    for rows in microbatches:
        ids, mask = _tokens([sequences[i] for i in rows], model.device)
        logprobs, _ = sequence_logprobs(model, ids, mask, temperature=temperature, entropy=False)
        for i, row in zip(rows, logprobs.cpu().numpy(), strict=True):
            found[i][:] = row[: len(found[i])]
    return found


def _loss_tokens(rows: Sequence[TokenRow], microbatches: Sequence[Sequence[int]]) -> list[int]:
    """Loss tokens of every row; ValueError if there are none, or if the micro-batches do not hold each row once."""
    if sorted(i for chosen in microbatches for i in chosen) != list(range(len(rows))):
        raise ValueError(f"the micro-batches must hold each of {len(rows)} sequences exactly once")
    lengths = [int(np.count_nonzero(row.loss_mask)) for row in rows]
    if not sum(lengths):
        raise ValueError("an optimizer step needs at least one token to train on")
    return lengths


def _tokens(rows: Sequence[TokenRow], device: torch.device) -> tuple[Tensor, Tensor]:
    ids = pad_right([row.ids for row in rows], 0, torch.int64)
    mask = pad_right([row.loss_mask for row in rows], False, torch.bool)
    return ids.to(device), mask.to(device)


def _policy_batch(sequences: Sequence[PolicySequence], device: torch.device) -> _Batch:
    ids, mask = _tokens(sequences, device)
    old = pad_right([s.old_logprobs for s in sequences], 0.0, torch.float32).to(device)
    advantages = torch.tensor([s.advantage for s in sequences], dtype=torch.float32, device=device)
    correct = torch.tensor([s.correct for s in sequences], dtype=torch.bool, device=device)
    return _Batch(
        ids=ids,
        loss_mask=mask,
        old_logprobs=old,
        advantages=advantages[:, None].expand_as(old),
        imitated=mask & correct[:, None],
        groups=[s.group for s in sequences],
    )


def _losses(batch: _Batch, logprobs: Tensor, objective: Objective) -> Tensor:
    return OBJECTIVES[objective.type](
        logprobs, batch.old_logprobs, batch.advantages, loss_mask=batch.loss_mask, **_band(objective)
    )


def _band(objective: Objective) -> dict[str, float]:
    """The objective's own numbers, as its functions take them."""
    return objective.model_dump(exclude={"type"})


def _sums(batch: _Batch, logprobs: Tensor, entropies: Tensor, objective: Objective) -> diagnostics.Sums:
    sums = diagnostics.policy_sums(logprobs, batch.old_logprobs, batch.advantages, batch.loss_mask, entropies)
    if objective.type == "reinforce":  # it has no band
        return sums
    log_ratio = bounded_log_ratio(logprobs, batch.old_logprobs)
    band = _band(objective)
    weights = WEIGHTS[objective.type](log_ratio.exp(), batch.advantages > 0, **band)
    return sums | diagnostics.clip_sums(log_ratio, batch.advantages, weights, batch.loss_mask, **band)


def _backward(loss: Tensor, number: int, microbatches: Sequence[Sequence[int]]) -> None:
    if not torch.isfinite(loss):
        raise NonFinite(
            f"the loss of micro-batch {number + 1} of {len(microbatches)} is {loss.item()} "
            f"(sequences {list(microbatches[number])})"
        )
    loss.backward()  # type: ignore[no-untyped-call]
