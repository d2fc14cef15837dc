"""Small programs: the programming of the demo world.

A problem asks in words for a program that reads one integer and prints another: level 1 a formula, levels 2 and 3 two
cases with short and long formulas, level 4 three cases. The answer is a short plan and a real Python program. Tests
cover every case and both sides of every boundary, so a program that gets one case right earns part of the reward.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from random import Random

from openklear.think import CLOSE, OPEN

NAMES = "abcdghkmnpqrstuvwxyz"
"""Variable names; the letters that read as operators, digits or words are left out."""

TESTS = 8
"""Tests of a problem."""

WORDS = (
    *("Given", "Read", "Input", "Take", "With", " and", " print", " if", " else", " at least", " at most", " above"),
    *(" over", " below", " under", " double", " triple", " half", " squared"),
    *("```python\n", "\n```", "int(input())", "print("),
)
"""Strings worth a token of their own."""

_OPENINGS = ("Given {v}:", "Read {v},", "Input {v};", "Take {v} and", "With {v},")
_MORE = (("over", ">"), ("above", ">"), ("at least", ">="))
_LESS = (("below", "<"), ("under", "<"), ("at most", "<="))


@dataclass(frozen=True)
class Phrase:
    """The same thing said twice: in words and in Python."""

    words: str
    code: str


@dataclass(frozen=True)
class CodeTask:
    """Guarded cases, tried in order; the last guard is None."""

    name: str
    cases: tuple[tuple[Phrase | None, Phrase], ...]
    boundaries: tuple[int, ...]

    def program(self) -> str:
        """The reference program."""
        *guarded, (_, otherwise) = self.cases
        choice = "".join(f"{formula.code} if {guard.code} else " for guard, formula in guarded if guard)
        return f"{self.name}=int(input())\nprint({choice}{otherwise.code})"

    def plan(self) -> str:
        """The reasoning: the conditions in Python's notation, or the formula where there is none."""
        guards = [guard.code for guard, _ in self.cases if guard]
        return ", ".join(guards) if guards else self.cases[0][1].code

    def output(self, value: int) -> str:
        """What the reference program prints for ``value`` (these formulas are our own, so eval is safe here)."""
        scope = {self.name: value}
        for guard, formula in self.cases:
            if guard is None or eval(guard.code, {}, scope):
                return str(eval(formula.code, {}, scope))
        raise AssertionError("the last case has no guard")

    def passed(self, tests: Iterable[Mapping[str, str]]) -> int:
        """How many of the tests the reference program passes."""
        return sum(self.output(int(test["input"])) + "\n" == test["output"] for test in tests)

    def alone(self, case: int) -> CodeTask:
        """The task without its conditions: the formula of one case for every input."""
        return CodeTask(self.name, ((None, self.cases[case][1]),), ())


def draw_task(rng: Random, level: int) -> CodeTask:
    """A task of the level, with its own variable name, boundaries and formulas."""
    name = rng.choice(NAMES)
    if level == 1:
        return CodeTask(name, ((None, _formula(rng, name, long=True)),), ())
    low = rng.randint(1, 12)
    high = rng.randint(low + 3, 20)  # apart, so that the case between two boundaries is never empty
    more, less = _guard(rng, _MORE, name, high), _guard(rng, _LESS, name, low)
    if level == 4:
        first, second = rng.sample((more, less), 2)
        formulas = _different_formulas(rng, name, 3, long=False)
        return CodeTask(name, ((first, formulas[0]), (second, formulas[1]), (None, formulas[2])), (low, high))
    guard, boundary = rng.choice(((more, high), (less, low)))
    formulas = _different_formulas(rng, name, 2, long=level == 3)
    return CodeTask(name, ((guard, formulas[0]), (None, formulas[1])), (boundary,))


def word(rng: Random, task: CodeTask) -> str:
    """The prompt: the task in words, in one of a few orders."""
    opening = rng.choice(_OPENINGS).format(v=task.name)
    *guarded, (_, otherwise) = task.cases
    if not guarded:
        return f"{opening} print {otherwise.words}."
    if rng.random() < 0.5:
        cases = ", ".join(f"if {guard.words} {formula.words}" for guard, formula in guarded if guard)
        return f"{opening} {cases}, else {otherwise.words}."
    cases = ", ".join(f"{formula.words} if {guard.words}" for guard, formula in guarded if guard)
    return f"{opening} print {cases}, else {otherwise.words}."


def tests(rng: Random, task: CodeTask) -> list[dict[str, str]]:
    """``TESTS`` inputs on and around every boundary, filled up at random, in ascending order."""
    values: set[int] = set()
    for boundary in task.boundaries:
        values |= {boundary - 1, boundary, boundary + 1}
    while len(values) < TESTS:
        values.add(rng.randint(-9, 30))
    return tests_on(task, sorted(values))


def tests_on(task: CodeTask, values: Iterable[int]) -> list[dict[str, str]]:
    """A test for each value: what the reference program prints for it."""
    return [{"input": f"{value}\n", "output": task.output(value) + "\n"} for value in values]


def solution(task: CodeTask) -> str:
    """The plan, then the program in a fenced block."""
    return f"{OPEN}{task.plan()}{CLOSE}```python\n{task.program()}\n```"


def slipped_solution(rng: Random, task: CodeTask) -> str:
    """A runnable answer to a slightly different task: one case, drawn at random, has another formula."""
    return solution(slipped_task(rng, task))


def slipped_task(rng: Random, task: CodeTask) -> CodeTask:
    """The slightly different task that a slipped solution solves."""
    cases = list(task.cases)
    index = rng.randrange(len(cases))
    guard, asked = cases[index]
    formula = asked
    while formula.code == asked.code:
        formula = _formula(rng, task.name, long=rng.random() < 0.5)
    cases[index] = (guard, formula)
    return CodeTask(task.name, tuple(cases), task.boundaries)


def _guard(rng: Random, phrases: tuple[tuple[str, str], ...], name: str, bound: int) -> Phrase:
    words, operator = rng.choice(phrases)
    return Phrase(f"{words} {bound}", f"{name}{operator}{bound}")


def _different_formulas(rng: Random, name: str, count: int, long: bool) -> list[Phrase]:
    formulas: list[Phrase] = []
    while len(formulas) < count:
        formula = _formula(rng, name, long)
        if all(formula.code != other.code for other in formulas):
            formulas.append(formula)
    return formulas


def _formula(rng: Random, v: str, long: bool) -> Phrase:
    factor, addend = rng.randint(2, 9), rng.randint(1, 9)
    bases = (
        Phrase(f"double {v}", f"{v}*2"),
        Phrase(f"triple {v}", f"{v}*3"),
        Phrase(f"{v}*{factor}", f"{v}*{factor}"),
        Phrase(f"half {v}", f"{v}//2"),
        Phrase(f"{v} squared", f"{v}*{v}"),
    )
    base, sign = rng.choice(bases), rng.choice("+-")
    if long:
        return Phrase(f"{base.words} {sign} {addend}", f"{base.code}{sign}{addend}")
    end = f"{v}{sign}{addend}"
    return rng.choice((base, Phrase(end, end), Phrase(f"{addend}-{v}", f"{addend}-{v}")))
