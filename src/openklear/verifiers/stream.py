"""Verdicts of a stream too long for memory: some batches are in flight, so that no worker waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from openklear.types import Attempt, Verdict
from openklear.verifiers.judge import AttemptBatch, Judge

BATCH_CHARACTERS = 8 * 2**20
"""A batch ends at whichever comes first. What is in flight is what memory holds, and what a kill can cost."""
IN_FLIGHT = 4

Item = TypeVar("Item")


def judged(
    judge: Judge,
    asked: Iterable[tuple[Item, Attempt | Verdict]],
    rows: int,
    on_progress: Callable[[int], None] | None = None,
) -> Iterator[list[tuple[Item, Verdict]]]:
    """Verdicts of a stream, batch by batch in its order; a batch has `rows`, or enough for all workers.

    Where the reader stops early, or is interrupted, the judge is closed: what still runs would keep its workers.
    """
    waiting: deque[tuple[list[Item], AttemptBatch]] = deque()
    try:
        for pairs in batches(asked, max(rows, 2 * judge.limits.workers)):
            batch = judge.begin()
            for _, attempt in pairs:
                batch.add(attempt)
            waiting.append(([item for item, _ in pairs], batch))
            if len(waiting) >= IN_FLIGHT:
                yield _finished(*waiting.popleft(), on_progress)
        while waiting:
            yield _finished(*waiting.popleft(), on_progress)
    except BaseException:  # a GeneratorExit too
        judge.close()
        raise


def _finished(
    items: list[Item], batch: AttemptBatch, on_progress: Callable[[int], None] | None
) -> list[tuple[Item, Verdict]]:
    return list(zip(items, batch.finish(on_progress), strict=True))


def batches(
    asked: Iterable[tuple[Item, Attempt | Verdict]], rows: int
) -> Iterator[list[tuple[Item, Attempt | Verdict]]]:
    """A stream in pieces of `rows`, or of `BATCH_CHARACTERS` where those are fewer rows."""
    batch: list[tuple[Item, Attempt | Verdict]] = []
    size = 0
    for pair in asked:
        batch.append(pair)
        size += _characters(pair[1])
        if len(batch) >= rows or size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _characters(asked: Attempt | Verdict) -> int:
    """Characters of the completion and its tests."""
    if isinstance(asked, Verdict):
        return 0
    size = len(asked.text)
    for test in asked.problem.tests:
        size += sum(len(getattr(test, name)) for name in test.__slots__)
    return size
