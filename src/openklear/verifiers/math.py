r"""Is an answer equal to the reference? An exact path decides most pairs in microseconds; math-verify decides the rest.

The exact path: equal normalised strings, and exact fractions of integers, decimals, percentages, a/b, \frac{a}{b}, and
lists of them. Nothing is ever evaluated. Before anything is parsed static limits turn monsters away; the rest goes to
a worker process that the kernel kills after `seconds` of CPU time (6 times as many of the clock).
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from openklear.types import Outcome
from openklear.verifiers.pool import Pool, Worker, WorkerLost, worker_command
from openklear.verifiers.workers.equivalence import WALL_FACTOR

MAX_CHARACTERS = 4096
MAX_NESTING = 64
MAX_OPERATORS = 1024
MAX_DIGITS = 256
MAX_EXPONENT = 10_000
MAX_FACTORIAL = 10_000
_HARMLESS = "17"
"""An answer that costs nothing. A reference that cannot be compared with it and with itself is at fault, not the
answer that failed (itself alone is not enough: math-verify sees at once that the two are one)."""
_NEAR = Fraction(1, 1000)
"""Relative difference below which a decimal may be a rounded form of the other number: math-verify decides."""


@dataclass(frozen=True, slots=True)
class Grade:
    """What a comparison says."""

    outcome: Outcome
    reason: str = ""


_OPERATOR = re.compile(r"[-+*/^_!=<>,]|\\[a-zA-Z]+")
_EXPONENT = re.compile(r"(?:\^|\*\*)\s*[{(]?\s*[-+]?\s*(\d+)")
_FACTORIAL = re.compile(r"(\d+)\s*[})]*\s*!")


def over_limit(text: str) -> str | None:
    """Which static limit a text breaks, in words; None where it may be parsed."""
    if len(text) > MAX_CHARACTERS:
        return f"longer than {MAX_CHARACTERS} characters"
    depth = deepest = 0
    for character in text:
        depth += (character in "({[") - (character in ")}]")
        deepest = max(deepest, depth)
    if deepest > MAX_NESTING:
        return f"nested deeper than {MAX_NESTING}"
    if len(_OPERATOR.findall(text)) > MAX_OPERATORS:
        return f"more than {MAX_OPERATORS} operators"
    if re.search(rf"\d{{{MAX_DIGITS + 1}}}", text):
        return f"a number of more than {MAX_DIGITS} digits"
    if any(int(power) > MAX_EXPONENT for power in _EXPONENT.findall(text)):
        return f"an exponent above {MAX_EXPONENT}"
    if any(int(number) > MAX_FACTORIAL for number in _FACTORIAL.findall(text)) or re.search(r"!\s*!\s*!", text):
        return f"a factorial above {MAX_FACTORIAL}"
    return None


_REPLACEMENTS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\left(?![a-zA-Z])|\\right(?![a-zA-Z])|\\displaystyle|\\bigl?|\\bigr|\\Bigl?|\\Bigr", ""),
        (r"(?<!\\)\\[()\[\]$]|\$", ""),  # not the line break of a matrix before a bracket
        (r",\s*\\!\s*|\{,\}", ","),
        (r"(?<!\\)\\!", ""),
        (r"(?<!\\)\\[,;: ]|~|\\quad(?![a-zA-Z])|\\qquad(?![a-zA-Z])|[\u00a0\u2009\u202f]", " "),
        (r"<=|\u2264|\\le(?![a-zA-Z])", r"\\leq "),
        (r">=|\u2265|\\ge(?![a-zA-Z])", r"\\geq "),
        (r"!=|\u2260|\\ne(?![a-zA-Z])", r"\\neq "),
        (r"\\lt(?![a-zA-Z])", "<"),
        (r"\\gt(?![a-zA-Z])", ">"),
        (r"(?<=\d)\s*\\?(?:text\{\s*)?(?:percent|pct)(?![a-zA-Z])\.?\}?", "%"),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\^\{?\\circ\}?|°|\\degree(?![a-zA-Z])", ""),
        (r"\\%", "%"),
        (r"[\u2212\u2013\u2012]", "-"),
        (r"\u03c0|(?<![a-zA-Z\\])pi(?![a-zA-Z])", r"\\pi"),
        (r"\u221e|(?<![a-zA-Z\\])(?:infinity|inf|oo)(?![a-zA-Z])", r"\\infty"),
        (r"(?<![a-zA-Z\\])sqrt\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\\frac\s*(\d)\s*(\d)(?!\d)", r"\\frac{\1}{\2}"),
    )
)
_WRAPPED = re.compile(r"^\\(?:boxed|text|textbf|textit|mathrm|mathbf|mbox|rm)\s*\{([^{}]*)\}$")
_TEXT = re.compile(r"\\(?:text|textbf|textit|mathrm|mbox)\s*\{([^{}]*)\}")


def normalise(text: str) -> str:
    """One spelling for what only looks different: delimiters, spaces, kinds of \\frac, pi, a last full stop."""
    text = text.strip()
    for pattern, replacement in _REPLACEMENTS:
        text = pattern.sub(replacement, text)
    text = text.strip().rstrip(".").strip()
    while match := _WRAPPED.match(text):
        text = match.group(1).strip()
    return text


_INTEGER = r"[-+]?\s*\d+"
_PLAIN = re.compile(r"^([-+]?)\s*(\d+(?:\.\d*)?|\.\d+)$")
_GROUPED = re.compile(r"^[-+]?\s*\d{1,3}(?:[, ]\d{3})+(?:\.\d+)?$")
_RATIO = re.compile(rf"^({_INTEGER})\s*/\s*(\d+)$")
_FRAC = re.compile(rf"^([-+]?)\s*\\frac\s*\{{\s*({_INTEGER})\s*\}}\s*\{{\s*({_INTEGER})\s*\}}$")


@dataclass(frozen=True, slots=True)
class Number:
    """An exact value, and whether it was written as a decimal, which may be rounded."""

    value: Fraction
    decimal: bool


def number(text: str) -> Number | None:
    """The exact value of a normalised integer, decimal, percentage, a/b or \\frac{a}{b}; None for anything else."""
    if text.endswith("%"):
        inner = number(text[:-1].strip())
        return None if inner is None else Number(inner.value / 100, inner.decimal)
    if _GROUPED.match(text):
        text = text.replace(",", "").replace(" ", "")
    if match := _PLAIN.match(text):
        return Number(Fraction(match.group(1) + match.group(2)), "." in text)
    if match := _RATIO.match(text):
        top, bottom = (int(part.replace(" ", "")) for part in match.groups())
    elif match := _FRAC.match(text):
        top, bottom = (int(part.replace(" ", "")) for part in match.groups()[1:])
        top = -top if match.group(1) == "-" else top
    else:
        return None
    return Number(Fraction(top, bottom), False) if bottom else None


def _same_number(left: Number, right: Number) -> bool | None:
    if left.value == right.value:
        return True
    near = abs(left.value - right.value) <= _NEAR * max(abs(left.value), abs(right.value))
    return None if near and (left.decimal or right.decimal) else False


def _listed(text: str) -> tuple[str, list[str]] | None:
    """Brackets and members of a list: "()", "[)", "{}" and so on, "" for a bare one; None where it is none."""
    for opening, closing in ((r"\{", r"\}"), ("(", ")"), ("[", "]"), ("(", "]"), ("[", ")")):
        if text.startswith(opening) and text.endswith(closing) and "," in text:
            inner = text[len(opening) : -len(closing)]
            return opening[-1] + closing[-1], [part.strip() for part in inner.split(",")]
    if "," in text and not _GROUPED.match(text):
        return "", [part.strip() for part in text.split(",")]
    return None


def _same_list(left: tuple[str, list[str]], right: tuple[str, list[str]]) -> bool | None:
    if (left[0] == "{}") != (right[0] == "{}") and left[0] and right[0]:
        return False  # a set is no tuple or interval; math-verify says they are equal
    sides = [[number(part) for part in side[1]] for side in (left, right)]
    numbers = [[entry for entry in side if entry is not None] for side in sides]
    if any(len(known) != len(side) for known, side in zip(numbers, sides, strict=True)) or left[0] != right[0]:
        return None
    if left[0] in ("{}", ""):
        numbers = [sorted(side, key=lambda entry: entry.value) for side in numbers]
    if len(numbers[0]) != len(numbers[1]):
        return None if left[0] == "{}" else False  # {1,1} = {1}
    answers = [_same_number(a, b) for a, b in zip(*numbers, strict=True)]
    if False in answers:
        return False
    return None if None in answers else True


_BASED = re.compile(r"^(\d+)\s*_\s*\{?\s*(\d+)\s*\}?$")
_MEASURED = re.compile(r"^(.*\d\}?)\s*(?:\\(?:text|textbf|mathrm|mbox)\s*\{\s*([^{}\d]+)\}|\s([a-zA-Z]{2,}))$")
_WORDS = re.compile(r"^[a-zA-Z]{3,}(?: [a-zA-Z]+)*$")


def _measured(text: str) -> tuple[str, str]:
    """An amount and its unit ("" where there is none)."""
    match = _MEASURED.match(text)
    if match is None:
        return text, ""
    unit = (match.group(2) or match.group(3)).strip().casefold()
    return match.group(1).strip(), unit.removesuffix("s")


def decide(reference: str, answer: str) -> bool | None:
    """What can be said exactly and at once; None where it takes math-verify."""
    plain = number(reference.strip()), number(answer.strip())
    if plain[0] is not None and plain[1] is not None:  # most answers: no need to normalise
        return _same_number(plain[0], plain[1])
    left, right = normalise(reference), normalise(answer)
    if not right:
        return False
    bases = _BASED.match(left), _BASED.match(right)
    if bases[0] or bases[1]:
        return bool(bases[0] and bases[1] and bases[0].groups() == bases[1].groups())
    if _squeeze(left) == _squeeze(right):
        return True
    (left, unit), (right, other) = _measured(left), _measured(right)
    if unit and other and unit != other:
        return False
    values = number(left), number(right)
    if values[0] is not None and values[1] is not None:
        return _same_number(values[0], values[1])
    lists = _listed(left), _listed(right)
    if lists[0] is not None and lists[1] is not None:
        return _same_list(lists[0], lists[1])
    words = [_TEXT.sub(r"\1", side) for side in (left, right)]
    if all(_WORDS.match(side) for side in words):
        return words[0].casefold() == words[1].casefold()
    return None


def _squeeze(text: str) -> str:
    return re.sub(r"\s+", "", _TEXT.sub(r"\1", text))


class MathGrader:
    """Grades answers over `workers` processes, `seconds` of CPU time a question. Any thread may call; `close` it."""

    def __init__(self, workers: int, seconds: float):
        self._seconds = seconds
        self._pool = Pool(self._start, workers)

    def _start(self) -> Worker:
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path if path),
            "PYTHONHASHSEED": "0",
            "OMP_NUM_THREADS": "1",
        }
        return Worker(worker_command("equivalence", repr(self._seconds)), environment, "/")

    def grade(self, reference: str, answer: str) -> Grade:
        """Compares an extracted answer with the reference (both without their box)."""
        broken = over_limit(answer)
        if broken is not None:
            same = len(answer) <= 4 * MAX_CHARACTERS and _squeeze(answer) == _squeeze(reference)
            return Grade(Outcome.CORRECT) if same else Grade(Outcome.INCORRECT, f"the answer is {broken}")
        broken = over_limit(reference)
        if broken is not None:
            return Grade(Outcome.UNSCORABLE, f"the reference is {broken}")
        equal = decide(reference, answer)
        if equal is None:
            return self._ask(normalise(reference), normalise(answer))
        return _grade(equal)

    def _ask(self, reference: str, answer: str) -> Grade:
        said = self._request(reference, answer)
        if "equal" in said:
            return _grade(bool(said["equal"]))
        if all("equal" in self._request(reference, other) for other in (reference, _HARMLESS)):
            return Grade(Outcome.INCORRECT, f"the answer cannot be graded: {said['error']}")
        return Grade(Outcome.UNSCORABLE, f"the reference cannot be graded: {said['error']}")

    def _request(self, reference: str, answer: str) -> dict[str, Any]:
        """The worker's answer; a lost worker is replaced and asked once more."""
        for _ in range(2):
            try:
                return self._pool.call({"reference": reference, "answer": answer}, WALL_FACTOR * self._seconds + 10.0)
            except WorkerLost:
                continue
        return {"error": "lost its worker twice"}

    def close(self) -> None:
        """Ends all workers."""
        self._pool.close()


def _grade(equal: bool) -> Grade:
    return Grade(Outcome.CORRECT) if equal else Grade(Outcome.INCORRECT, "wrong answer")
