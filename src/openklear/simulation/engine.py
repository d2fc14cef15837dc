"""A sampler that decodes many rows at once. Between two events its batch stays the same, so time has a closed form."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

from openklear.simulation.decoding import StepTime
from openklear.simulation.lengths import DrawnRow


@dataclass(slots=True)
class DecodingEngine:
    """Its clock goes on when `advance` is called; a row is in it from `admit` to the step that ends it."""

    step: StepTime
    slots: int
    cache_tokens: int
    """Tokens whose keys and values it can hold; a row takes the place that it will need in the end."""
    now: float = 0.0
    """At the end of its last whole step."""
    asked: float = 0.0
    """Up to when it was last told to go on."""
    busy: float = 0.0
    """Seconds in which it held rows."""
    steps: int = 0
    """That it has made."""
    held: int = 0
    """Tokens of all rows so far."""
    reserved: int = 0
    ending: list[tuple[int, int, DrawnRow]] = field(default_factory=list)
    """Heap of (the step after which the row is done, a number that breaks ties, the row)."""
    admitted: int = 0
    prompts: dict[tuple[int, int], int] = field(default_factory=dict)
    """(iteration, group) -> its rows that are here: a prompt is computed once for them."""
    _foreseen: tuple[tuple[int, int, int], float] = ((-1, -1, -1), 0.0)
    """What was the state, and how long the next row took from there."""

    def has_room(self, row: DrawnRow) -> bool:
        """Whether a slot and the cache are free; an empty engine takes any row."""
        if not self.ending:
            return True
        return len(self.ending) < self.slots and self.reserved + row.prompt + row.completion <= self.cache_tokens

    def admit(self, row: DrawnRow) -> None:
        """Take the row in now, its prompt computed where no row of its group is here."""
        key = (row.iteration, row.group)
        if key not in self.prompts:
            self.spend(row.prompt * self.step.prefill)
        self.prompts[key] = self.prompts.get(key, 0) + 1
        self.admitted += 1
        heapq.heappush(self.ending, (self.steps + row.completion, self.admitted, row))
        self.held += row.prompt
        self.reserved += row.prompt + row.completion

    def spend(self, seconds: float) -> None:
        """Do something else than decode for so long."""
        self.now += seconds
        self.busy += seconds

    def next_end(self) -> float:
        """When the next row will be done; infinite for an empty engine."""
        return self.now + self._until_next() if self.ending else float("inf")

    def _until_next(self) -> float:
        """Seconds to the end of the next row; computed once for a batch that stays as it is."""
        state = self.steps, self.admitted, len(self.ending)
        if self._foreseen[0] != state:
            steps = self.ending[0][0] - self.steps
            self._foreseen = state, self.step.seconds(len(self.ending), self.held, steps)
        return self._foreseen[1]

    def finish_next(self) -> Iterator[DrawnRow]:
        """Decode until the next row is done; it, and those that end with it."""
        self._decode(self.ending[0][0] - self.steps, self._until_next())
        while self.ending and self.ending[0][0] == self.steps:
            yield self._leave(heapq.heappop(self.ending)[2])

    def advance(self, to: float) -> None:
        """Decode as many whole steps as end by then, without ending a row; an empty engine just waits."""
        if to <= max(self.now, self.asked):
            return
        self.asked = to
        if self.ending:
            most = self.ending[0][0] - self.steps - 1
            steps = self.step.steps_within(len(self.ending), self.held, to - self.now, most)
            self._decode(steps, self.step.seconds(len(self.ending), self.held, steps))
        else:
            self.now = to

    def _decode(self, steps: int, seconds: float) -> None:
        self.spend(seconds)
        self.steps += steps
        self.held += len(self.ending) * steps

    def _leave(self, row: DrawnRow) -> DrawnRow:
        self.held -= row.prompt + row.completion
        self.reserved -= row.prompt + row.completion
        key = (row.iteration, row.group)
        self.prompts[key] -= 1
        if not self.prompts[key]:
            del self.prompts[key]
        return row
