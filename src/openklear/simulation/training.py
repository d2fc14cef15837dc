"""How long the updates of one iteration take on so many GPUs: arithmetic, the longest row, and what the ranks send."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby

from openklear.planner.costs import Load, estimate, forward_load, training_load
from openklear.planner.machines import Machine
from openklear.planner.memory import WIDTH
from openklear.planner.parts import TRAINED
from openklear.planner.shape import ModelShape
from openklear.simulation.fleet import gather_seconds, link
from openklear.simulation.lengths import DrawnRow

GATHERS = 2
"""Times that a micro-batch gathers all weights: forward and backward; what it reduces is counted beside."""
OVERHEAD = 1.0
"""Seconds of an update that nothing else counts: gradient norm, bookkeeping, a barrier; ours, not measured."""


@dataclass(frozen=True, slots=True)
class TrainingWork:
    """What the ranks train, and how."""

    shape: ModelShape
    machine: Machine
    dtype: str
    microbatch_tokens: int
    problems_per_update: int
    checkpointing: bool
    filtered: bool = True
    """Whether groups without an advantage are left out: TRAINED of them stay."""
    old_logprobs: bool = True
    """Whether rows of later updates need a pass for their old log-probabilities."""

    def seconds(self, rows: Sequence[DrawnRow], ranks: int) -> float:
        """Of all updates of an iteration's rows; the optimizer, and gathering and reducing weights, included."""
        return sum(self._update(update, ranks, number > 0) for number, update in enumerate(self.updates(rows)))

    def updates(self, rows: Sequence[DrawnRow]) -> Iterator[list[DrawnRow]]:
        """Mini-batches of so many problems, in the order of the groups."""
        groups = [list(group) for _, group in groupby(rows, key=lambda row: row.group)]
        if self.filtered:
            groups = groups[: max(math.ceil(TRAINED * len(groups)), 1)]
        for start in range(0, len(groups), self.problems_per_update):
            yield list(chain.from_iterable(groups[start : start + self.problems_per_update]))

    def publish_seconds(self, gpus: int) -> float:
        """To send all weights to the samplers."""
        return self.shape.parameters * WIDTH[self.dtype] / link(self.machine, gpus) if gpus > 1 else 0.0

    def _update(self, rows: Sequence[DrawnRow], ranks: int, later: bool) -> float:
        """The ranks share the tokens evenly, but a row lies on one of them: none is done before the longest is."""
        tokens = sum(row.prompt + row.completion for row in rows)
        microbatches = max(math.ceil(tokens / ranks / self.microbatch_tokens), 1)
        share = self._pass_seconds(rows, ranks, microbatches, later)
        alone = self._pass_seconds([max(rows, key=lambda row: row.completion)], 1, 1, later)
        sent = microbatches * self._sent(ranks)
        return max(share, alone, sent) + self._optimizer(ranks) + OVERHEAD

    def _pass_seconds(self, rows: Sequence[DrawnRow], ranks: int, microbatches: int, later: bool) -> float:
        """Forward and backward of a rank's share; before a later update also the pass for the old log-probabilities."""
        tokens = sum(row.prompt + row.completion for row in rows) / ranks
        losses = sum(row.completion for row in rows) / ranks
        pairs = sum((row.prompt + row.completion) ** 2 / 2 for row in rows) / ranks
        width = WIDTH[self.dtype]
        work: Load = training_load(
            *(self.shape, tokens, losses, pairs), microbatches=microbatches, updates=0, width=width,
            checkpointing=self.checkpointing,
        )  # fmt: skip
        if later and self.old_logprobs:
            work += forward_load(self.shape, tokens, losses, pairs, microbatches=microbatches, width=width)
        return estimate(work, self.machine, self.dtype, 1).expected

    def _sent(self, ranks: int) -> float:
        """Weights gathered for each pass, gradients reduced in fp32."""
        weights = self.shape.parameters * WIDTH[self.dtype]
        return gather_seconds(self.machine, ranks, GATHERS * weights + 4 * self.shape.parameters)

    def _optimizer(self, ranks: int) -> float:
        """Weights, gradients and moments of a rank's share, read and written."""
        moved = Load(0, 0, 0, 28 * self.shape.parameters / ranks, 0, 0)
        return estimate(moved, self.machine, self.dtype, 1).expected
