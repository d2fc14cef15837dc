"""The model that is trained, its optimizer, and the one way a stage changes them.

With a process `group` every rank holds the whole model and optimizer, or its part of them (`training.sharding`), and
is handed its share of each batch: gradients are those of all ranks together, so all ranks take the same step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from openklear.models.attention import can_pack
from openklear.models.batching import plan_microbatches, plan_packs
from openklear.models.dropout import drops, next_step
from openklear.models.loading import LoadedModel
from openklear.recipe.objectives import EntropyGate, NoCorrection, NoGate
from openklear.recipe.schema import Phase, Sft
from openklear.training import parallel
from openklear.training.layout import Microbatch, TokenRow
from openklear.training.optimizer import Optimizer, clip_gradients
from openklear.training.step import (
    Metrics,
    PolicySequence,
    Values,
    policy_gradient,
    reference_logprobs,
    supervised_gradient,
)


@dataclass(frozen=True, slots=True)
class LocalLearner:
    """The learner of RL in this process, or one rank of it."""

    loaded: LoadedModel
    optimizer: Optimizer
    phase: Phase
    microbatch_tokens: int
    group: parallel.Group | None = None
    takes_sampled: bool = False
    """Whether the sampler's log-probabilities stand for the old ones (`takes_sampled`)."""

    def with_old(self, sequences: Sequence[PolicySequence]) -> list[PolicySequence]:
        """The sequences with the log-probabilities (and entropies, for a gate) of the weights as they are now.

        For all mini-batches of an iteration but the first, whose own pass has them. Called a mini-batch at a time it
        shares its micro-batches, and so its bits, with `update`.
        """
        if self.takes_sampled:
            return [replace(s, old_logprobs=s.rollout_logprobs) for s in sequences]
        logprobs, entropies = reference_logprobs(
            self.loaded.model,
            sequences,
            self._microbatches(sequences),
            self.phase.temperature,
            entropy=self._gated,
            group=self.group,
        )
        return [self._old(s, *found) for s, *found in zip(sequences, logprobs, entropies, strict=True)]

    def update(
        self,
        sequences: Sequence[PolicySequence],
        learning_rate: float,
        check: Callable[[list[PolicySequence]], None] | None = None,
    ) -> tuple[Metrics, list[PolicySequence]]:
        """One optimizer step on one mini-batch: its metrics, and its sequences with their old log-probabilities.

        Raises NonFinite, or what `check` of those sequences raises, before the weights move.
        """
        metrics, done = self.gradient(sequences)
        if check is not None:
            with parallel.failing_together(self.group):
                check(done)
        return metrics | self.step(learning_rate), done

    def gradient(self, sequences: Sequence[PolicySequence]) -> tuple[Metrics, list[PolicySequence]]:
        """The first half of `update`: the gradient stands in `.grad`, and the weights have not moved."""
        self.optimizer.zero_grad()
        own: Values = {}
        metrics = policy_gradient(
            self.loaded.model, sequences, self._microbatches(sequences), self.phase, group=self.group, found=own
        )
        return metrics, [s if s.old_logprobs is not None else self._old(s, *own[i]) for i, s in enumerate(sequences)]

    def step(self, learning_rate: float) -> Metrics:
        """The second half: clip the gradient and move the weights."""
        return _step(self.loaded, self.optimizer, self.phase.max_grad_norm, learning_rate)

    @property
    def _gated(self) -> bool:
        return isinstance(self.phase.entropy_gate, EntropyGate)

    def _old(
        self, sequence: PolicySequence, logprobs: NDArray[np.float32], entropies: NDArray[np.float32]
    ) -> PolicySequence:
        return replace(sequence, old_logprobs=logprobs, old_entropies=entropies if self._gated else None)

    def _microbatches(self, sequences: Sequence[PolicySequence]) -> list[Microbatch]:
        """Those without advantage apart, as they need no backward pass."""
        moving = [i for i, s in enumerate(sequences) if s.advantage or (self.phase.sft_loss_weight and s.correct)]
        idle = sorted(set(range(len(sequences))) - set(moving))
        found: list[Microbatch] = []
        for some in filter(None, (moving, idle)):
            planned = _microbatches(self.loaded, [sequences[i] for i in some], self.microbatch_tokens)
            found += [_renumbered(microbatch, some) for microbatch in planned]
        return found


def takes_sampled(phase: Phase, *, exact: bool) -> bool:
    """Whether a phase takes the sampler's log-probabilities for the old ones; `exact`: they are the trainer's to 1e-5.

    An entropy gate needs the trainer's entropies, and a correction the difference between the two.
    """
    plain = isinstance(phase.entropy_gate, NoGate) and isinstance(phase.correction, NoCorrection)
    return phase.old_logprobs == "sampler" or (phase.old_logprobs == "auto" and exact and plain)


@dataclass(frozen=True, slots=True)
class SupervisedLearner:
    """The learner of SFT in this process, or one rank of it."""

    loaded: LoadedModel
    optimizer: Optimizer
    settings: Sft
    microbatch_tokens: int
    group: parallel.Group | None = None

    def update(self, rows: Sequence[TokenRow], learning_rate: float, number: int = 0) -> Metrics:
        """One optimizer step on one batch; returns its metrics. Raises NonFinite before the weights move.

        `number`: which step of the schedule it is, which dropout depends on.
        """
        next_step(self.loaded.model, number)
        self.optimizer.zero_grad()
        share = not drops(self.loaded.model)
        microbatches = _microbatches(self.loaded, rows, self.microbatch_tokens, share=share)
        metrics = supervised_gradient(self.loaded.model, rows, microbatches, group=self.group)
        return metrics | _step(self.loaded, self.optimizer, self.settings.max_grad_norm, learning_rate)


def _microbatches(
    loaded: LoadedModel, rows: Sequence[TokenRow], tokens: int, *, share: bool = True
) -> list[Microbatch]:
    """Packs where the model can be packed, else padded rows."""
    if not rows:
        return []
    ids = [row.ids for row in rows]
    if can_pack(loaded.model):
        return [[pack] for pack in plan_packs(ids, tokens, share=share)]
    return [*plan_microbatches(list(map(len, ids)), tokens)]


def _renumbered(microbatch: Microbatch, numbers: Sequence[int]) -> Microbatch:
    number = numbers.__getitem__
    return [number(row) if isinstance(row, int) else tuple(map(number, row)) for row in microbatch]


def _step(loaded: LoadedModel, optimizer: Optimizer, max_grad_norm: float, learning_rate: float) -> Metrics:
    """Clip the gradient that stands in `.grad`, which is that of all ranks and so is its norm, and move the weights."""
    norm = clip_gradients(loaded.model, max_grad_norm)
    optimizer.set_learning_rate(learning_rate)
    optimizer.step()
    optimizer.zero_grad()  # validations, sampling and checkpoints come next, and have the memory
    return {"grad_norm": norm, "learning_rate": learning_rate}
