"""LiveCodeBench's own harness as a way to judge programs: the published numbers are what it says, right or wrong.

It differs from our judge in what a program sees (`workers.official`) and in what counts: all tests run in one process,
in their order; the first failure is the end; outputs are equal line by line without white space at the ends, or as
decimals, results as Python compares them, whatever a statement says of several answers; a program is what stands
between the last two lines with ``` of a whole completion. The walls are those of our judge.

Where ours is deliberately stricter: a result whose class says that it is equal to everything is wrong; and seconds in
which a crowded machine lets a program wait are not its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from openklear.types import AnyTest, CallTest, Outcome, Test, Verdict
from openklear.verifiers.checkers import checker
from openklear.verifiers.code import OVERHEAD_SECONDS, STOPPED, CodeGrader, signal_name, stable, summary
from openklear.verifiers.pool import WorkerLost
from openklear.verifiers.walls import Isolation
from openklear.verifiers.workers import values
from openklear.verifiers.workers.watcher import MAX_STARVED, VALUE_CAP

VERSION = "LiveCodeBench 28fef95"
"""Of the harness that is followed; part of every verdict's key."""
WRONG, LOST = -2, -5
"""Its codes of a wrong answer, and of a runner that ended without one (with a crash, or at the global time limit)."""
_HOW = checker("livecodebench")
_MOST_INPUT = 96 * 2**20
"""Bytes of all inputs of a problem: they go into one process."""
_MOST_WRITTEN = 64 * 2**20
_SHOWN = 200


def extract(completion: str) -> str | None:
    """The program between the last two lines with ``` of a completion; None where there are no two."""
    lines = completion.split("\n")
    fences = [number for number, line in enumerate(lines) if "```" in line]
    return "\n".join(lines[fences[-2] + 1 : fences[-1]]) if len(fences) > 1 else None


def refusal(tests: Sequence[AnyTest]) -> str:
    """Why the harness cannot run these tests; empty where it can."""
    kinds = {(type(test), getattr(test, "call", None)) for test in tests}
    if not {kind for kind, _ in kinds} <= {Test, CallTest} or len(kinds) > 1:
        return "LiveCodeBench's harness takes tests over stdin, or calls of one function"
    if any(isinstance(test, CallTest) and not isinstance(json.loads(test.args), list) for test in tests):
        return "LiveCodeBench's harness passes arguments by their places"
    if sum(len(_input(test)) for test in tests) > _MOST_INPUT:
        return f"tests hold more than {_MOST_INPUT >> 20} MiB, which go into one process of LiveCodeBench's harness"
    return ""


def _input(test: AnyTest) -> str:
    if isinstance(test, Test):
        return test.stdin
    assert isinstance(test, CallTest)
    return test.args


class OfficialGrader:
    """Grades programs as the harness does, over `workers` boxes. Any thread may call; `close` it."""

    def __init__(self, workers: int, seconds: float, memory_mb: int, minimum_isolation: str, packages: Sequence[str]):
        """`seconds` are wall seconds of a test."""
        self._seconds, self._memory_bytes = seconds, memory_mb * 2**20
        self._boxes = CodeGrader(workers, seconds, memory_mb, minimum_isolation, packages=packages)

    def isolation(self) -> Isolation:
        """See `CodeGrader.isolation`."""
        return self._boxes.isolation()

    def grade(
        self, program: str, tests: Sequence[AnyTest], checker: str | None = None, stop_early: bool = True
    ) -> Verdict:
        """Runs the program on the tests until one fails. `checker` and `stop_early` change nothing: see the module."""
        if not tests:
            return Verdict(Outcome.UNSCORABLE, "no tests")
        if why := refusal(tests):
            return Verdict(Outcome.UNSCORABLE, why, total=len(tests))
        return self._boxes.twice(lambda: self._run(program, tests), len(tests))

    def _run(self, program: str, tests: Sequence[AnyTest]) -> Verdict:
        whole = (self._seconds + 1) * len(tests) + 5
        header = {
            "kind": "official",
            "program": program,
            "cpu_seconds": whole,
            "wall_seconds": whole,
            "memory_bytes": self._memory_bytes,
            "output_bytes": _written(tests),
        }
        name = tests[0].call.rpartition(".")[2] if isinstance(tests[0], CallTest) else None
        plan = {"inputs": list(map(_input, tests)), "seconds": self._seconds}
        with self._boxes.pool.session() as box:
            box.send(header, OVERHEAD_SECONDS)
            answer = box.request({"calls": [[name, plan]]}, whole + MAX_STARVED + 2 * OVERHEAD_SECONDS)
            box.send({"end": True}, OVERHEAD_SECONDS)
        results = answer.get("results")
        if not isinstance(results, list) or len(results) != 1:
            raise WorkerLost("an answer without results")
        return summary(list(findings(tests, results[0])), len(tests))

    def close(self) -> None:
        """Ends all workers."""
        self._boxes.close()


def _written(tests: Sequence[AnyTest]) -> int:
    """Bytes that a program may answer with: four times what is expected, for JSON makes two of a new line."""
    expected = sum(len(test.stdout) for test in tests if isinstance(test, Test))
    return min(max(VALUE_CAP, 4 * expected), _MOST_WRITTEN)


def findings(tests: Sequence[AnyTest], result: dict[str, Any]) -> Iterator[str]:
    """Of each test up to the first failure: empty where it passed, else why not, with the harness's code.

    `result`: what the box says of the process, with the lines of `workers.official` in "value".
    """
    told = (result["value"] or "").split("\n")
    for test, line in zip(tests, [*told[:-1], *[""] * len(tests)], strict=False):  # no line is whole without its end
        found = _finding(test, line, result)
        yield found
        if found:
            return


def _finding(test: AnyTest, line: str, result: dict[str, Any]) -> str:
    said = _said(line)
    if said is None:
        return f"{_end(result)} ({LOST})"
    if "code" in said or "broken" in said:
        text = "timeout" if said.get("code") == -3 else said.get("error", said.get("broken"))
        return f"{stable(str(text))} ({said.get('code', -4)})"
    return "" if _equal(test, said) else f"wrong {'output' if 'out' in said else 'result'} ({WRONG})"


def _equal(test: AnyTest, said: dict[str, Any]) -> bool:
    if isinstance(test, Test):
        return isinstance(said.get("out"), str) and _HOW.text(test.stdin, test.stdout, said["out"])
    assert isinstance(test, CallTest)
    if "value" not in said:
        return False
    try:
        return _HOW.value(test.args, json.loads(test.expected), values.unpack(said["value"]))
    except ValueError:  # a program that wrote to the channel itself
        return False


def _said(line: str) -> dict[str, Any] | None:
    """A line of the process; None where it is none."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _end(result: dict[str, Any]) -> str:
    """Why a process ended in the middle of a test."""
    if result["ended"] in STOPPED:
        return STOPPED[result["ended"]]
    return f"killed by {signal_name(-result['code'])}" if result["code"] < 0 else "ended without an answer"
