"""Programs against their tests: runs, calls, and code that asserts. Boxes run them; what they give is compared here.

House rule 5: what the program causes is incorrect. A worker lost over a program is tried once more in a fresh one; if
that is lost too and an innocent program still passes, the program is at fault, else it is unscorable.
"""

from __future__ import annotations

import re
import secrets
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, Literal

from openklear.types import AnyTest, AssertTest, CallTest, Outcome, Test, Verdict
from openklear.verifiers import checkers, sizes
from openklear.verifiers.asserts import BrokenTest, Calls, calls_of, holds, read_results, relay, translate
from openklear.verifiers.checkers import Checker
from openklear.verifiers.packages import versions
from openklear.verifiers.pool import Pool, WorkerLost
from openklear.verifiers.walls import DESCRIPTIONS, Boxes, Isolation, Level
from openklear.verifiers.workers import test_process
from openklear.verifiers.workers.watcher import MAX_STARVED

OVERHEAD_SECONDS = 10.0
"""Added to the sum of the tests' wall limits before a silent worker counts as lost."""
_SHOWN = 200
STOPPED = {
    "wall": "timeout",
    "cpu": "timeout",
    "output": "too much output",
    "processes": "too many processes",
    "memory": "too much memory",
}
"""Why the box ended a program."""

Kind = Literal["stdio", "calls", "talk", "broken"]
Finding = str | BrokenTest
"""Of one test: empty where it passed, why the program failed it, or why it cannot run."""


@dataclass(frozen=True, slots=True)
class _Task:
    """A test, and how it is run."""

    kind: Kind
    test: AnyTest
    calls: Calls | None = None
    broken: str = ""

    def sent(self, nonce: str) -> Any:
        """What goes into the program's box: never an expected output (house rule 7)."""
        return self.test.stdin if isinstance(self.test, Test) else self.calls and self.calls.plan(nonce)


