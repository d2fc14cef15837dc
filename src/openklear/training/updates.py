"""From the judged groups of an iteration to its updates and back: pure functions, nothing sampled, nothing trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray

from openklear.objectives.advantages import ADVANTAGES
from openklear.recipe.schema import Phase
from openklear.rollout.records import Key, Trained
from openklear.training.metrics import scorable_rollouts
from openklear.training.step import PolicySequence
from openklear.types import Rollout, RolloutGroup, StopReason

Update = list[PolicySequence]
"""A mini-batch: the sequences of one optimizer step."""


def updates_of(groups: Sequence[RolloutGroup], phase: Phase) -> list[Update]:
    """Advantages, then the kept groups cut into mini-batches: K kept groups make ceil(K / problems_per_update) updates.

    Unscorable rollouts, and with overlong = "mask" those stopped by length, leave their group before its mean is
    taken; they are in no loss either.
    """
    rollouts = [_in_the_mean(group, phase) for group in groups]
    kept: list[Update] = []
    for number, (some, advantages) in enumerate(zip(rollouts, _advantages(rollouts, phase), strict=True)):
        differs = any(advantages)
        if len(some) >= 2 and (differs or phase.filter_zero_advantage is not True):
            counted = differs or phase.filter_zero_advantage != "uncounted"
            kept.append([_sequence(r, a, number, counted) for r, a in zip(some, advantages, strict=True)])
    size = phase.problems_per_update
    return [list(chain.from_iterable(kept[i : i + size])) for i in range(0, len(kept), size)]


def recorded(updates: Iterable[Update]) -> dict[Key, Trained]:
    """What is written beside the rollouts that are in an update, so that `restored` can replay the iteration."""
    found = {}
    for s in chain.from_iterable(updates):
        assert s.old_logprobs is not None, "an update that was made has them"
        entropies = None if s.old_entropies is None else s.old_entropies[s.loss_mask]
        found[s.group, s.sample] = Trained(s.old_logprobs[s.loss_mask], s.advantage, entropies)
    return found


def restored(update: Update, trained: Mapping[Key, Trained]) -> Update:
    """The update of recorded rollouts with the old log-probabilities and entropies that were recorded with them."""
    found = []
    for s in update:
        old_logprobs, _, entropies = trained[s.group, s.sample]
        spread = None if entropies is None else _over(s.loss_mask, entropies)
        found.append(replace(s, old_logprobs=_over(s.loss_mask, old_logprobs), old_entropies=spread))
    return found


def _in_the_mean(group: RolloutGroup, phase: Phase) -> list[Rollout]:
    scorable = scorable_rollouts(group)
    if phase.overlong != "mask":
        return scorable
    return [r for r in scorable if r.completion.stop_reason is not StopReason.LENGTH]


def _advantages(groups: Sequence[Sequence[Rollout]], phase: Phase) -> list[list[float]]:
    """Of every rollout of every group, by the phase's estimator."""
    rewards, lengths = [], []  # (G,) of each group
    for group in groups:
        rewards.append(torch.tensor([r.reward.value for r in group], dtype=torch.float64))
        lengths.append(torch.tensor([len(r.completion.token_ids) for r in group]))
    numbers = phase.advantage.model_dump(exclude={"type"})
    return [found.tolist() for found in ADVANTAGES[phase.advantage.type](rewards, lengths, **numbers)]


def _sequence(rollout: Rollout, advantage: float, group: int, counted: bool) -> PolicySequence:
    ids = np.concatenate([rollout.prompt_ids, rollout.completion.token_ids]).astype(np.int32)  # (P + T,)
    mask = np.arange(len(ids)) >= len(rollout.prompt_ids)
    return PolicySequence(
        ids=ids,
        loss_mask=mask,
        old_logprobs=None,
        advantage=advantage,
        correct=rollout.verdict.correct,
        group=group,
        sample=rollout.sample_index,
        rollout_logprobs=_over(mask, rollout.completion.logprobs),
        counted=counted,
    )


def _over(mask: NDArray[np.bool_], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """One value per completion token (T,) -> (P + T,), 0 outside the mask."""
    spread = np.zeros(len(mask), dtype=np.float32)
    spread[mask] = values
    return spread
