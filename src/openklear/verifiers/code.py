"""Programs against stdin/stdout tests. The box runs them; the outputs are compared here, outside of it.

House rule 5: what the program causes is incorrect. A worker lost over a program is tried once more in a fresh one; if
that is lost too and an innocent program still passes, the program is at fault, else it is unscorable.
"""

from __future__ import annotations

import re
import shutil
import signal
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from openklear.errors import VerifierError
from openklear.types import Outcome, Test
from openklear.verifiers.isolation import UNSHARE, Isolation, Level, demand, describe
from openklear.verifiers.pool import Pool, Worker, WorkerLost, worker_command
from openklear.verifiers.workers import child
from openklear.verifiers.workers.box import MAX_STARVED

ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONUTF8": "1",
    "PYTHONHASHSEED": "0",  # sets of strings iterate alike in every run: verdicts are deterministic
}
_OPTIONS = ("-s", "-S")
"""With -P these isolate the interpreter like -I, which would also ignore PYTHONHASHSEED."""
_OVERHEAD_SECONDS = 10.0
"""Added to the sum of the tests' wall limits before a silent worker counts as lost."""
_PROBE = ("print(int(input()) + 1)", (Test("1\n", "2\n"),))


@dataclass(frozen=True, slots=True)
class Grade:
    """What the tests say of a program."""

    outcome: Outcome
    reason: str
    passed: int
    total: int


def same_output(expected: str, actual: str) -> bool:
    """Equal but for white space at the ends of lines and empty lines at the end."""
    return _lines(expected) == _lines(actual)


def _lines(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


class CodeGrader:
    """Grades programs over `workers` boxes. Any thread may call; `close` it."""

    def __init__(self, workers: int, seconds: float, memory_mb: int, minimum_isolation: str):
        self._seconds, self._memory_bytes, self._minimum = seconds, memory_mb * 2**20, minimum_isolation
        self._level: Level | None = None
        self._level_lock = threading.Lock()
        self._why_not = ""
        self._pool = Pool(self._start, workers)

    def isolation(self) -> Isolation:
        """What programs are kept from here; starts a worker to know. VerifierError where it is less than demanded."""
        level: Level = self._pool.hello()["level"]
        return describe(level)

    def grade(self, program: str, tests: Sequence[Test]) -> Grade:
        """Runs the program on every test's input and compares. VerifierError where programs cannot run here at all."""
        for _ in range(2):
            try:
                return self._grade_once(program, tests)
            except WorkerLost:
                continue
        probe, probe_tests = _PROBE
        try:
            innocent_passes = self._grade_once(probe, probe_tests).outcome is Outcome.CORRECT
        except WorkerLost:
            innocent_passes = False
        if innocent_passes:
            return Grade(Outcome.INCORRECT, "lost its worker twice", 0, len(tests))
        return Grade(Outcome.UNSCORABLE, "workers are lost over innocent programs too", 0, len(tests))

    def _grade_once(self, program: str, tests: Sequence[Test]) -> Grade:
        job = self._job(program, tests)
        patience = len(tests) * (2 * self._seconds + 1.0 + MAX_STARVED + 2.0) + _OVERHEAD_SECONDS
        answer = self._pool.call(job, patience)
        results = answer.get("tests")
        if not isinstance(results, list) or not 0 < len(results) <= len(tests):
            raise WorkerLost("an answer without results")
        return self._compare(results, tests)

    def _job(self, program: str, tests: Sequence[Test]) -> dict[str, Any]:
        """What goes into the box: never an expected output (house rule 7)."""
        return {
            "program": program,
            "stdins": [test.stdin for test in tests],
            "cpu_seconds": self._seconds,
            "memory_bytes": self._memory_bytes,
        }

    def _compare(self, results: list[dict[str, Any]], tests: Sequence[Test]) -> Grade:
        passed, first_failure = 0, ""
        for number, (result, test) in enumerate(zip(results, tests, strict=False), start=1):
            failure = self._failure(result) or ("" if same_output(test.stdout, result["stdout"]) else "wrong output")
            if not failure:
                passed += 1
            elif not first_failure:
                first_failure = f"test {number} of {len(tests)}: {failure}"
        if passed == len(tests):
            return Grade(Outcome.CORRECT, "", passed, len(tests))
        return Grade(Outcome.INCORRECT, first_failure, passed, len(tests))

    def _failure(self, result: dict[str, Any]) -> str:
        """Why the program failed a test before its output is looked at; empty where it ended well."""
        code: int = result["code"]
        ended = {
            "wall": "timeout",
            "cpu": "timeout",
            "output": "too much output",
            "processes": "too many processes",
            "memory": "too much memory",
        }.get(result["ended"], "")
        if ended:
            return ended
        if result["cpu"] > self._seconds or -code == signal.SIGXCPU:
            return "timeout"
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        error = _stable(result["error"])
        if code == child.COMPILE_ERROR:
            return error or "does not compile"
        if code != 0:
            return error or f"exit status {code}"
        return ""

    def _start(self) -> Worker:
        """Starts a box, at the strongest level that the host allows; what was found once holds for all."""
        with self._level_lock:
            if self._level is None:
                return self._find_level()
        return self._start_at(self._level)

    def _find_level(self) -> Worker:
        try:
            worker = self._start_at("namespaces")
            self._level = "namespaces"
            return worker
        except (WorkerLost, OSError) as error:
            self._why_not = str(error)
        demand("rlimits", self._minimum, self._why_not)
        try:
            worker = self._start_at("rlimits")
        except (WorkerLost, OSError) as error:
            raise VerifierError(f"no worker process for programs can be started: {error}") from error
        self._level = "rlimits"
        return worker

    def _start_at(self, level: Level) -> Worker:
        if level == "namespaces":
            worker = Worker([*UNSHARE, *worker_command("box", level, options=_OPTIONS)], ENVIRONMENT, "/")
        else:
            worker = _start_with_scratch()
        if worker.hello.get("level") != level:
            worker.close()
            raise WorkerLost(str(worker.hello.get("error", "the box said nothing")))
        return worker

    def close(self) -> None:
        """Ends all workers."""
        self._pool.close()


def _start_with_scratch() -> Worker:
    """A box that shares our file system and works in a directory of its own."""
    scratch = tempfile.mkdtemp(prefix="openklear-box-")

    def remove() -> None:
        shutil.rmtree(scratch, ignore_errors=True)

    try:
        return Worker(worker_command("box", "rlimits", scratch, options=_OPTIONS), ENVIRONMENT, scratch, remove)
    except BaseException:
        remove()
        raise


def _stable(error: str) -> str:
    """An error line without addresses, which differ from run to run, and not too long."""
    return re.sub(r"0x[0-9a-fA-F]+", "0x...", error)[:200]