class CodeGrader:
    """Grades programs over `workers` boxes. Any thread may call; `close` it."""

    def __init__(
        self,
        workers: int,
        seconds: float,
        memory_mb: int,
        minimum_isolation: str,
        level: Level | None = None,
        packages: Sequence[str] = (),
    ):
        """`level` forces one way of isolation; by default the strongest that this host allows is used.

        `packages` are those that programs may import beside the standard library; UsageError where one is missing.
        """
        self._seconds, self._packages = seconds, packages
        self._limits = {"cpu_seconds": seconds, "memory_bytes": memory_mb * 2**20}
        boxes = Boxes(minimum_isolation, memory_mb * 2**20, level, packages)
        self.pool = Pool(boxes.start, workers)
        self._testers = Pool(boxes.start, workers)

    def isolation(self) -> Isolation:
        """What programs are kept from here; starts a worker to know. VerifierError where it is less than demanded."""
        level: Level = self.pool.hello()["level"]
        allowed = f" They may import {', '.join(versions(self._packages))}." if self._packages else ""
        return Isolation(level, DESCRIPTIONS[level] + allowed)

    def grade(
        self, program: str, tests: Sequence[AnyTest], checker: str | None = None, stop_early: bool = False
    ) -> Verdict:
        """Runs the program on every test, in their order. VerifierError where programs cannot run here at all.

        `checker` (verifiers.checkers) compares outputs and results of calls. With `stop_early` a program that has
        failed a test is not run on the rest, and `passed` counts those before.
        """
        how, tasks = checkers.checker(checker), [_task(test) for test in tests]
        if not tasks:
            return Verdict(Outcome.UNSCORABLE, "no tests")
        if why := sizes.refusal(tests):
            return Verdict(Outcome.UNSCORABLE, why, total=len(tests))
        talks = any(task.kind == "talk" for task in tasks)
        return self.twice(lambda: summary(self._run(program, tasks, how, stop_early), len(tests)), len(tests), talks)

    def twice(self, run: Callable[[], Verdict], total: int, talks: bool = False) -> Verdict:
        """The verdict that `run` comes to, which may lose its worker once; one that says so where it is lost again."""
        for _ in range(2):
            with suppress(WorkerLost):
                return run()
        with suppress(WorkerLost):
            if not any(self._run(_PROBE, _PROBES if talks else _PROBES[:1], checkers.checker(None), False)):
                return Verdict(Outcome.INCORRECT, "lost its worker twice", total=total)
        return Verdict(Outcome.UNSCORABLE, "workers are lost over innocent programs too", total=total)

    def _run(self, program: str, tasks: Sequence[_Task], how: Checker, stop_early: bool) -> list[Finding]:
        """What is found for each test, in order; fewer than tests where it stopped early."""
        found: list[Finding] = []
        for kind, group in groupby(tasks, key=lambda task: task.kind):
            mine = list(group)
            if kind == "broken":
                found += [BrokenTest(task.broken) for task in mine]
            elif kind == "talk":
                for task in mine:
                    found.append(self._talk(program, task))
                    if stop_early and found[-1] != "":
                        break
            else:
                found += self._batches(program, kind, mine, how, stop_early)
            failed = next((index for index, one in enumerate(found) if one != ""), None)
            if stop_early and failed is not None:
                return found[: failed + 1]
        return found

    def _batches(
        self, program: str, kind: Kind, tasks: Sequence[_Task], how: Checker, stop_early: bool
    ) -> list[Finding]:
        """Tests of one kind in one session, a process each."""
        found: list[Finding] = []
        nonce, field = secrets.token_hex(16), "stdins" if kind == "stdio" else "calls"
        with self.pool.session() as box:
            written = sizes.output_bytes(task.test for task in tasks)
            header = {"kind": kind, "program": program, "output_bytes": written, **self._limits}
            box.send(header, OVERHEAD_SECONDS)
            for batch in _split(tasks, stop_early):
                patience = len(batch) * (2 * self._seconds + 1.0 + MAX_STARVED + 2.0) + OVERHEAD_SECONDS
                answer = box.request({field: [task.sent(nonce) for task in batch]}, patience)
                results = answer.get("results")
                if not isinstance(results, list) or not 0 < len(results) <= len(batch):
                    raise WorkerLost("an answer without results")
                found += [self._finding(*pair, how, nonce) for pair in zip(batch, results, strict=False)]
                if len(results) < len(batch) or (stop_early and any(found)):
                    break
            box.send({"end": True}, OVERHEAD_SECONDS)
        if found[-1] and not stop_early:  # it does not compile: it would fail the rest in the same way
            found += [found[-1]] * (len(tasks) - len(found))
        return found

    def _talk(self, program: str, task: _Task) -> Finding:
        """A test's code against the program, each in a box; both may wait for the other, so they get more wall time."""
        assert isinstance(task.test, AssertTest)
        wall = 4 * self._seconds + 2.0
        sides = (("candidate", program, wall), ("tester", task.test.code, 2 * wall))
        first, second = (
            {"kind": "talk", "role": role, "source": source, "wall_seconds": seconds, **self._limits}
            for role, source, seconds in sides
        )
        with self.pool.session() as box, self._testers.session() as other:
            found = relay((box, other), (first, second), 2 * wall + MAX_STARVED + OVERHEAD_SECONDS, self._failure)
        return found if isinstance(found, BrokenTest) else stable(found)

    def _finding(self, task: _Task, result: dict[str, Any], how: Checker, nonce: str) -> Finding:
        """What a process's end, and what it left, say of a test."""
        if failure := self._failure(result):
            return failure
        if isinstance(task.test, Test):
            test = task.test
            return compared(how, partial(how.text, test.stdin, test.stdout), test.stdout, result["stdout"], "output")
        calls = task.calls
        assert calls is not None
        found = read_results(result["value"], nonce, len(calls.checks), calls.nodes)
        if found is None:
            return "ended without an answer"
        if isinstance(task.test, AssertTest):
            return "" if all(map(holds, calls.checks, found)) else "assertion failed"
        if len(found[0]) > 1:
            return f"returned a value {found[0][0]}"[:_SHOWN]
        expected = calls.checks[0].expected
        actual = found[0][0] if found[0] else (None if expected is None else [])  # no node is null or [], as one likes
        return compared(how, partial(how.value, task.test.args, expected), expected, actual, "result")

    def _failure(self, result: dict[str, Any]) -> str:
        """Why the program failed a test before its output is looked at; empty where it ended well."""
        code: int = result["code"]
        if result["ended"] in STOPPED:
            return STOPPED[result["ended"]]
        if result["cpu"] > self._seconds or -code == signal.SIGXCPU:
            return "timeout"
        if code < 0:
            return f"killed by {signal_name(-code)}"
        error = stable(result["error"])
        if code == test_process.COMPILE_ERROR:
            return error or "does not compile"
        if code != 0:
            return error or f"exit status {code}"
        return ""

    def close(self) -> None:
        """Ends all workers."""
        self.pool.close()
        self._testers.close()


