r"""Rules of our own about two normalised answers, each for what math-verify gets wrong or cannot read.

A rule says True, False, or None where it has nothing to say; the first that says something is believed.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from openklear.verifiers.mathematics import clocks, digits, quantities
from openklear.verifiers.mathematics.numbers import number
from openklear.verifiers.mathematics.numerals import spoken
from openklear.verifiers.mathematics.options import options
from openklear.verifiers.mathematics.qualifiers import differ
from openklear.verifiers.mathematics.text import split, squeeze, untexted
from openklear.verifiers.mathematics.words import same_words

_WORDS = re.compile(r"^(?:[a-zA-Z]{3,}|[Nn]o|(?:[Aa]n?|[Ii]t is) [a-zA-Z]{3,})(?: [a-zA-Z]+)*$")
_FORMULA = re.compile(r"\d|[-+=^_<>]|\\(?:infty|pi|frac|sqrt|begin)(?![a-zA-Z])")
_PROSE = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{3,}|\\text")
_INFINITE = re.compile(r"^([-+]?)\s*\\infty$")
NAMED = re.compile(
    r"^([a-zA-Z](?:_\{?\w+\}?)?'*(?:\s*\(\s*\w+(?:\s*,\s*\w+)*\s*\))?|[A-Z]{2,3}|[a-zA-Z ]{3,40}"
    r"|\\(?:text|mathrm|mbox) ?\{[^{}=]{1,60}\}|\\frac ?\{d[a-zA-Z]?\} ?\{d[a-zA-Z]\})\s*=\s*(?=[^=])"
)
_PLACE = re.compile(r"[\dA-Z]")


_NAMED_LAST = re.compile(r"^([^=a-zA-Z]{1,80}) ?= ?([a-zA-Z])$")
"""5 = x."""


def _names(left: str, right: str) -> bool | None:
    """x = 5 beside y = 5, f(x) = 2 beside f'(x) = 2, P(A) = 1 beside P(B) = 1; f(x) = x beside f(t) = t is open.

    y = x is x = y.
    """
    if "=" not in left or "=" not in right:
        return None
    if squeeze(left).split("=") == squeeze(right).split("=")[::-1]:
        return True
    left, right = (_NAMED_LAST.sub(r"\2 = \1", side).strip() for side in (left, right))
    named = NAMED.match(left), NAMED.match(right)
    if named[0] and named[1] and split(left) == [left] and split(right) == [right]:
        ours, theirs = (squeeze(match.group(1)).partition("(") for match in named if match)
        if bool(ours[1]) != bool(theirs[1]):
            return None  # y = x beside f(x) = x
        if ours[0] != theirs[0] or (ours != theirs and _PLACE.search(ours[2] + theirs[2])):
            return False
    return None


def _infinities(left: str, right: str) -> bool | None:
    signs = [match.group(1) == "-" for match in (_INFINITE.match(left), _INFINITE.match(right)) if match]
    if len(signs) == 2:
        return signs[0] == signs[1]
    return False if signs and (number(left) or number(right)) else None


def _words(left: str, right: str) -> bool | None:
    """Words are equal to the same words, to their numeral (three), and to no formula."""
    sides = [untexted(side).strip().rstrip(".") for side in (left, right)]
    words = [side.casefold() if _WORDS.match(side) else None for side in sides]
    if words[0] is not None and words[1] is not None:
        if len(words[0]) < 5 and sorted(words[0]) == sorted(words[1]):
            return True if words[0] == words[1] else None  # abc and cab may be products
        return same_words(words[0], words[1])
    for word, formula in ((words[0], sides[1]), (words[1], sides[0])):
        if word is None:
            continue
        if (value := spoken(word)) is not None and (single := number(formula)) is not None:
            return single.value == value
        if _FORMULA.search(formula) and not _PROSE.search(formula):
            return False
    return None


_NOTHING = re.compile(
    r"^(?:(?:there (?:is|are) )?(?:no|none)(?: (?:real|such|integer))?(?: (?:solutions?|roots?|numbers?|values?))?"
    r"|(?:the )?empty set)\.?$"
)


def _empty_sets(left: str, right: str) -> bool | None:
    """The empty set is itself and "no solution": neither 0 nor the set that has it for its member."""
    if "\\emptyset" not in left and "\\emptyset" not in right:
        return None
    empty = [squeeze(side) == "\\emptyset" for side in (left, right)]
    other = right if empty[0] else left
    if any(empty) and _NOTHING.match(untexted(other).strip().casefold()):
        return True
    return False if any(empty) and (number(other) or other.startswith(("\\{", "(", "["))) else None


def _ellipses(left: str, right: str) -> bool | None:
    """1 + 2 + ... + n is not 1 + 2 + n: math-verify drops the dots."""
    return False if ("\\ldots" in left) != ("\\ldots" in right) else None


_REALS = frozenset(("\\mathbb{R}", "\\mathbbR", "\\R", "\u211d"))


def _reals(left: str, right: str) -> bool | None:
    """All reals, as a letter and as an interval."""
    if "\\infty" not in left and "\\infty" not in right:
        return None
    sides = [squeeze(left), squeeze(right)]
    return True if any(a in _REALS and b == "(-\\infty,\\infty)" for a, b in (sides, sides[::-1])) else None


RULES: tuple[Callable[[str, str], bool | None], ...] = (
    differ, _empty_sets, digits.bases, clocks.times, clocks.ratios, clocks.codes, digits.separated,
    quantities.marks, quantities.words_beside, quantities.units, _names, _infinities, _ellipses, _reals, options,
    _words, digits.decimal_commas,
)  # fmt: skip
