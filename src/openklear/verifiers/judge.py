"""Attempts in, verdicts out: format, then mathematics or programs, over worker processes of this machine.

Equal work is done once: verdicts are kept by what they depend on (the program and its tests, or the answer and its
reference, and the limits), in memory and, with a journal, on disk, so that a killed run replays what it had graded.
Unscorable verdicts are never kept: they are our failure, and the next call tries again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from openklear.errors import VerifierError
from openklear.types import Attempt, Outcome, Verdict
from openklear.verifiers.custom import CustomGrader
from openklear.verifiers.domains import DOMAINS, ProgramVerifier, Verifier
from openklear.verifiers.journal import Journal
from openklear.verifiers.limits import Limits
from openklear.verifiers.tasks import GRADER_VERSION, Question, Questions, Work
from openklear.verifiers.walls import Isolation

__all__ = ["GRADER_VERSION", "Batch", "Limits", "LocalJudge"]

CUSTOM_PATIENCE = 6.0
"""Wall seconds a custom verifier has for each second that the recipe gives an equivalence, or a test of a program."""


class LocalJudge:
    """Grades attempts in parallel on this machine; any thread may call. Use it as a context manager, or `close` it.

    Verdicts depend on the attempts and the limits alone; only `seconds` (0 where a verdict was known) does not.
    """

    def __init__(self, limits: Limits, *, journal: Path | None = None, remember: bool = True):
        """`remember` keeps verdicts from one call of `judge` to the next; without it memory does not grow.

        UsageError where a custom verifier cannot be loaded. Boxes start with the first program: `isolation` says
        before it whether they can.
        """
        self._custom = {domain: CustomGrader(name, limits.workers) for domain, name in limits.custom.items()}
        self._remember = remember
        self._limits = limits
        self._journal = Journal(journal)
        self.verifiers: dict[str, Verifier] = {name: domain.verifier(limits) for name, domain in DOMAINS.items()}
        self._unfinished: set[Future[Verdict]] = set()
        self._threads = {  # apart, so that answers do not wait behind programs that loop
            name: ThreadPoolExecutor(limits.workers, thread_name_prefix=f"judge-{name}") for name in DOMAINS
        }

    def isolation(self) -> Isolation:
        """What programs are kept from on this host, found by starting a worker. VerifierError where none run here."""
        for name, verifier in self.verifiers.items():
            if isinstance(verifier, ProgramVerifier) and name not in self._custom:
                return verifier.isolation()
        raise VerifierError("programs do not run in boxes of this machine, so their isolation is not known here")

    def judge(
        self,
        attempts: Sequence[Attempt],
        on_progress: Callable[[int], None] | None = None,
        *,
        stop_early: bool = False,
    ) -> list[Verdict]:
        """Verdicts in the order of the attempts. `on_progress` gets how many more are judged.

        `stop_early`: no test of a program runs after the first that fails, so `passed` counts those before it only.
        """
        with self.begin(stop_early=stop_early) as batch:
            for attempt in attempts:
                batch.add(attempt)
            return batch.finish(on_progress)

    def begin(self, *, stop_early: bool = False) -> Batch:
        """A batch of attempts that are graded from the moment they are added."""
        versions = {domain: grader.version for domain, grader in self._custom.items()}
        return Batch(self, Questions(self._limits, versions, stop_early=stop_early), stop_early)

    def known(self, key: str) -> Verdict | None:
        """A verdict from an earlier batch, or from a run that was killed."""
        return self._journal.get(key)

    def keep(self, found: dict[str, Verdict]) -> None:
        """Keeps a batch's verdicts, but for unscorable ones."""
        if self._remember:
            self._journal.add({key: v for key, v in found.items() if v.outcome is not Outcome.UNSCORABLE})

    def start(self, work: Work, stop_early: bool) -> Future[Verdict]:
        """Grades on a thread of the judge."""
        future = self._threads[work.question.problem.domain].submit(self._grade, work, stop_early)
        self._unfinished.add(future)
        future.add_done_callback(self._unfinished.discard)
        return future

    def _grade(self, work: Work, stop_early: bool) -> Verdict:
        start = time.monotonic()
        verdict = self._verdict(work.question, work.graded, stop_early)
        return replace(verdict, seconds=time.monotonic() - start)

    def _verdict(self, question: Question, graded: str, stop_early: bool) -> Verdict:
        problem = question.problem
        if question.plain is not None:
            return self._custom[problem.domain].grade(question.plain, graded, self._patience(question))
        return self.verifiers[problem.domain].grade(problem, graded, stop_early=stop_early)

    def _patience(self, question: Question) -> float:
        """Wall seconds for a custom verifier."""
        return CUSTOM_PATIENCE * question.domain.seconds(self._limits) * max(1, question.total)

    def close(self) -> None:
        """Ends all workers; again is harmless. Who waits for a verdict that will not come gets a CancelledError."""
        unfinished = tuple(self._unfinished)
        for threads in self._threads.values():
            threads.shutdown(wait=False, cancel_futures=True)
        for future in unfinished:
            if future.cancelled():  # shutdown cancels what waits in its queue, but does not tell as_completed
                with suppress(RuntimeError):  # told already
                    future.set_running_or_notify_cancel()
        for verifier in self.verifiers.values():
            verifier.close()
        for grader in self._custom.values():
            grader.close()
        self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Batch:
    """Attempts of one caller, graded while more are added. Verdicts do not depend on when that happens.

    Use it as a context manager: what is not graded at its end is given up. Not for two threads at once.
    """

    def __init__(self, judge: LocalJudge, questions: Questions, stop_early: bool):
        self._judge, self._questions, self._stop_early = judge, questions, stop_early
        self._added: list[Work | Verdict] = []
        self._known: dict[str, Verdict] = {}
        self._running: dict[str, Future[Verdict]] = {}
        self._failure: BaseException | None = None

    def add(self, attempt: Attempt) -> None:
        """Starts to grade; equal work only once. Raises what grading an earlier attempt raised."""
        self.check()
        work = self._questions.work(attempt)
        self._added.append(work)
        if isinstance(work, Verdict) or work.key in self._known or work.key in self._running:
            return
        known = self._judge.known(work.key)
        if known is not None:
            self._known[work.key] = known
            return
        future = self._judge.start(work, self._stop_early)
        self._running[work.key] = future
        future.add_done_callback(self._note)

    def check(self) -> None:
        """Raises what grading raised, so that nobody samples on for verdicts that will never come."""
        if self._failure is not None:
            raise self._failure

    def finish(self, on_progress: Callable[[int], None] | None = None) -> list[Verdict]:
        """Waits for all. Verdicts in the order of `add`; `on_progress` gets how many more are judged."""
        waiting: dict[str, int] = dict.fromkeys(self._running, 0)
        for work in self._added:
            if isinstance(work, Work) and work.key in waiting:
                waiting[work.key] += 1
        if on_progress is not None:
            on_progress(len(self._added) - sum(waiting.values()))
        keys = {future: key for key, future in self._running.items()}
        found: dict[str, Verdict] = {}
        for future in as_completed(keys):
            found[keys[future]] = future.result()
            if on_progress is not None:
                on_progress(waiting[keys[future]])
        self._judge.keep(found)
        self._known |= found
        return [work if isinstance(work, Verdict) else self._told(work) for work in self._added]

    def _told(self, work: Work) -> Verdict:
        verdict = self._known[work.key]
        return replace(verdict, extracted=work.extracted or verdict.extracted, format_fault=work.fault)

    def _note(self, future: Future[Verdict]) -> None:
        if not future.cancelled() and (error := future.exception()) is not None:
            self._failure = error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for future in self._running.values():
            future.cancel()
