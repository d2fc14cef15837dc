"""Grading from Python: single answers and programs, and streams of rows in bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from openklear.errors import DataError, UsageError
from openklear.grading.rows import graded, malformed, to_attempt, verdict_fields
from openklear.types import Attempt, Verdict
from openklear.verifiers.custom import function
from openklear.verifiers.domains import DOMAINS
from openklear.verifiers.judge import Limits, LocalJudge
from openklear.verifiers.walls import LEVELS, Isolation

BATCH_CHARACTERS = 8 * 2**20
"""A batch ends at whichever comes first. What is in flight is what memory holds, and what a kill can cost."""
_IN_FLIGHT = 4
_DEFAULT = Limits()


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Settings:
    """What grading may use. Seconds are CPU seconds: of a question for mathematics, of a test for programs."""

    workers: int = field(default_factory=cores)
    math_seconds: float = _DEFAULT.math_seconds
    code_seconds: float = _DEFAULT.code_seconds
    memory_mb: int = _DEFAULT.code_memory_mb
    isolation: str = _DEFAULT.minimum_isolation
    """The weakest isolation that programs may run under (`openklear.verifiers.walls`)."""
    sandbox_url: str | None = None
    """A SandboxFusion server that runs the programs instead of boxes on this machine."""
    checkers: tuple[str, ...] = ()
    """Checkers of the user's own (`module:function`) that rows may name. They run in this process."""

    def __post_init__(self) -> None:
        """UsageError for numbers that are not above 0, and for an unknown isolation."""
        for name in ("workers", "math_seconds", "code_seconds", "memory_mb"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be above 0")
        if self.isolation not in LEVELS:
            raise UsageError(f"isolation {self.isolation!r} is unknown; weakest first: {', '.join(LEVELS)}")

    def limits(self) -> Limits:
        """The same for the judge."""
        return Limits(
            workers=self.workers,
            math_seconds=self.math_seconds,
            code_seconds=self.code_seconds,
            code_memory_mb=self.memory_mb,
            minimum_isolation=self.isolation,
            sandbox_url=self.sandbox_url,
        )


class Grader:
    """Grades single answers and programs; any thread may call. Use it in a `with`, or `close` it.

    Workers start with the first question. VerifierError where programs are asked for and the isolation that the
    settings demand is not to be had here.
    """

    def __init__(self, settings: Settings | None = None):
        """UsageError where a checker cannot be loaded."""
        self.settings = settings or Settings()
        for name in self.settings.checkers:
            function(name)
        self.judge = LocalJudge(self.settings.limits(), remember=False)

    def math(self, reference: str, completion: str, *, prompt_tail: str = "") -> Verdict:
        """Judge the answer that a completion ends with. `prompt_tail`: a prompt's end, which may open `<think>`."""
        row = {"reference": reference, "completion": completion, "prompt_tail": prompt_tail}
        return self._one(row, "math")

    def code(self, program: str, tests: Sequence[Any], *, checker: str | None = None) -> Verdict:
        """Judge a program, as it stands, by tests as in rows. DataError for tests or a checker that are none."""
        own = () if checker is None else (checker,)
        return self._one({"program": program, "tests": list(tests), "checker": checker}, "code", own)

    def isolation(self) -> Isolation | None:
        """What programs are kept from on this host, found by starting a worker; None where a server runs them."""
        return None if self.settings.sandbox_url else self.judge.isolation()

    def _one(self, row: Mapping[str, Any], kind: str, checkers: tuple[str, ...] = ()) -> Verdict:
        return self.judge.judge([to_attempt(row, kind, checkers)])[0]

    def close(self) -> None:
        """Ends all workers; again is harmless."""
        self.judge.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def grade_rows(
    rows: Iterable[Mapping[str, Any]], kind: str, settings: Settings | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the rows with their verdicts, in their order, while later ones are being graded.

    A row that asks nothing that could be judged comes back unscorable, its reason beginning with "malformed row".
    """
    with Grader(settings) as grader:
        works = (prepare(row, kind, grader.settings.checkers) for row in rows)
        for batch in graded_batches(grader, kind, works):
            for work, verdict in batch:
                yield graded(work.row, verdict_fields(verdict))


@dataclass(frozen=True, slots=True)
class Work:
    """A row and what it asks of the judge, or its verdict where that is known without one."""

    row: Mapping[str, Any]
    asked: Attempt | Verdict


def prepare(row: Mapping[str, Any], kind: str, checkers: tuple[str, ...] = ()) -> Work:
    """A row on its way to the judge; a malformed one has its verdict already."""
    try:
        return Work(row, to_attempt(row, kind, checkers))
    except DataError as error:
        return Work(row, malformed(error))


Graded = list[tuple[Work, Verdict]]


def graded_batches(
    grader: Grader, kind: str, works: Iterable[Work], on_progress: Callable[[int], None] | None = None
) -> Iterator[Graded]:
    """Verdicts of a stream, batch by batch in its order; some batches are in flight, so that no worker waits.

    Where the reader stops early, or is interrupted, the grader is closed: what still runs would keep its workers.
    """
    waiting: deque[_Begun] = deque()
    finished = False
    try:
        for batch in _batches(works, max(DOMAINS[kind].batch, 2 * grader.settings.workers)):
            waiting.append(_Begun(grader.judge, batch))
            if len(waiting) >= _IN_FLIGHT:
                yield waiting.popleft().finish(on_progress)
        while waiting:
            yield waiting.popleft().finish(on_progress)
        finished = True
    finally:
        if not finished:
            grader.close()


class _Begun:
    """A batch that the judge works on, after those that were begun before it."""

    def __init__(self, judge: LocalJudge, works: list[Work]):
        self._works, self._batch = works, judge.begin()
        for work in works:
            if isinstance(work.asked, Attempt):
                self._batch.add(work.asked)

    def finish(self, on_progress: Callable[[int], None] | None) -> Graded:
        """Waits for the verdicts."""
        verdicts = iter(self._batch.finish(on_progress))
        graded = [(work, work.asked if isinstance(work.asked, Verdict) else next(verdicts)) for work in self._works]
        if on_progress is not None:
            on_progress(sum(isinstance(work.asked, Verdict) for work in self._works))
        return graded


def _batches(works: Iterable[Work], rows: int) -> Iterator[list[Work]]:
    batch: list[Work] = []
    size = 0
    for work in works:
        batch.append(work)
        size += _characters(work)
        if len(batch) >= rows or size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _characters(work: Work) -> int:
    """Characters of the completion and its tests."""
    if isinstance(work.asked, Verdict):
        return 0
    tests = work.asked.problem.tests
    return len(work.asked.text) + sum(len(getattr(test, name)) for test in tests for name in test.__slots__)
