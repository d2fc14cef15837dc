r"""What only names a value (x = 5, x in S), and equations beside a value."""

from __future__ import annotations

import re

from openklear.verifiers.mathematics.expressions import same_value
from openklear.verifiers.mathematics.quantities import measured
from openklear.verifiers.mathematics.rules import NAMED
from openklear.verifiers.mathematics.text import alternatives, depths, split
from openklear.verifiers.mathematics.unknowns import named_tuple
from openklear.verifiers.mathematics.words import without_words

_NAMED_LAST = re.compile(r"^([^=,;]+)=\s*[a-zA-Z]$")
_MEMBER = re.compile(r"^[a-zA-Z]\s*\\in(?![a-zA-Z])\s*")
RELATION = re.compile(r"[=<>]|\\(?:leq|geq|neq|approx|equiv|in|mid|to)(?![a-zA-Z])")
_SYMBOL = re.compile(r"(?<![a-zA-Z\\])[a-zA-Z](?![a-zA-Z])")
_EQUATION = re.compile(r"^[^=]*[^=<>!\\]=[^=]*$")


def same_equation(left: str, right: str) -> bool | None:
    """An equation beside a value: if anything, its last side is meant, but of a reference that relates a sum to it
    (x + 2y = 6 is a line, and 6 is none)."""
    if "=" not in right and _is_sum(left):
        return False
    sides = [side.rpartition("=")[2].strip() if _EQUATION.match(side) else side for side in (left, right)]
    if (sides[0] == left) == (sides[1] == right) or any(RELATION.search(side) for side in sides):
        return None
    equal = same_value(sides[0], sides[1])
    first = (right if sides[0] == left else left).partition("=")[0].strip()
    if equal and not _SYMBOL.search(first) and same_value(first, sides[0]):
        return True  # 6 * 7 = 42
    return False if equal is False else None


def _is_sum(equation: str) -> bool:
    """Whether its first side is a sum with a symbol in it: 2x + y = 3, but not x = 3, f(x + y) = 3 or 2 + 3 = 5."""
    first = equation.partition("=")[0].strip()
    if first == equation or "\\text" in first or not _SYMBOL.search(first):
        return False
    return any(one in "+-" and depth == 0 for one, depth in zip(first[1:], depths(first)[1:], strict=True))


def unnamed(left: str, right: str) -> tuple[str, str]:
    """Both sides without what only names them: x = 5 and x in S beside no other relation, and units."""
    tuples = named_tuple(left), named_tuple(right)
    if tuples[0] and tuples[1]:
        if tuples[0][0] == tuples[1][0]:
            left, right = tuples[0][1], tuples[1][1]
        return left, right
    values = [one[1] if one else _after_name(side) for one, side in zip(tuples, (left, right), strict=True)]
    related = [RELATION.search(side) is not None for side in (left, right)]
    if all(value is not None for value, relation in zip(values, related, strict=True) if relation):
        left, right = values[0] or left, values[1] or right
    left, right = measured(left)[0], measured(right)[0]
    bare = without_words(left), without_words(right)
    if bare != (left, right) and alternatives(left) == [left] and alternatives(right) == [right]:
        return bare
    return left, right  # 5 apples, 3 pears: the words of members are theirs


def _after_name(text: str) -> str | None:
    """The value that a text gives to a name (x = 5, 5 = x, x in S); None where it gives none."""
    for pattern in (_MEMBER, NAMED):
        match = pattern.match(text)
        rest = text[match.end() :].strip() if match else ""
        if rest and not RELATION.search(rest) and (pattern is _MEMBER or split(text) == [text]):
            return rest
    match = _NAMED_LAST.match(text)
    return match.group(1).strip() if match and not RELATION.search(match.group(1)) else None
