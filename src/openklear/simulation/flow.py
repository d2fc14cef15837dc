"""Samplers and trainers at work together: events in the order of time, each a row that ends or an iteration trained.

Rows are started in the order of their iterations, those of iteration i once the policy has been updated i - staleness
times, each by the engine that has the fewest; a waiting row goes to the first engine that has room, so that one long
completion keeps one slot and not the pool. The trainers take iterations whole and in their order: with the same draws
the same groups are trained on, however fast each engine is. After an update every engine gets the new weights and
computes the keys and values of its unfinished rows again (abort and resend).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol

from openklear.simulation.decoding import StepTime
from openklear.simulation.engine import DecodingEngine
from openklear.simulation.fleet import Placement
from openklear.simulation.lengths import DrawnRow


class Training(Protocol):
    """How long trainers take; `simulation.training.TrainingWork` says it by the planner's arithmetic."""

    def seconds(self, rows: Sequence[DrawnRow], ranks: int) -> float:
        """Of all updates with the rows of an iteration, on so many GPUs."""

    def publish_seconds(self, gpus: int) -> float:
        """Until samplers have the new weights."""


TRAINED_EVENT = -1
"""In the place of an engine's number."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """What came of it, over the iterations after the first `skipped`, which fill the pipeline."""

    placement: Placement
    seconds: float
    """Of an iteration."""
    tokens_per_second: float
    """Sampled, by all GPUs together."""
    sampling_idle: float
    """Share of the time in which an engine holds no row."""
    training_idle: float
    idle: float
    """Of all GPUs."""
    staleness: float
    """Updates between the start of a row and its use, on average."""


@dataclass(slots=True)
class Flow:
    """The state between events."""

    iterations: Sequence[Sequence[DrawnRow]]
    placement: Placement
    work: Training
    engines: Sequence[DecodingEngine]
    now: float = 0.0
    version: int = 0
    started: int = 0
    """Iterations whose rows may be sampled."""
    waiting: deque[DrawnRow] = field(default_factory=deque)
    left: list[int] = field(default_factory=list)
    """Of each iteration, rows that are not done."""
    training: bool = False
    trained_seconds: float = 0.0
    trained_at: list[float] = field(default_factory=list)
    busy_at: list[tuple[float, float]] = field(default_factory=list)
    """(engines', trainers') busy seconds when each iteration was trained."""
    staleness: list[int] = field(default_factory=list)
    """Sum over an iteration's rows."""
    events: list[tuple[float, int, int]] = field(default_factory=list)
    """Heap of (time, engine or TRAINED_EVENT, the stamp of the engine's state that it was foreseen from)."""
    stamps: list[int] = field(default_factory=list)

    def run(self) -> None:
        """Until all iterations are trained."""
        self.left = [len(rows) for rows in self.iterations]
        self.staleness = [0] * len(self.iterations)
        self.stamps = [0] * len(self.engines)
        self._allow()
        while len(self.trained_at) < len(self.iterations):
            self.now, number, stamp = heapq.heappop(self.events)
            if number == TRAINED_EVENT:
                self._trained()
            elif stamp == self.stamps[number]:
                self._row_ends(number)

    def _allow(self) -> None:
        """Start the iterations that the newest policy allows."""
        most = min(self.version + self.placement.staleness + 1, len(self.iterations))
        for rows in self.iterations[self.started : most]:
            self.waiting.extend(rows)
        self.started = max(self.started, most)
        self._fill()

    def _fill(self) -> None:
        """Waiting rows to the engines with the fewest, as long as one has room."""
        fewest = [(len(engine.ending), number) for number, engine in enumerate(self.engines)]
        heapq.heapify(fewest)
        changed = set()
        while self.waiting and fewest:
            _, number = fewest[0]
            if self._admit(number):
                changed.add(number)
                heapq.heapreplace(fewest, (len(self.engines[number].ending), number))
            else:
                heapq.heappop(fewest)
        for number in sorted(changed):
            self._foresee(number)

    def _admit(self, number: int) -> bool:
        engine = self.engines[number]
        if not self.waiting or not engine.has_room(self.waiting[0]):
            return False
        engine.advance(self.now)
        row = self.waiting.popleft()
        engine.admit(row)
        self.staleness[row.iteration] += row.iteration - self.version
        return True

    def _foresee(self, number: int) -> None:
        self.stamps[number] += 1
        end = self.engines[number].next_end()
        if end < float("inf"):
            heapq.heappush(self.events, (end, number, self.stamps[number]))

    def _row_ends(self, number: int) -> None:
        for row in self.engines[number].finish_next():
            self.left[row.iteration] -= 1
        while self._admit(number):
            pass
        self._foresee(number)
        self._train()

    def _train(self) -> None:
        """Begin with the next iteration if it is sampled and the trainers are free."""
        if self.training or self.version == len(self.iterations) or self.left[self.version]:
            return
        self.training = True
        seconds = self.work.seconds(self.iterations[self.version], self.placement.trainers)
        self.trained_seconds += seconds
        heapq.heappush(self.events, (self.now + seconds, TRAINED_EVENT, 0))

    def _trained(self) -> None:
        """The new weights reach all engines, which compute again what they hold of unfinished rows."""
        self.training = False
        self.version += 1
        self.trained_at.append(self.now)
        publishing = self.work.publish_seconds(self.placement.gpus)
        for number, engine in enumerate(self.engines):
            engine.advance(self.now)
            if engine.ending:
                engine.spend(publishing + engine.held * engine.step.prefill)
                self._foresee(number)
            else:
                engine.now = self.now + publishing
        self.busy_at.append((sum(engine.busy for engine in self.engines), self.trained_seconds))
        self._allow()
        self._train()


def simulated(
    iterations: Sequence[Sequence[DrawnRow]],
    placement: Placement,
    step: StepTime,
    work: Training,
    *,
    slots: int,
    cache_tokens: int,
    skipped: int = 0,
) -> Throughput:
    """Sample and train the iterations. `step`, `slots` and `cache_tokens` are those of one engine."""
    flow = Flow(
        iterations, placement, work, [DecodingEngine(step, slots, cache_tokens) for _ in range(placement.samplers)]
    )
    flow.run()
    first = (0.0, (0.0, 0.0)) if not skipped else (flow.trained_at[skipped - 1], flow.busy_at[skipped - 1])
    seconds = flow.trained_at[-1] - first[0]
    sampling = (flow.busy_at[-1][0] - first[1][0]) / len(flow.engines) / seconds
    training = (flow.busy_at[-1][1] - first[1][1]) / seconds
    counted = iterations[skipped:]
    rows = sum(map(len, counted))
    tokens = sum(row.completion for row in chain.from_iterable(counted))
    return Throughput(
        placement,
        seconds / len(counted),
        tokens / seconds,
        *_idle(placement, min(sampling, 1.0), training),
        sum(flow.staleness[skipped:]) / rows,
    )


def _idle(placement: Placement, sampling: float, training: float) -> tuple[float, float, float]:
    """Idle shares of engines, of trainers, and of all GPUs; where they take turns there is one share of all."""
    if placement.colocated:
        both = max(1 - sampling - training, 0.0)
        return 1 - sampling, 1 - training, both
    decoding = placement.samplers * placement.tensor_parallel
    unused = placement.gpus - placement.trainers - decoding
    idle = decoding * (1 - sampling) + placement.trainers * (1 - training) + unused
    return 1 - sampling, 1 - training, idle / placement.gpus
