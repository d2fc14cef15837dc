"""What SFT and RL share around their steps: resuming, patience, validation, saving, and a batch that is not finite."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from openklear import progress
from openklear.durable.files import append_jsonl, read_whole_jsonl, sync, write_jsonl_atomic
from openklear.errors import NonFinite
from openklear.models.loading import LoadedModel
from openklear.recipe.schema import Checkpoints, Evaluation
from openklear.recipe.track import Track
from openklear.rollout.collect import Collector, EncodedProblem
from openklear.tracking import Tracker
from openklear.training import checkpoint
from openklear.training.checkpoint import Position
from openklear.training.forecast import Forecast
from openklear.training.optimizer import Optimizer
from openklear.training.samples import one_of, told
from openklear.training.validation import asked, scores_of

Figures = dict[str, Any]
"""What was measured, as a line of a .jsonl file holds it."""


@dataclass(slots=True)
class Loop:
    """Where a training stage is in its schedule, and what it has measured so far."""

    stage: str
    directory: Path
    unit: Literal["step", "iteration"]
    total: int
    """Steps or iterations of the whole schedule."""
    loaded: LoadedModel
    optimizer: Optimizer
    checkpoints: Checkpoints
    track: Track = field(default_factory=Track)
    tracker: Tracker | None = None
    position: Position = field(default_factory=Position)
    metrics: list[Figures] = field(default_factory=list)
    timings: list[Figures] = field(default_factory=list)

    def resume(self) -> bool:
        """Go back to the newest checkpoint and cut the metrics to it; False where there is none."""
        newest = checkpoint.latest(self.directory)
        if newest is not None:
            self.position = checkpoint.restore(newest, self.loaded, self.optimizer)
        for name, rows in self._files().items():
            rows[:] = [r for r in read_whole_jsonl(self.directory / name) if r[self.unit] <= self.position.at]
            write_jsonl_atomic(self.directory / name, rows)
        if newest is None:
            return False
        progress.say(f"{self.stage}: going on after {self.unit} {self.position.at} of {self.total}")
        return True

    def ahead(self) -> Iterator[int]:
        """The numbers of the steps or iterations to come, from 1, until the last or until patience runs out."""
        patience = self.checkpoints.patience
        while self.position.at < self.total:
            if patience is not None and self.position.validations_since_best >= patience:
                progress.say(f"{self.stage}: the last {patience} validations were no better than the best; stopping")
                return
            yield self.position.at + 1

    def seconds_left(self, forecast: Forecast) -> float | None:
        """To the end of the schedule, from where it is."""
        return forecast.left(self.unit, self.position.at, self.timings)

    def advance(self, updates: int) -> None:
        """One more step or iteration is done, by this many updates of the weights."""
        self.position = replace(self.position, at=self.position.at + 1, updates=self.position.updates + updates)

    def validate(
        self, collector: Collector, problems: Sequence[EncodedProblem], evaluation: Evaluation
    ) -> dict[str, float]:
        """Scores of the present weights, which patience and the best checkpoint go by."""
        at = self.position.at
        collector.sampler.publish(self.loaded.model, at)
        groups = asked(collector, problems, evaluation, stage=self.stage, at=at)
        scores = scores_of(groups)
        if groups and self.track.sample_every:
            progress.say(told(one_of(groups, at), f"{self.stage}: validation at {at}"))
        if scores:
            self.position = self.position.after_validation(at, scores["validation_score"])
        return scores

    def log(self, metrics: Figures, timings: Mapping[str, float]) -> None:
        """Write what a step or iteration measured, at once; clocks apart, as they are not the same in two runs."""
        self.metrics.append(metrics)
        self.timings.append({self.unit: self.position.at, **timings})
        for name, rows in self._files().items():
            append_jsonl(self.directory / name, rows[-1])
        if self.tracker is not None:
            self.tracker.log(metrics, self.position.at)

    def _files(self) -> dict[str, list[Figures]]:
        return {"metrics.jsonl": self.metrics, "timings.jsonl": self.timings}

    def save(self) -> None:
        """Metrics first: a checkpoint always has its rows, and rows beyond it are cut when the run goes on."""
        for name in self._files():
            sync(self.directory / name)
        checkpoint.save(self.directory, self.position, self.loaded, self.optimizer, self.checkpoints)

    def hand_on(self) -> None:
        """Leave the model that the next stage starts from."""
        checkpoint.hand_on(self.directory, self.position, self.loaded, self.checkpoints)

    def nonfinite(self, error: NonFinite, batch: Iterable[Figures], part: str = "") -> NonFinite:
        """The error with its step or iteration in it, after `batch` was written to a file."""
        number = self.position.at + 1
        dump = self.directory / f"nonfinite-{self.unit}-{number:06d}.jsonl"
        write_jsonl_atomic(dump, batch)
        return NonFinite(
            f"{error} ({self.stage}, {self.unit} {number}{part}). The batch is in {dump}; the last checkpoint stands. "
            "A smaller learning_rate or max_grad_norm may help; fork the run to change it."
        )


class Clock:
    """Seconds by part of a step or iteration."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        """Close the part that ends now."""
        now = time.perf_counter()
        self.laps[name] = now - self._since
        self._since = now
