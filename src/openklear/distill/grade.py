"""Responses graded while others are sampled. Verdicts are kept beside the responses, by what they depend on."""

from __future__ import annotations

import hashlib
import json
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import astuple
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from openklear import progress
from openklear.distill.ledger import Ledger, Task
from openklear.distill.problems import Key
from openklear.durable.lines import Lines
from openklear.grading.grader import Settings as Grading
from openklear.types import Attempt, Outcome, Problem, StopReason, Verdict
from openklear.verifiers.domains import DOMAINS
from openklear.verifiers.judge import GRADER_VERSION, LocalJudge

MOST_WAITING = 512
"""Responses that wait for a grader in memory; further ones are graded from the disk at the end."""
_STOPS = {"length": StopReason.LENGTH}


class Graders:
    """Judges responses on threads of its own. Use it in a `with`.

    Verdicts go to verdicts.jsonl as they come. One is believed again as long as the problem's reference, the limits
    and the grader are those it was made with; an unscorable one never is, as it was our failure.
    """

    def __init__(self, path: Path, settings: Grading, problems: list[Problem]):
        """VerifierError where the problems ask for programs to be run and this host cannot as demanded."""
        self._settings = settings
        self._questions: dict[tuple[str, str], str] = {}
        self._digests = {(p.id, p.content_hash): self._digest(p) for p in problems}
        self._valid: set[Key] = set()
        self._waiting: dict[Key, Future[None]] = {}
        self._lock = threading.Lock()
        self._failure: BaseException | None = None
        self._ended = 0
        self.graded = self.correct = 0
        self.lines: Lines[Key] = Lines(path, _key, self._seen)
        self._judge = LocalJudge(settings.limits(), remember=False)
        # As many as the judge has itself, so that no call of it ever waits for a place.
        self._threads = {
            domain: ThreadPoolExecutor(settings.workers, thread_name_prefix=f"distill-{domain}") for domain in DOMAINS
        }
        try:
            self._say_walls({problem.domain for problem in problems})
        except BaseException:
            self.close()
            raise

    def add(self, task: Task, row: dict[str, Any]) -> None:
        """Grade a response that has just come. Raises what grading an earlier one raised."""
        self.check()
        if len(self._waiting) < MOST_WAITING:
            self._start(task, row)

    def check(self) -> None:
        """Raise what grading raised, so that nobody samples on for verdicts that will never come."""
        if self._failure is not None:
            raise self._failure

    def finish(self, problems: list[Problem], ledger: Ledger) -> None:
        """Grade what earlier runs and full queues left, and wait for all."""
        by_name = {(p.id, p.content_hash): p for p in problems}
        with self._lock:
            shown = self._ended
            left = [key for key in ledger.lines if key not in self._valid and key not in ledger.failed]
        left = [key for key in left if (key.id, key.content_hash) in by_name]
        if not left:
            return
        with progress.task("grading", len(left), "responses") as advance:
            for key in left:
                self._wait_until_fewer_than(MOST_WAITING)
                if key not in self._waiting and key not in self._valid:
                    row = ledger.lines.get(key)
                    assert row is not None, "a key of the ledger has a row"
                    self._start(Task(by_name[key.id, key.content_hash], key.sample), row)
                shown = self._show(advance, shown)
            for fewer in range(len(self._waiting), 0, -1):
                self._wait_until_fewer_than(fewer)
                shown = self._show(advance, shown)
            self.check()

    def _show(self, advance: progress.Advance, shown: int) -> int:
        ended = self._ended
        advance(ended - shown, **self.figures())
        return ended

    def verdict(self, key: Key) -> dict[str, Any] | None:
        """The row of a verdict that holds now; None where there is none."""
        return self.lines.get(key) if key in self._valid else None

    def figures(self) -> dict[str, float | str]:
        """For the screen."""
        return {"correct": f"{self.correct / self.graded:.1%}"} if self.graded else {}

    def _start(self, task: Task, row: dict[str, Any]) -> None:
        stop = _STOPS.get(row["finish_reason"] or "", StopReason.STOP)
        attempt = Attempt(task.problem, row["response"], stop_reason=stop)
        threads = self._threads[task.problem.domain]
        with self._lock:  # held, so that the thread cannot be through before it is noted down
            self._waiting[task.key] = threads.submit(self._grade, task.key, attempt)

    def _grade(self, key: Key, attempt: Attempt) -> None:
        try:
            verdict = self._judge.judge([attempt])[0]
            self.lines.add(self._row(key, verdict))
            with self._lock:
                self._valid.add(key)
                self._tally(verdict.outcome)
        except BaseException as error:  # the thread that samples must hear of it, whatever it is
            self._failure = error
        finally:
            with self._lock:
                self._waiting.pop(key, None)
                self._ended += 1

    def _row(self, key: Key, verdict: Verdict) -> dict[str, Any]:
        return {
            **key._asdict(),
            "question": self._digests[key.id, key.content_hash],
            "outcome": verdict.outcome.value,
            "reason": verdict.reason,
            "extracted": verdict.extracted,
            "passed": verdict.passed,
            "total": verdict.total,
            "format_fault": verdict.format_fault.value,
        }

    def _seen(self, key: Key, row: dict[str, Any]) -> None:
        """A verdict of an earlier run."""
        outcome = Outcome(row["outcome"])
        if row["question"] == self._digests.get((key.id, key.content_hash)) and outcome is not Outcome.UNSCORABLE:
            self._valid.add(key)
            self._tally(outcome)

    def _tally(self, outcome: Outcome) -> None:
        self.graded += outcome is not Outcome.UNSCORABLE
        self.correct += outcome is Outcome.CORRECT

    def _digest(self, problem: Problem) -> str:
        """Hash of all that a verdict depends on besides the response."""
        limits = self._settings
        parts: list[Any] = [GRADER_VERSION, metadata.version("math-verify"), problem.domain, problem.answer]
        parts += [problem.checker, limits.math_seconds, limits.code_seconds, limits.memory_mb, limits.sandbox_url]
        parts += [[type(test).__name__, *astuple(test)] for test in problem.tests]
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()

    def _say_walls(self, domains: set[str]) -> None:
        if not any(DOMAINS[name].runs_programs for name in domains):
            return
        if self._settings.sandbox_url is not None:
            progress.say(f"programs run on the server {self._settings.sandbox_url}")
            return
        isolation = self._judge.isolation()
        progress.say(f"programs run under {isolation.level!r}: {isolation.description}")

    def _wait_until_fewer_than(self, count: int) -> None:
        while True:
            with self._lock:
                if len(self._waiting) < count:
                    break
                oldest = next(iter(self._waiting.values()))
            oldest.result()
        self.check()

    def close(self) -> None:
        """Gives up what is not graded; again is harmless."""
        for threads in self._threads.values():
            threads.shutdown(wait=False, cancel_futures=True)
        self._judge.close()
        for threads in self._threads.values():
            threads.shutdown(wait=True)
        self.lines.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _key(row: dict[str, Any]) -> Key:
    return Key(str(row["id"]), str(row["content_hash"]), int(row["sample"]))
