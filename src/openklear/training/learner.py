"""The model that is trained, its optimizer, and the one way a stage changes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from openklear.models.batching import plan_microbatches
from openklear.models.loading import LoadedModel
from openklear.recipe.schema import Phase
from openklear.training.optimizer import Optimizer, clip_gradients
from openklear.training.step import PolicySequence, policy_gradient, reference_logprobs

Metrics = dict[str, float | list[float]]


class Learner(Protocol):
    """What the RL loop asks of the training side."""

    def old_logprobs(self, sequences: Sequence[PolicySequence]) -> list[NDArray[np.float32]]:
        """Log-probabilities (T,) of each sequence under the weights as they are now, from a pass of its own."""
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

    def old_logprobs(self, sequences: Sequence[PolicySequence]) -> list[NDArray[np.float32]]:
        """See `Learner`. Called a mini-batch at a time it shares its micro-batches, and so its bits, with `update`."""
        return reference_logprobs(self.loaded.model, sequences, self._microbatches(sequences), self.phase.temperature)

    def update(self, sequences: Sequence[PolicySequence], learning_rate: float) -> Metrics:
        """See `Learner`. Raises NonFinite before the weights move."""
        self.optimizer.zero_grad()
        metrics: Metrics = dict(
            policy_gradient(
                self.loaded.model,
                sequences,
                self._microbatches(sequences),
                objective=self.phase.objective,
                aggregation=self.phase.aggregation,
                sft_loss_weight=self.phase.sft_loss_weight,
                temperature=self.phase.temperature,
            )
        )
        metrics["grad_norm"] = clip_gradients(self.loaded.model, self.phase.max_grad_norm)
        metrics["learning_rate"] = learning_rate
        self.optimizer.set_learning_rate(learning_rate)
        self.optimizer.step()
        return metrics

    def _microbatches(self, sequences: Sequence[PolicySequence]) -> list[list[int]]:
        return plan_microbatches([len(s.ids) for s in sequences], self.microbatch_tokens)
