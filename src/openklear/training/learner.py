"""The model that is trained, its optimizer, and the one way a stage changes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from openklear.models.batching import plan_microbatches
from openklear.models.loading import LoadedModel
from openklear.recipe.objectives import EntropyGate
from openklear.recipe.schema import Phase
from openklear.training.optimizer import Optimizer, clip_gradients
from openklear.training.step import LossSettings, PolicySequence, policy_gradient, reference_logprobs

Metrics = dict[str, float | list[float]]


class Learner(Protocol):
    """What the RL loop asks of the training side."""

    def with_old(self, sequences: Sequence[PolicySequence]) -> list[PolicySequence]:
        """The sequences with the log-probabilities (and entropies, for a gate) of the weights as they are now."""
        ...

    def update(self, sequences: Sequence[PolicySequence], learning_rate: float) -> Metrics:
        """One optimizer step on one mini-batch; returns its metrics."""
        ...


@dataclass(frozen=True, slots=True)
class LocalLearner:
    """A learner in this process."""

    loaded: LoadedModel
    optimizer: Optimizer
    phase: Phase
    microbatch_tokens: int

    def with_old(self, sequences: Sequence[PolicySequence]) -> list[PolicySequence]:
        """See `Learner`. Called a mini-batch at a time it shares its micro-batches, and so its bits, with `update`."""
        gated = isinstance(self.phase.entropy_gate, EntropyGate)
        microbatches = self._microbatches(sequences)
        logprobs, entropies = reference_logprobs(
            self.loaded.model, sequences, microbatches, self.phase.temperature, entropy=gated
        )
        return [
            replace(s, old_logprobs=old, old_entropies=entropy if gated else None)
            for s, old, entropy in zip(sequences, logprobs, entropies, strict=True)
        ]

    def update(self, sequences: Sequence[PolicySequence], learning_rate: float) -> Metrics:
        """See `Learner`. Raises NonFinite before the weights move."""
        self.optimizer.zero_grad()
        microbatches = self._microbatches(sequences)
        metrics = policy_gradient(self.loaded.model, sequences, microbatches, LossSettings.of(self.phase))
        metrics["grad_norm"] = clip_gradients(self.loaded.model, self.phase.max_grad_norm)
        metrics["learning_rate"] = learning_rate
        self.optimizer.set_learning_rate(learning_rate)
        self.optimizer.step()
        return metrics

    def _microbatches(self, sequences: Sequence[PolicySequence]) -> list[list[int]]:
        return plan_microbatches([len(s.ids) for s in sequences], self.microbatch_tokens)
