"""Attempts in, verdicts out: format, then mathematics or programs, over worker processes of this machine.

Equal work is done once: with a journal verdicts are kept by what they depend on (the program and its tests, or the
answer and its reference, and the limits), so that a killed run replays what it had judged. Unscorable verdicts are
never kept: they are our failure, and the next call tries again.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from openklear.durable.files import read_whole_jsonl
from openklear.durable.journal import KeyedJournal
from openklear.errors import OpenKlearError
from openklear.types import Attempt, Outcome, Problem, Verdict
from openklear.verifiers.custom import CustomGrader
from openklear.verifiers.domains import DOMAINS, RunsPrograms, Verifier, require_graders
from openklear.verifiers.limits import Limits
from openklear.verifiers.official import VERSION
from openklear.verifiers.tasks import GRADER_VERSION, Question, Work, ask, work_of
from openklear.verifiers.unscorable import TRIED, reference_attempt, refuse_trial
from openklear.verifiers.walls import Isolation

__all__ = ["GRADER_VERSION", "AttemptBatch", "Judge", "Limits", "open_judge"]

CUSTOM_PATIENCE = 6.0
"""Wall seconds a custom verifier has for each second that the recipe gives an equivalence, or a test of a program."""


def open_judge(
    limits: Limits,
    domains: Collection[str],
    say: Callable[[str], None],
    *,
    journal: Path | None = None,
    others: Sequence[Path] = (),
    verifiers: Mapping[str, Verifier] | None = None,
) -> Judge:
    """A judge for attempts of `domains`; it says at once which graders it uses and which walls hold for programs.

    Close it, or use it in a `with`. VerifierError where programs would run with less isolation than is demanded.
    """
    judge = Judge(limits, journal=journal, others=others, verifiers=verifiers)
    try:
        judge.announce(domains, say)
    except BaseException:
        judge.close()
        raise
    return judge


class Judge:
    """Judges attempts in parallel on this machine; any thread may call. Use it as a context manager, or `close` it.

    Verdicts depend on the attempts and the limits alone; only `seconds` (0 where a verdict was known) does not.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        journal: Path | None = None,
        others: Sequence[Path] = (),
        verifiers: Mapping[str, Verifier] | None = None,
    ):
        """`journal` keeps verdicts from one call to the next, and after a kill; those that it holds are believed, and
        so are those of the journals `others`, which are only read. `verifiers`: in place of each domain's own, which
        work on this machine.

        UsageError where a custom verifier cannot be loaded. Boxes start with the first program: `isolation` says
        before it whether they can.
        """
        require_graders(limits.graders)
        self.limits = limits
        self._custom = {domain: CustomGrader(name, limits.workers) for domain, name in limits.custom.items()}
        self.versions = {domain: grader.version for domain, grader in self._custom.items()}
        self._journal = None if journal is None else KeyedJournal(journal, _key_of)
        self._others = _verdicts_of(others)
        own = verifiers or {name: domain.verifier(limits) for name, domain in DOMAINS.items()}
        self.verifiers: dict[str, Verifier] = dict(own)
        self._tried: set[str] = set()
        self._unfinished: set[Future[Verdict]] = set()
        self._threads = {  # apart, so that answers do not wait behind programs that loop
            name: ThreadPoolExecutor(limits.workers, thread_name_prefix=f"judge-{name}") for name in DOMAINS
        }

    def isolation(self) -> Isolation | None:
        """What programs are kept from on this host, found by starting a worker; None where none run here.

        VerifierError where that is less than the limits demand.
        """
        for name, verifier in self.verifiers.items():
            if isinstance(verifier, RunsPrograms) and DOMAINS[name].runs_programs and name not in self._custom:
                return verifier.isolation()
        return None

    def announce(self, domains: Collection[str], say: Callable[[str], None]) -> None:
        """Says which graders judge these domains, and which walls hold for programs.

        VerifierError where programs would run with less isolation than is demanded.
        """
        for name, grader in self._custom.items():
            if name in domains:
                say(f"{name} is graded by {grader.name}, in worker processes without walls")
        if not any(DOMAINS[name].runs_programs and name not in self._custom for name in domains):
            return
        if self.limits.harness == "official":
            say(f"programs are run and compared as by {VERSION}'s own harness")
        if (isolation := self.isolation()) is not None:
            say(f"programs run under {isolation.level!r}: {isolation.description}")
        else:
            say(f"programs run on the server {self.limits.sandbox_url}")

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

    def begin(self, *, stop_early: bool = False) -> AttemptBatch:
        """A batch of attempts that are judged from the moment they are added."""
        return AttemptBatch(self, stop_early)

    def trial(self, problems: Sequence[Problem]) -> None:
        """Asks graders that are not ours, once, about the references of a few problems: no hours of sampling for none.

        VerifierError, with the first reason, where such a grader can score none of them.
        """
        for name, domain in DOMAINS.items():
            own = name in self._custom or domain.file is not None
            if name in self._tried or not (own or (domain.runs_programs and self.limits.sandbox_url)):
                continue
            some = [problem for problem in problems if problem.domain == name][:TRIED]
            if some:
                self._tried.add(name)
                grader = self.limits.graders.get(name, f"the verifier of {name}")
                refuse_trial(grader, some, self.judge(list(map(reference_attempt, some)), stop_early=True))

    def undecidable(self, problems: Sequence[Problem]) -> list[tuple[str, str] | None]:
        """Why the reference of each problem cannot tell right attempts from wrong ones, and what shows it; None where
        it can, and where a verifier from outside grades the domain: what that can compare, only it knows."""
        asked = [self._threads[problem.domain].submit(self._undecidable, problem) for problem in problems]
        return [future.result() for future in asked]

    def _undecidable(self, problem: Problem) -> tuple[str, str] | None:
        probe = DOMAINS[problem.domain].undecidable
        if probe is None or problem.domain in self._custom:
            return None
        return probe(self.verifiers[problem.domain], problem)

    def known(self, key: str) -> Verdict | None:
        """A verdict from an earlier batch, or from a run that was killed; what was unscorable then is tried again."""
        row = None if self._journal is None else self._journal.get(key)
        verdict = self._others.get(key) if row is None else _verdict_of(row)
        return None if verdict is None or verdict.outcome is Outcome.UNSCORABLE else verdict

    def keep(self, found: dict[str, Verdict]) -> None:
        """Keeps a batch's verdicts, but for unscorable ones, in the order of their keys."""
        kept = [(key, verdict) for key, verdict in sorted(found.items()) if verdict.outcome is not Outcome.UNSCORABLE]
        if self._journal is not None and kept:
            self._journal.add([_row_of(key, verdict) for key, verdict in kept])

    def start(self, work: Work, stop_early: bool) -> Future[Verdict]:
        """Grades on a thread of the judge."""
        future = self._threads[work.question.problem.domain].submit(self._grade, work, stop_early)
        self._unfinished.add(future)
        future.add_done_callback(self._unfinished.discard)
        return future

    def _grade(self, work: Work, stop_early: bool) -> Verdict:
        start = time.monotonic()
        question, problem = work.question, work.question.problem
        if question.plain is not None:
            patience = CUSTOM_PATIENCE * question.domain.seconds(self.limits) * max(1, question.total)
            verdict = self._custom[problem.domain].grade(question.plain, work.graded, patience)
        elif question.domain.file is not None:
            verdict = _asked_twice(self.verifiers[problem.domain], question, work.graded, stop_early)
        else:
            verdict = self.verifiers[problem.domain].grade(problem, work.graded, stop_early=stop_early)
        return replace(verdict, seconds=time.monotonic() - start)

    def close(self) -> None:
        """Ends all workers; again is harmless. Whoever still waits for a verdict gets a CancelledError."""
        unfinished = tuple(self._unfinished)
        for threads in self._threads.values():
            threads.shutdown(wait=False, cancel_futures=True)
        for future in unfinished:
            if future.cancelled():  # shutdown cancels what waits in its queue, but does not tell as_completed
                with suppress(RuntimeError):  # it has been told already
                    future.set_running_or_notify_cancel()
        for verifier in self.verifiers.values():
            verifier.close()
        for grader in self._custom.values():
            grader.close()
        if self._journal is not None:
            self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class AttemptBatch:
    """Attempts of one caller, judged while more are added. Verdicts do not depend on when that happens.

    Use it as a context manager: what is not judged at its end is given up. Not for two threads at once.
    """

    def __init__(self, judge: Judge, stop_early: bool):
        self._judge, self._stop_early = judge, stop_early
        self._questions: dict[tuple[int, str], Question] = {}
        self._added: list[Work | Verdict] = []
        self._known: dict[str, Verdict] = {}
        self._running: dict[str, Future[Verdict]] = {}
        self._failure: BaseException | None = None
        self._judged: deque[str] = deque()
        self._places: dict[str, list[int]] = {}
        self._told: list[int] = []
        self.unscorable: list[Verdict] = []
        """What verifiers failed at so far, equal work once."""

    def add(self, attempt: Attempt | Verdict) -> None:
        """Starts to judge; equal work only once. A verdict stands for itself.

        Raises what judging an earlier attempt raised.
        """
        self.check()
        work = attempt if isinstance(attempt, Verdict) else work_of(attempt, self._question(attempt))
        place = len(self._added)
        self._added.append(work)
        if isinstance(work, Verdict) or self._is_known(work.key):
            self._told.append(place)
            return
        self._places.setdefault(work.key, []).append(place)
        if work.key not in self._running:
            future = self._judge.start(work, self._stop_early)
            self._running[work.key] = future
            future.add_done_callback(partial(self._note, work.key))

    def _is_known(self, key: str) -> bool:
        if key not in self._known and (known := self._judge.known(key)) is not None:
            self._known[key] = known
        return key in self._known

    def ready(self) -> list[tuple[int, Verdict]]:
        """(place in the order of `add`, verdict) of what was judged since the last call; they are kept by then.

        Raises what judging raised.
        """
        self.check()
        found: dict[str, Verdict] = {}
        while self._judged:
            key = self._judged.popleft()
            found[key] = self._running.pop(key).result()
            self._told += self._places.pop(key)
        self._judge.keep(found)
        self._known |= found
        places, self._told = self._told, []
        return [(place, self._at(place)) for place in places]

    def _at(self, place: int) -> Verdict:
        work = self._added[place]
        return work if isinstance(work, Verdict) else self._verdict_for(work)

    def _question(self, attempt: Attempt) -> Question:
        # A problem is recognised by its id(), which no other object can have while the question holds it.
        name = id(attempt.problem), attempt.prompt_tail
        if name not in self._questions:
            limits, versions = self._judge.limits, self._judge.versions
            self._questions[name] = ask(attempt.problem, attempt.prompt_tail, limits, versions, self._stop_early)
        return self._questions[name]

    def check(self) -> None:
        """Raises what judging raised, so that nobody keeps sampling for verdicts that will never come."""
        if self._failure is not None:
            raise self._failure

    @property
    def done(self) -> bool:
        """Whether `finish` would not have to wait."""
        return all(future.done() for future in self._running.values())

    def wait(self, seconds: float) -> int:
        """Until something more is judged, or for so many seconds. 0: `ready` says what it is."""
        wait(self._running.values(), seconds, FIRST_COMPLETED)
        if not self._judged:
            time.sleep(0.001)  # a future is done a moment before its callback has run
        return 0

    def finish(self, on_progress: Callable[[int], None] | None = None) -> list[Verdict]:
        """Waits for all. Verdicts in the order of `add`; `on_progress` gets how many more are judged."""
        waiting = Counter(work.key for work in self._added if isinstance(work, Work) and work.key in self._running)
        if on_progress is not None:
            on_progress(len(self._added) - waiting.total())
        keys = {future: key for key, future in self._running.items()}
        found: dict[str, Verdict] = {}
        for future in as_completed(keys):
            found[keys[future]] = future.result()
            if on_progress is not None:
                on_progress(waiting[keys[future]])
        self._judge.keep(found)
        self._known |= found
        return [self._at(place) for place in range(len(self._added))]

    def _verdict_for(self, work: Work) -> Verdict:
        verdict = self._known[work.key]
        extracted = work.graded if work.question.plain is None else verdict.extracted
        return replace(verdict, extracted=extracted, format_fault=work.fault)

    def _note(self, key: str, future: Future[Verdict]) -> None:
        """On a thread of the judge, where one works on it; what it changes, one operation changes."""
        if future.cancelled():
            return
        if (error := future.exception()) is not None:
            self._failure = error
            return
        if future.result().outcome is Outcome.UNSCORABLE:
            self.unscorable.append(future.result())
        self._judged.append(key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for future in self._running.values():
            future.cancel()


def _asked_twice(verifier: Verifier, question: Question, graded: str, stop_early: bool) -> Verdict:
    """The verdict of a verifier from outside, which may raise or return anything (house rule 5)."""
    trouble = ""
    for _ in range(2):
        try:
            found: object = verifier.grade(question.problem, graded, stop_early=stop_early)
        except OpenKlearError:  # meant for the user: the run cannot go on
            raise
        except Exception as error:  # the verifier is the user's and may raise anything; the reason is kept
            trouble = f"it raised {type(error).__name__}: {error}"[:500]
            continue
        if isinstance(found, Verdict):
            return found
        trouble = f"a result of type {type(found).__name__}; return a Verdict"
    name = f"the verifier of {question.domain.name}"
    return Verdict(Outcome.UNSCORABLE, f"{name}, asked twice: {trouble}", total=question.total)


def _row_of(key: str, verdict: Verdict) -> dict[str, Any]:
    """A verdict as the journal holds it, without `format_fault` and `seconds`, which are not the work's."""
    row: dict[str, Any] = {"key": key, "outcome": verdict.outcome.value, "reason": verdict.reason}
    row |= {"passed": verdict.passed, "total": verdict.total}
    return row if verdict.extracted is None else row | {"extracted": verdict.extracted}


def _verdict_of(row: Mapping[str, Any]) -> Verdict:
    return Verdict(
        Outcome(row["outcome"]), str(row["reason"]), row.get("extracted"), int(row["passed"]), int(row["total"])
    )


def _verdicts_of(journals: Sequence[Path]) -> dict[str, Verdict]:
    """What journals hold by key; a row that is no verdict, or that its writer has not finished, is judged again."""
    found: dict[str, Verdict] = {}
    for path in journals:
        for row in read_whole_jsonl(path):
            with suppress(ValueError, KeyError, TypeError):
                found[_key_of(row)] = _verdict_of(row)
    return found


def _key_of(row: Mapping[str, Any]) -> str:
    """The key of a row that is a verdict; ValueError, KeyError or TypeError where it is none."""
    _verdict_of(row)
    return str(row["key"])
