r"""Rules of our own about two normalised answers, each for what math-verify gets wrong or cannot read.

A rule says True, False, or None where it has nothing to say; the first that says something is believed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from openklear.verifiers.mathematics.numbers import Number, number, same_number
from openklear.verifiers.mathematics.options import options
from openklear.verifiers.mathematics.qualifiers import differ
from openklear.verifiers.mathematics.text import TEXT, measured, split, squeeze

_BASED = re.compile(r"^\(?(\d+)\)?\s*_\s*\{?\s*(\d+)\s*\}?$")
_WORDS = re.compile(r"^(?:[a-zA-Z]{3,}|[Nn]o)(?: [a-zA-Z]+)*$")
_FORMULA = re.compile(r"\d|[-+=^_<>]|\\(?:infty|pi|frac|sqrt|begin)(?![a-zA-Z])")
_PROSE = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{3,}|\\text")
_NUMERALS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip
_INFINITE = re.compile(r"^([-+]?)\s*\\infty$")
_COMMA = re.compile(r"^([-+]?\d+),(\d+)$")
NAMED = re.compile(r"^([a-zA-Z](?:_\{?\w+\}?)?'*(?:\s*\(\s*[a-zA-Z](?:\s*,\s*[a-zA-Z])*\s*\))?)\s*=\s*(?=[^=])")


def _names(left: str, right: str) -> bool | None:
    """x = 5 beside y = 5."""
    named = NAMED.match(left), NAMED.match(right)
    if named[0] and named[1] and split(left) == [left] and split(right) == [right]:
        names = [squeeze(match.group(1)) for match in named if match]
        if "(" not in names[0] + names[1] and names[0] != names[1]:
            return False
    return None


def _bases(left: str, right: str) -> bool | None:
    """10_2 is 10_2 alone: a number that names its base is not compared with one that does not."""
    bases = _BASED.match(left), _BASED.match(right)
    if not (bases[0] or bases[1]):
        return None
    return bool(bases[0] and bases[1] and bases[0].groups() == bases[1].groups())


def _units(left: str, right: str) -> bool | None:
    """5 cm is not 5 km; a unit beside none, or beside a word that measures nothing, says nothing."""
    units = measured(left)[1], measured(right)[1]
    return False if all(unit not in ("", "?") for unit in units) and units[0] != units[1] else None


def _infinities(left: str, right: str) -> bool | None:
    signs = [match.group(1) == "-" for match in (_INFINITE.match(left), _INFINITE.match(right)) if match]
    if len(signs) == 2:
        return signs[0] == signs[1]
    return False if signs and (number(left) or number(right)) else None


def _words(left: str, right: str) -> bool | None:
    """Words are equal to the same words, to their numeral (three), and to no formula."""
    sides = [TEXT.sub(r"\1", side).strip() for side in (left, right)]
    words = [side.casefold() if _WORDS.match(side) else None for side in sides]
    if words[0] is not None and words[1] is not None:
        return words[0] == words[1]
    for word, formula in ((words[0], sides[1]), (words[1], sides[0])):
        if word is None:
            continue
        if word in _NUMERALS and (single := number(formula)) is not None:
            return single.value == _NUMERALS.index(word)
        if _FORMULA.search(formula) and not _PROSE.search(formula):
            return False
    return None


def _decimal_commas(left: str, right: str) -> bool | None:
    """1000,99 beside a single number is a decimal, for as a list it could not be equal."""
    for comma, other in ((left, right), (right, left)):
        match, single = _COMMA.match(comma), number(other)
        if match and single:
            return same_number(Number(Fraction(".".join(match.groups())), True), single)
    return None


_REALS = frozenset(("\\mathbb{R}", "\\mathbbR", "\\R", "\u211d"))


def _reals(left: str, right: str) -> bool | None:
    """All reals, as a letter and as an interval."""
    sides = [squeeze(left), squeeze(right)]
    return True if any(a in _REALS and b == "(-\\infty,\\infty)" for a, b in (sides, sides[::-1])) else None


RULES: tuple[Callable[[str, str], bool | None], ...] = (
    _bases, differ, _units, _names, _infinities, _reals, options, _words, _decimal_commas,
)  # fmt: skip