def _task(test: AnyTest) -> _Task:
    try:
        if isinstance(test, Test):
            return _Task("stdio", test)
        calls = calls_of(test) if isinstance(test, CallTest) else translate(test.code)
        return _Task("talk" if calls is None else "calls", test, calls)
    except BrokenTest as error:
        return _Task("broken", test, broken=str(error))


_PROBE = "print(int(input() or 0) + 1)\ndef f(x): return x + 1"
_PROBES = (_task(Test("1\n", "2\n")), _task(AssertTest("for n in range(2): assert f(n) == n + 1")))


def _split(tasks: Sequence[_Task], stop_early: bool) -> Iterator[Sequence[_Task]]:
    """All at once, as far as they are not too big; or one, one, two, four, ... where the first failure is the end."""
    start, size = 0, 1 if stop_early else len(tasks)
    while start < len(tasks):
        size = sizes.together([task.test for task in tasks[start : start + size]])
        yield tasks[start : start + size]
        start += size
        size = start if stop_early else len(tasks)


def compared(how: Checker, compare: Callable[[Any], bool], expected: object, actual: object, what: str) -> Finding:
    """Empty where `compare` takes the actual for the expected. A checker that raises is tried on the expected."""
    try:
        return "" if compare(actual) else f"wrong {what}"
    except Exception as error:  # a custom checker is the user's function and may raise anything; built-in ones do not
        if not how.custom:
            raise
        why = f"checker {how.name}: {type(error).__name__}: {error}"[:_SHOWN]
    try:
        innocent = compare(expected)
    except Exception:  # as above: it cannot even read what is right
        innocent = False
    return why if innocent else BrokenTest(why)


def summary(found: Sequence[Finding], total: int) -> Verdict:
    """The verdict on a program from what was found for its tests, of which the last may not have been run."""
    passed = sum(one == "" for one in found)
    failures = [(number, one) for number, one in enumerate(found, start=1) if one != ""]
    wrong = [(number, one) for number, one in failures if isinstance(one, str)]
    if wrong:
        return Verdict(Outcome.INCORRECT, f"test {wrong[0][0]} of {total}: {wrong[0][1]}", None, passed, total)
    if failures:
        why = f"test {failures[0][0]} of {total} cannot run: {failures[0][1]}"
        return Verdict(Outcome.UNSCORABLE, why[:_SHOWN], None, passed, total)
    return Verdict(Outcome.CORRECT, "", None, passed, total)


def signal_name(number: int) -> str:
    """SIGSEGV for 11."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def stable(error: str) -> str:
    """An error line without addresses, which differ from run to run, and not too long."""
    return re.sub(r"0x[0-9a-fA-F]+", "0x...", error)[:200]
