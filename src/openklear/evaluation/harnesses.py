"""The same programs under our judge and under LiveCodeBench's own harness: what differs, and why.

The reason of a difference is found in what both say and in the program's text; where neither tells, it says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from openklear.types import Attempt, Outcome, Verdict
from openklear.verifiers.judge import open_judge
from openklear.verifiers.limits import OFFICIAL, Limits

UNEXPLAINED = "not explained: look at the program"


@dataclass(frozen=True, slots=True)
class Difference:
    """An attempt that one of the two takes for correct and the other does not."""

    place: int
    """Of the attempt among those given."""
    attempt: Attempt
    ours: Verdict
    official: Verdict
    why: str


@dataclass(frozen=True, slots=True)
class _Rule:
    """Why verdicts differ, where the reason of the one that is not correct and the program's text look like this."""

    why: str
    reason: str
    program: str = ""
    without: str = "$^"
    """What the program's text does not hold."""

    def holds(self, reason: str, program: str) -> bool:
        found = re.search(self.reason, reason) and re.search(self.program, program, re.MULTILINE)
        return bool(found) and not re.search(self.without, program)


_OFFICIAL_WRONG = (
    _Rule("reads stdin by iteration", r"_Stdin' object is not (iterable|an iterator)|argument must be .*iterable"),
    _Rule("reads stdin by iteration", "wrong output", r"^from sys import .*stdin", r"stdin\.read"),
    _Rule("reads descriptor 0, which is not the input there", r"timeout", r"open\(0|os\.read\(|fdopen\(0|/dev/stdin"),
    _Rule("reads sys.stdin.buffer other than by read()", r"_Bytes' object|wrong|EOF|Error", r"stdin\.buffer"),
    _Rule("reads a line and then the rest, which is the whole input there", r"", r"(?s)stdin\.readline.*stdin\.read\("),
    _Rule("writes to sys.stdout.buffer, which there is none", r"StringIO' object has no attribute 'buffer'"),
    _Rule("asks stdin or stdout for its file", r"UnsupportedOperation"),
    _Rule("calls a function that the harness takes away", r"'NoneType' object is not callable"),
    _Rule("imports a module that the harness takes away", r"halted; None in sys\.modules"),
    _Rule("a global name of the program is local to the function that is made of it", r"NameError|UnboundLocalError"),
    _Rule("cannot be made a function", r"IndentationError|SyntaxError"),
    _Rule("prints in a thread that is not joined", r"wrong output|StopIteration|EOF", r"Thread\(", r"\.join\(\)"),
    _Rule("its __main__ block is not its last statement", r"wrong output", r"^if __name__ ==[^\n]*\n(\s+.*\n|\n)+\S"),
    _Rule(
        "prints past sys.stdout", r"wrong output", r"^from sys import .*stdout|os\.write\(|__stdout__|stdout\.fileno"
    ),
    _Rule("prints in an exit handler", r"wrong output", r"atexit"),
    _Rule("recurses deeper than a stack of 8 MiB holds", r"killed by SIGSEGV"),
    _Rule("ends its process by itself", r"ended without an answer"),
    _Rule("takes longer than the harness's wall seconds", r"timeout"),
)
_OURS_WRONG = (
    _Rule("takes longer than our CPU seconds", r"timeout"),
    _Rule("takes more memory than ours gives", r"too much memory|MemoryError"),
    _Rule("uses a name that the harness opens before a program", r"NameError"),
    _Rule("ends with an exit status, which the harness passes over", r"exit status|: \S.*$", r"\bexit\("),
    _Rule("takes True for 1, a tuple for a list, or a subclass for its base", r"wrong result|returned a value"),
    _Rule("right only as decimals, or without white space before lines", r"wrong output"),
)


def official(limits: Limits) -> Limits:
    """The same limits with LiveCodeBench's harness: its 6 wall seconds a test, and memory as it has it."""
    return replace(limits, **OFFICIAL)


def both(
    attempts: Sequence[Attempt], limits: Limits, say: Callable[[str], None], *, journal: Path | None = None
) -> tuple[list[Verdict], list[Verdict]]:
    """(our verdicts, those of LiveCodeBench's harness) on programs, in the order of the attempts.

    `limits` are ours; the harness gets its own (`official`). The journal keeps both, under keys of their own.
    VerifierError where programs cannot run here.
    """
    found: list[list[Verdict]] = []
    for each in (limits, official(limits)):
        with open_judge(each, {"code"}, say, journal=journal) as judge:
            found.append(judge.judge(attempts, stop_early=True))
    return found[0], found[1]


def differences(
    attempts: Sequence[Attempt], ours: Sequence[Verdict], official: Sequence[Verdict]
) -> Iterator[Difference]:
    """The attempts that one takes for correct and the other does not, with the reason of each difference."""
    for place, (attempt, mine, theirs) in enumerate(zip(attempts, ours, official, strict=True)):
        if mine.correct != theirs.correct:
            yield Difference(place, attempt, mine, theirs, why(attempt, mine, theirs))


def why(attempt: Attempt, ours: Verdict, official: Verdict) -> str:
    """Why two verdicts on an attempt differ, in a few words that other attempts may share."""
    for name, one in (("ours", ours), ("the harness", official)):
        if one.outcome is Outcome.UNSCORABLE:
            return f"{name} cannot judge it: {one.reason}"
    if attempt.exact or (ours.extracted or "").strip() == (official.extracted or "").strip():
        return _by_rule(ours, official)
    return "another program is taken from the completion"


def _by_rule(ours: Verdict, official: Verdict) -> str:
    wrong, rules = (official, _OFFICIAL_WRONG) if ours.correct else (ours, _OURS_WRONG)
    program = wrong.extracted or ""
    return next((rule.why for rule in rules if rule.holds(wrong.reason, program)), UNEXPLAINED)
