"""The model that is trained, its optimizer, and the one way a stage changes them.

With a process `group` every rank holds the whole model and optimizer, and is handed its share of each batch (never an
empty one): gradients are those of all ranks together, so all ranks take the same step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from openklear.models.attention import can_pack
from openklear.models.batching import plan_microbatches, plan_packs
from openklear.models.loading import LoadedModel
from openklear.recipe.objectives import EntropyGate
from openklear.recipe.schema import Phase, Sft
from openklear.training import parallel
from openklear.training.layout import Microbatch, TokenRow
from openklear.training.optimizer import Optimizer, clip_gradients
from openklear.training.step import (
    Metrics,
    PolicySequence,
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

    def with_old(self, sequences: Sequence[PolicySequence]) -> list[PolicySequence]:
        """The sequences with the log-probabilities (and entropies, for a gate) of the weights as they are now.

        Called a mini-batch at a time it shares its micro-batches, and so its bits, with `update`.
        """
        gated = isinstance(self.phase.entropy_gate, EntropyGate)
        logprobs, entropies = reference_logprobs(
            self.loaded.model,
            sequences,
            _microbatches(self.loaded, sequences, self.microbatch_tokens),
            self.phase.temperature,
            entropy=gated,
        )
        return [
            replace(s, old_logprobs=old, old_entropies=entropy if gated else None)
            for s, old, entropy in zip(sequences, logprobs, entropies, strict=True)
        ]

    def update(self, sequences: Sequence[PolicySequence], learning_rate: float) -> Metrics:
        """One optimizer step on one mini-batch; returns its metrics. Raises NonFinite before the weights move."""
        self.optimizer.zero_grad()
        microbatches = _microbatches(self.loaded, sequences, self.microbatch_tokens)
        metrics = policy_gradient(self.loaded.model, sequences, microbatches, self.phase, group=self.group)
        return metrics | _step(self.loaded, self.optimizer, self.phase.max_grad_norm, learning_rate)


@dataclass(frozen=True, slots=True)
class SupervisedLearner:
    """The learner of SFT in this process, or one rank of it."""

    loaded: LoadedModel
    optimizer: Optimizer
    settings: Sft
    microbatch_tokens: int
    group: parallel.Group | None = None

    def update(self, rows: Sequence[TokenRow], learning_rate: float) -> Metrics:
        """One optimizer step on one batch; returns its metrics. Raises NonFinite before the weights move."""
        self.optimizer.zero_grad()
        microbatches = _microbatches(self.loaded, rows, self.microbatch_tokens)
        metrics = supervised_gradient(self.loaded.model, rows, microbatches, group=self.group)
        return metrics | _step(self.loaded, self.optimizer, self.settings.max_grad_norm, learning_rate)


def _microbatches(loaded: LoadedModel, rows: Sequence[TokenRow], tokens: int) -> list[Microbatch]:
    """Packs where the model can be packed, else padded rows."""
    lengths = [len(row.ids) for row in rows]
    if can_pack(loaded.model):
        return [[pack] for pack in plan_packs(lengths, tokens)]
    return [*plan_microbatches(lengths, tokens)]


def _step(loaded: LoadedModel, optimizer: Optimizer, max_grad_norm: float, learning_rate: float) -> Metrics:
    """Clip the gradient that stands in `.grad`, which is that of all ranks and so is its norm, and move the weights."""
    norm = clip_gradients(loaded.model, max_grad_norm)
    optimizer.set_learning_rate(learning_rate)
    optimizer.step()
    return {"grad_norm": norm, "learning_rate": learning_rate}
