"""Answers that may be off by a stated error: OlympiadBench's `error`, physics' and chemistry's measured numbers."""

from __future__ import annotations

from fractions import Fraction

from openklear.verifiers.mathematics.numbers import number
from openklear.verifiers.mathematics.respelling import prepared
from openklear.verifiers.mathematics.words import without_words

_KIND = "within:"


def within(text: str) -> str:
    """The checker of answers that may differ by as much as `text` says (`1e-1`); ValueError where that is no number."""
    allowed = Fraction(text.strip())
    if allowed <= 0:
        raise ValueError("it must be above 0")
    return f"{_KIND}{text.strip()}"


def near(reference: str, answer: str, checker: str | None) -> bool:
    """Whether both are numbers no further apart than the checker allows; never where it is none of `within`."""
    if checker is None or not checker.startswith(_KIND):
        return False
    left, right = (number(without_words(side)) for side in prepared(reference, answer))
    if left is None or right is None:
        return False
    return abs(left.value - right.value) <= Fraction(checker.removeprefix(_KIND))
