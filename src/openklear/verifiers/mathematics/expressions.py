r"""Expressions compared by their values, which can only tell them apart, unless both are exact numbers."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from openklear.verifiers.mathematics.numbers import Number, number, same_number
from openklear.verifiers.mathematics.parser import parse
from openklear.verifiers.mathematics.values import Approximate, TooLarge, Unknown, Value, approximate

_DECIMAL = re.compile(r"\d\.\d|\.\d")


@lru_cache(maxsize=512)
def value_of(text: str) -> Value | None:
    """The value of a normalised text; None where it is no expression, TooLarge where it is beyond the limits."""
    try:
        return parse(text)
    except (Unknown, RecursionError):
        return None


def same_value(left: str, right: str) -> bool | None:
    """Tells expressions apart. TooLarge where the left one, the reference, is beyond the limits."""
    try:
        second = value_of(right)
    except TooLarge:
        return False
    first = value_of(left)
    if first is None or second is None:
        return None
    unit = _unit_letter(left, right)
    if unit is not None:
        return None if unit else False
    decimal = _DECIMAL.search(left) is not None or _DECIMAL.search(right) is not None
    if isinstance(first, Fraction) and isinstance(second, Fraction):
        if _SYMBOLIC.search(left) or _SYMBOLIC.search(right):
            if first == second and _same_function(left, right):
                return True
            return None if first == second or decimal else False
        return same_number(Number(first, decimal), Number(second, decimal))
    try:
        return None if _close(approximate(first), approximate(second), decimal) else False
    except (Unknown, OverflowError):
        return None


_SYMBOLIC = re.compile(
    r"(?<![\\a-zA-Z])[a-zA-Z]"
    r"|\\(?!(?:frac|sqrt|cdot|times|div|binom|[lr]floor|[lr]ceil|[lr]vert)(?![a-zA-Z]))[a-zA-Z]"
)
"""What may be a symbol: a letter, and any command but those that numbers are made of."""


_RATIONAL = re.compile(
    r"(?:[0-9.+\-*/(){} ]|[a-zA-Z](?:_\w|_\{\w{1,9}\})?|\\(?:frac|cdot|times|alpha|beta|theta|lambda|mu)(?![a-zA-Z])"
    r"|\^ ?(?:\d(?![\d./])|\{ ?-?\d{1,2} ?\}))+"
)
"""Sums, products, quotients and whole powers of numbers and symbols, and nothing else."""
_APPLIED = re.compile(r"[d-jopqsu-wyA-Z] ?\(")
"""A letter before a bracket that may be a function's name."""
_MATRICES = re.compile(r"[A-Z][^A-Z]*[A-Z]")


def _same_function(left: str, right: str) -> bool:
    """Whether two rational functions of their symbols are one: tried at two points that nobody can guess.

    math-verify would take 10t for tonnes and 2g for grams. Capital letters may be matrices: xy is yx, AB is not BA.
    """
    for side in (left, right):
        if not _RATIONAL.fullmatch(side) or _APPLIED.search(side) or _MATRICES.search(side):
            return False
    try:
        return all(parse(left, point) == parse(right, point) for point in (1, 2))
    except (Unknown, TooLarge, RecursionError):
        return False


def _close(left: Approximate, right: Approximate, decimal: bool) -> bool:
    scale, apart = max(abs(left.value), abs(right.value)), abs(left.value - right.value)
    slack = 64 * (left.error + right.error)
    return apart <= 1e-6 + slack and apart <= 1e-3 * scale + slack if decimal else apart <= 1e-6 * scale + slack


_UNIT_LETTER = re.compile(r"^(.*\d)\s?[msghlLNJWVAKCF]$")


def _unit_letter(left: str, right: str) -> bool | None:
    """5 m beside 5: a metre, not a symbol. Whether the numbers are the same; None where this is not the case."""
    for with_unit, other in ((left, right), (right, left)):
        match = _UNIT_LETTER.match(with_unit)
        amount, single = match and number(match.group(1)), number(other)
        if amount and single:
            return same_number(amount, single) is not False
    return None
