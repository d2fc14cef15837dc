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
from collections.abc import Callable, Sequence
from typing import Any

from openklear.types import AnyTest, CallTest, Outcome, Test, Verdict
from openklear.verifiers import sizes
from openklear.verifiers.asserts import End
from openklear.verifiers.checkers import checker
from openklear.verifiers.code import OVERHEAD_SECONDS, STOPPED, CodeGrader, signal_name, stable, summary
from openklear.verifiers.walls import Isolation
from openklear.verifiers.workers import values
from openklear.verifiers.workers.official import ERROR, TIMEOUT
from openklear.verifiers.workers.watcher import MAX_STARVED

VERSION = "LiveCodeBench 28fef95"
"""Of the harness that is followed; part of every verdict's key."""
WRONG, LOST = -2, -5
"""Its codes of a wrong answer, and of a runner that ended without one (with a crash, or at the global time limit)."""
_HOW = checker("livecodebench")


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
    return sizes.refusal(tests)


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
            "kind": "talk",
            "role": "official",
            "source": program,
            "cpu_seconds": whole,
            "wall_seconds": whole,
            "memory_bytes": self._memory_bytes,
        }
        name = tests[0].call.rpartition(".")[2] if isinstance(tests[0], CallTest) else None
        found: list[str] = []
        with self._boxes.pool.session() as box:
            end = End(box, header, whole + MAX_STARVED + OVERHEAD_SECONDS)
            end.say(json.dumps({"name": name, "seconds": self._seconds}))
            for test in tests:
                end.say(json.dumps({"input": _input(test)}))
                said = heard(end.hear, sizes.output_bytes([test]))
                found.append(finding(test, said, end.ended))
                if found[-1]:
                    break
            end.stop()
        return summary(found, len(tests))

    def close(self) -> None:
        """Ends all workers."""
        self._boxes.close()


def heard(hear: Callable[[], str | None], most: int) -> dict[str, Any] | None:
    """What the process says to an input; None where it ended, or says what is none. At most `most` bytes of output."""
    pieces: list[str] = []
    while (word := hear()) is not None:
        try:
            said = json.loads(word)
        except (ValueError, RecursionError):
            return None
        if not isinstance(said, dict) or "more" not in said:
            break
        pieces.append(str(said["more"]))
        if sum(map(len, pieces)) > most:
            return {"code": WRONG, "error": "too much output"}
    else:
        return None
    if not isinstance(said, dict):
        return None
    return said | {"out": "".join([*pieces, str(said["out"])])} if "out" in said else said


def finding(test: AnyTest, said: dict[str, Any] | None, ended: dict[str, Any]) -> str:
    """Empty where a test was passed, else why not, with the harness's code.

    `said`: see `workers.official`; None where the process said nothing. `ended`: how it ended, if it did.
    """
    if said is None:
        return f"{_end(ended)} ({LOST})"
    if "code" in said or "broken" in said:
        text = "timeout" if said.get("code") == TIMEOUT else said.get("error", said.get("broken"))
        return f"{stable(str(text))} ({said.get('code', ERROR)})"
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


def _end(ended: dict[str, Any]) -> str:
    """Why a process ended in the middle of a test."""
    if ended.get("ended") in STOPPED:
        return STOPPED[ended["ended"]]
    code = ended.get("code", 0)
    return f"killed by {signal_name(-code)}" if code < 0 else "ended without an answer"
