"""What SFT and RL share around their steps: resuming, patience, validation, saving, and a batch that is not finite."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from openklear import progress
from openklear.durable import notice
from openklear.durable.files import append_jsonl, read_whole_jsonl, stage_record, sync, write_jsonl_atomic
from openklear.errors import NonFinite, Preempted, RunError
from openklear.recipe.schema import Checkpoints, Evaluation
from openklear.recipe.track import Track
from openklear.rollout.collect import Collector
from openklear.rollout.encoding import EncodedProblem
from openklear.tracking import Tracker
from openklear.training import checkpoint
from openklear.training.checkpoint import Position
from openklear.training.forecast import Forecast
from openklear.training.samples import one_of, told
from openklear.training.schedule import Place
from openklear.training.trainee import Trainee
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
    trainee: Trainee
    checkpoints: Checkpoints
    track: Track = field(default_factory=Track)
    tracker: Tracker | None = None
    position: Position = field(default_factory=Position)
    metrics: list[Figures] = field(default_factory=list)
    timings: list[Figures] = field(default_factory=list)

    def resume(self, rows: str = "") -> bool:
        """Go back to the newest sound checkpoint and cut the metrics to it; False where there is none.

        `rows` is the hash of the rows that the schedule goes through. RunError where the checkpoint is of others.
        """
        self.position = replace(self.position, rows=rows)
        newest, damage = checkpoint.newest_sound(self.directory)
        for text in damage:
            progress.say(f"{self.stage}: {text}")
        if newest is None:
            self._begin_anew(bool(damage))
        else:
            self._restore(newest, rows)
        for name, lines in self._files().items():
            lines[:] = [r for r in read_whole_jsonl(self.directory / name) if r[self.unit] <= self.position.at]
            write_jsonl_atomic(self.directory / name, lines)
        return newest is not None

    def _restore(self, newest: Path, rows: str) -> None:
        self.position = checkpoint.restore(newest, self.trainee)
        if self.position.rows != rows:
            raise RunError(
                f"{newest} was trained on other rows, or on these in another order, so its place says nothing here; "
                f"remove {self.directory} to train the stage from its beginning"
            )
        self._forget_lost_best()

    def say_place(self) -> None:
        """Where a resumed stage goes on."""
        progress.say(f"{self.stage}: going on after {self.unit} {self.position.at} of {self.total}")

    def _begin_anew(self, damaged: bool) -> None:
        """Without a checkpoint: what was recorded since the beginning is replayed, or done again."""
        forked = (stage_record(self.directory) or {}).get("forked", {}) if damaged else {}
        if forked.get("state") == "unfinished":
            raise RunError(
                f"{self.directory} was taken over from {forked['from']}, and no checkpoint of it is sound; "
                "fork that run again, into another --output"
            )
        if damaged:
            progress.say(
                f"{self.stage}: there is no other checkpoint, so the stage begins anew, with the same bits; recorded "
                "iterations are replayed. checkpoints.keep_last = 2 keeps one more"
            )

    def _forget_lost_best(self) -> None:
        """The best checkpoint of before may not have been kept, as nobody asked for the best then."""
        best = self.position.best_at
        if not self.checkpoints.keep_best or best is None or best == self.position.at:
            return
        if not checkpoint.checkpoint_directory(self.directory, best).is_dir():
            progress.say(
                f"{self.stage}: the checkpoint of the best validation so far, {best}, is gone; it is forgotten"
            )
            self.position = self.position.with_best(None, None, 0)

    def prolong(self) -> None:
        """Go on as if the schedule had never ended here: what only its end caused is taken back."""
        before = self.position.before
        if before is None or self.position.at >= self.total:
            return
        self.position = self.position.with_best(*before)
        self.metrics[-1] = without_validation(self.metrics[-1])
        write_jsonl_atomic(self.directory / "metrics.jsonl", self.metrics)

    def ahead(self) -> Iterator[int]:
        """The numbers of the steps or iterations to come, from 1, until the last or until patience runs out."""
        patience = self.checkpoints.patience
        while self.position.at < self.total:
            if notice.given():
                raise self._preempted()
            if patience is not None and self.position.validations_since_best >= patience:
                progress.say(f"{self.stage}: the last {patience} validations were no better than the best; stopping")
                return
            yield self.position.at + 1

    def _preempted(self) -> Preempted:
        """The error that ends the stage, which is saved as far as it is."""
        at = self.position.at
        if at and not checkpoint.checkpoint_directory(self.directory, at).is_dir():
            self.save()
        done = f"{self.unit} {at} of {self.total} is saved" if at else f"no {self.unit} was done yet"
        return Preempted(f"{self.stage}: ended as told (SIGTERM); {done}, and the same command goes on from there")

    def seconds_left(self, forecast: Forecast) -> float | None:
        """To the end of the schedule, from where it is."""
        return forecast.left(self.unit, self.position.at, self.timings)

    def advance(self, updates: int, places: dict[str, Place] | None = None) -> None:
        """One more step or iteration is done, by this many updates of the weights; `places`: how far in the rows."""
        at, updates, places = self.position.at + 1, self.position.updates + updates, places or self.position.places
        self.position = replace(self.position, at=at, updates=updates, places=places, ended=False, before=None)

    def validate(
        self,
        collector: Collector,
        problems: Sequence[EncodedProblem],
        evaluation: Evaluation,
        *,
        scheduled: bool = True,
    ) -> dict[str, float]:
        """Scores of the present weights, which patience and the best checkpoint go by.

        `scheduled`: whether it would come here in a longer schedule too.
        """
        at = self.position.at
        self.trainee.publish(collector.sampler, at)
        groups = asked(collector, problems, evaluation, stage=self.stage, at=at)
        scores = scores_of(groups)
        if groups and self.track.sample_every:
            progress.say(told(one_of(groups, at), f"{self.stage}: validation at {at}"))
        if scores:
            taken = self.position.after_validation if scheduled else self.position.after_last
            self.position = taken(at, scores["validation_score"])
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

    def save(self, *, ended: bool = False) -> None:
        """Metrics first: a checkpoint always has its rows, and rows beyond it are cut when the run goes on.

        `ended`: whether only the end of the schedule asks for it.
        """
        self.position = replace(self.position, ended=ended)
        for name in self._files():
            sync(self.directory / name)
        checkpoint.save(self.directory, self.position, self.trainee, self.checkpoints)

    def hand_on(self) -> None:
        """Leave the model that the next stage starts from."""
        checkpoint.hand_on(self.directory, self.position, self.trainee, self.checkpoints)

    def nonfinite(self, error: NonFinite, batch: Iterable[Figures], part: str = "") -> NonFinite:
        """The error with its step or iteration in it, after `batch` was written to a file."""
        number = self.position.at + 1
        dump = self.directory / f"nonfinite-{self.unit}-{number:06d}.jsonl"
        write_jsonl_atomic(dump, batch)
        return NonFinite(
            f"{error} ({self.stage}, {self.unit} {number}{part}). The batch is in {dump}; the last checkpoint stands. "
            "A smaller learning_rate or max_grad_norm may help; fork the run to change it."
        )


def without_validation(row: Figures) -> Figures:
    """The row of a step or iteration that was not validated."""
    return {key: value for key, value in row.items() if not key.startswith("validation")}


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
