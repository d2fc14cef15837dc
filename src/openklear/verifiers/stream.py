"""Verdicts of a stream too long for memory: some batches are in flight, so that no worker waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from openklear.types import Attempt, Domain, Verdict
from openklear.verifiers.judge import Judge

BATCH_ROWS: dict[Domain, int] = {"math": 1024, "code": 64}
BATCH_CHARACTERS = 8 * 2**20
"""A batch ends at whichever comes first. What is in flight is what memory holds, and what a kill can cost."""
IN_FLIGHT = 4

Item = TypeVar("Item")
Known = TypeVar("Known")
"""What stands in the place of an attempt where there is nothing to judge; it comes back as it is."""


def judged(
    judge: Judge,
    asked: Iterable[tuple[Item, Attempt | Known]],
    kind: Domain,
    on_progress: Callable[[int], None] | None = None,
) -> Iterator[list[tuple[Item, Verdict | Known]]]:
    """Verdicts of a stream, batch by batch in its order; `kind` is its costliest domain.

    Where the reader stops early, or is interrupted, the judge is closed: what still runs would keep its workers.
    """
    waiting: deque[_Begun[Item, Known]] = deque()
    finished = False
    try:
        for batch in batches(asked, max(BATCH_ROWS[kind], 2 * judge.limits.workers)):
            waiting.append(_Begun(judge, batch))
            if len(waiting) >= IN_FLIGHT:
                yield waiting.popleft().finish(on_progress)
        while waiting:
            yield waiting.popleft().finish(on_progress)
        finished = True
    finally:
        if not finished:
            judge.close()


class _Begun(Generic[Item, Known]):
    """A batch that the judge works on, after those that were begun before it."""

    def __init__(self, judge: Judge, asked: list[tuple[Item, Attempt | Known]]):
        self._asked, self._batch = asked, judge.begin()
        for _, attempt in asked:
            if isinstance(attempt, Attempt):
                self._batch.add(attempt)

    def finish(self, on_progress: Callable[[int], None] | None) -> list[tuple[Item, Verdict | Known]]:
        """Waits for the verdicts."""
        verdicts = iter(self._batch.finish(on_progress))
        found: list[tuple[Item, Verdict | Known]] = []
        known = 0
        for item, attempt in self._asked:
            if isinstance(attempt, Attempt):
                found.append((item, next(verdicts)))
            else:
                found.append((item, attempt))
                known += 1
        if on_progress is not None:
            on_progress(known)
        return found


def batches(asked: Iterable[tuple[Item, Attempt | Known]], rows: int) -> Iterator[list[tuple[Item, Attempt | Known]]]:
    """A stream in pieces of `rows`, or of `BATCH_CHARACTERS` where those are fewer rows."""
    batch: list[tuple[Item, Attempt | Known]] = []
    size = 0
    for pair in asked:
        batch.append(pair)
        size += _characters(pair[1])
        if len(batch) >= rows or size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _characters(asked: object) -> int:
    """Characters of the completion and its tests."""
    if not isinstance(asked, Attempt):
        return 0
    size = len(asked.text)
    for test in asked.problem.tests:
        size += sum(len(getattr(test, name)) for name in test.__slots__)
    return size
