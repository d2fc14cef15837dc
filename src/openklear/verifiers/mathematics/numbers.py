r"""Numbers of answers as exact fractions: integers, decimals, percentages, a/b and \frac{a}{b}."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

_NEAR = Fraction(1, 1000)
_ROUNDED = Fraction(1, 10**6)
"""Relative and absolute difference up to which a decimal may be a rounded form of the other number: math-verify, which
rounds to 6 places, decides."""
_INTEGER = r"[-+]?\s*\d+"
_PLAIN = re.compile(r"^([-+]?)\s*(\d+(?:\.\d*)?|\.\d+)$")
GROUPED = re.compile(r"^[-+]?\s*[1-9]\d{0,2}(?:[, ]\d{3})+(?:\.\d+)?$")
_RATIO = re.compile(rf"^()({_INTEGER})\s*/\s*(\d+)$")
_FRAC = re.compile(rf"^([-+]?)\s*\\frac\s*\{{\s*({_INTEGER})\s*\}}\s*\{{\s*({_INTEGER})\s*\}}$")


@dataclass(frozen=True, slots=True)
class Number:
    """An exact value, and whether it was written as a decimal, which may be rounded."""

    value: Fraction
    decimal: bool


@lru_cache(maxsize=2048)
def number(text: str) -> Number | None:
    """The exact value of a normalised integer, decimal, percentage, a/b or \\frac{a}{b}; None for anything else."""
    if text.endswith("%"):
        text = text[:-1].strip()
        inner = None if text.endswith("%") else number(text)
        return None if inner is None else Number(inner.value / 100, inner.decimal)
    if GROUPED.match(text):
        text = text.replace(",", "").replace(" ", "")
    if match := _PLAIN.match(text):
        return Number(Fraction(match.group(1) + match.group(2)), "." in text)
    if match := _RATIO.match(text) or _FRAC.match(text):
        top, bottom = (int(part.replace(" ", "")) for part in match.groups()[1:])
        return Number(Fraction(-top if match.group(1) == "-" else top, bottom), False) if bottom else None
    return None


def is_percent_of(reference: str, answer: str) -> bool:
    """To "what percent", 35% says what the reference 35 says: a unit that it lacks. (35 does not say 35%.)"""
    if not answer.endswith("%") or "%" in reference:
        return False
    known, said = number(reference), number(answer[:-1].strip())
    return known is not None and said is not None and known.value == said.value


def same_number(left: Number, right: Number) -> bool | None:
    """Whether two numbers are one; None where a decimal may be a rounded form of the other."""
    if left.value == right.value:
        return True
    if not (left.decimal or right.decimal):
        return False
    apart = abs(left.value - right.value)
    return None if apart <= _ROUNDED and apart <= _NEAR * max(abs(left.value), abs(right.value)) else False
