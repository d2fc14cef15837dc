"""Attempts in, verdicts out: format, then mathematics or programs, over worker processes of this machine.

Equal work is done once: verdicts are kept by what they depend on (the program and its tests, or the answer and its
reference, and the limits), in memory and, with a journal, on disk, so that a killed run replays what it had graded.
Unscorable verdicts are never kept: they are our failure, and the next call tries again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from openklear.types import Attempt, Outcome, StopReason, Verdict
from openklear.verifiers.code import CodeGrader
from openklear.verifiers.format import extract_answer, extract_program, split_reasoning
from openklear.verifiers.isolation import Isolation
from openklear.verifiers.journal import Journal
from openklear.verifiers.math import MathGrader

GRADER_VERSION = 1
"""Part of every key: raise it when a grader's answers change, so that old journals are not believed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What grading may use (the recipe's [verifiers])."""

    workers: int = 2
    math_seconds: float = 5.0
    code_seconds: float = 2.0
    code_memory_mb: int = 256
    minimum_isolation: str = "rlimits"


@dataclass(frozen=True, slots=True)
class _Work:
    """A completion after the format check: what is left to grade, and under which key its verdict is kept."""

    attempt: Attempt
    extracted: str
    well_formed: bool
    key: str


class LocalJudge:
    """Grades attempts in parallel on this machine. Use it as a context manager, or `close` it.

    Verdicts depend on the attempts and the limits alone; only `seconds` (0 where a verdict was known) does not.
    """

    def __init__(self, limits: Limits, *, journal: Path | None = None):
        """VerifierError at once where `minimum_isolation` asks for more than the weakest and it is not to be had."""
        self._limits = limits
        self._journal = Journal(journal)
        self._math = MathGrader(limits.workers, limits.math_seconds)
        self._code = CodeGrader(
            limits.workers, limits.code_seconds, limits.code_memory_mb, minimum_isolation=limits.minimum_isolation
        )
        self._threads = ThreadPoolExecutor(limits.workers, thread_name_prefix="judge")
        if limits.minimum_isolation != "rlimits":
            try:
                self.isolation()
            except BaseException:
                self.close()
                raise

    def isolation(self) -> Isolation:
        """What programs are kept from on this host, found by starting a worker."""
        return self._code.isolation()

    def judge(self, attempts: Sequence[Attempt], on_progress: Callable[[int], None] | None = None) -> list[Verdict]:
        """Verdicts in the order of the attempts. `on_progress` gets how many more are judged."""
        prepared = [self._prepare(attempt) for attempt in attempts]
        unknown = {work.key: work for work in prepared if isinstance(work, _Work) and work.key not in self._journal}
        found = self._grade_all(unknown, prepared, on_progress)
        self._journal.add({key: verdict for key, verdict in found.items() if verdict.outcome is not Outcome.UNSCORABLE})
        return [work if isinstance(work, Verdict) else self._finish(work, found) for work in prepared]

    def _prepare(self, attempt: Attempt) -> _Work | Verdict:
        """The verdict where it needs no grader, else the work."""
        problem = attempt.problem
        well_formed, answer = split_reasoning(attempt.text, attempt.prompt_tail)
        if attempt.stop_reason is StopReason.ERROR:
            return Verdict(Outcome.UNSCORABLE, "engine error", total=len(problem.tests), well_formed=well_formed)
        if (problem.answer is None) if problem.domain == "math" else not problem.tests:
            return Verdict(Outcome.UNSCORABLE, "no reference", well_formed=well_formed)
        extract = extract_answer if problem.domain == "math" else extract_program
        extracted = None if answer is None else extract(answer)
        total = 1 if problem.domain == "math" else len(problem.tests)
        if not extracted:
            reason = "no answer after the reasoning" if answer is None else "no answer found"
            return Verdict(Outcome.INCORRECT, reason, total=total, well_formed=well_formed)
        return _Work(attempt, extracted, well_formed, self._key(attempt, extracted))

    def _key(self, attempt: Attempt, extracted: str) -> str:
        """Hash of all that the verdict depends on."""
        limits, problem = self._limits, attempt.problem
        parts: list[object] = [GRADER_VERSION, problem.domain, extracted]
        if problem.domain == "math":
            parts += [problem.answer, limits.math_seconds]
        else:
            parts += [[[test.stdin, test.stdout] for test in problem.tests], limits.code_seconds, limits.code_memory_mb]
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()

    def _grade_all(
        self,
        unknown: dict[str, _Work],
        prepared: Sequence[_Work | Verdict],
        on_progress: Callable[[int], None] | None,
    ) -> dict[str, Verdict]:
        waiting: dict[str, int] = dict.fromkeys(unknown, 0)
        for work in prepared:
            if isinstance(work, _Work) and work.key in waiting:
                waiting[work.key] += 1
        if on_progress is not None:
            on_progress(len(prepared) - sum(waiting.values()))
        futures: dict[Future[Verdict], str] = {
            self._threads.submit(self._grade, work): key for key, work in unknown.items()
        }
        found: dict[str, Verdict] = {}
        try:
            for future in as_completed(futures):
                key = futures[future]
                found[key] = future.result()
                if on_progress is not None:
                    on_progress(waiting[key])
        finally:
            for future in futures:
                future.cancel()
        return found

    def _grade(self, work: _Work) -> Verdict:
        problem, start = work.attempt.problem, time.monotonic()
        if problem.domain == "math":
            assert problem.answer is not None
            equality = self._math.grade(problem.answer, work.extracted)
            passed = int(equality.outcome is Outcome.CORRECT)
            verdict = Verdict(equality.outcome, equality.reason, passed=passed, total=1)
        else:
            grade = self._code.grade(work.extracted, problem.tests)
            verdict = Verdict(grade.outcome, grade.reason, passed=grade.passed, total=grade.total)
        return replace(verdict, seconds=time.monotonic() - start)

    def _finish(self, work: _Work, found: dict[str, Verdict]) -> Verdict:
        verdict = found[work.key] if work.key in found else self._journal[work.key]
        return replace(verdict, extracted=work.extracted, well_formed=work.well_formed)

    def close(self) -> None:
        """Ends all workers; again is harmless."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._math.close()
        self._code.close()
        self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
