r"""What can be said of two answers exactly and at once, in microseconds and without math-verify.

Numbers are compared as fractions, expressions by their values (which can only tell them apart, unless both are
exact), tuples, intervals, sets, matrices and bare lists by their members. `decide` says True or False where it is sure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import chain

from openklear.verifiers.mathematics.numbers import GROUPED, Number, is_percent_of, number, same_number
from openklear.verifiers.mathematics.parser import parse
from openklear.verifiers.mathematics.rules import NAMED, RULES
from openklear.verifiers.mathematics.text import alternatives, measured, normalise, split, squeeze
from openklear.verifiers.mathematics.values import Approximate, TooLarge, Unknown, Value, approximate

_MATCHED = 40
"""Members of sets whose every pair is compared; longer ones are compared where all members are plain numbers."""

_DECIMAL = re.compile(r"\d\.\d|\.\d")


@lru_cache(maxsize=512)
def _value(text: str) -> Value | None:
    try:
        return parse(text)
    except (Unknown, RecursionError):
        return None


def _same_value(left: str, right: str) -> bool | None:
    """Tells expressions apart. TooLarge where the left one, the reference, is beyond the limits."""
    try:
        second = _value(right)
    except TooLarge:
        return False
    first = _value(left)
    if first is None or second is None:
        return None
    unit = _unit_letter(left, right)
    if unit is not None:
        return None if unit else False
    decimal = _DECIMAL.search(left) is not None or _DECIMAL.search(right) is not None
    if isinstance(first, Fraction) and isinstance(second, Fraction):
        if _SYMBOLIC.search(left) or _SYMBOLIC.search(right):
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


def _close(left: Approximate, right: Approximate, decimal: bool) -> bool:
    scale, apart = max(abs(left.value), abs(right.value)), abs(left.value - right.value)
    slack = 64 * (left.error + right.error)
    return apart <= 1e-6 + slack and apart <= 1e-3 * scale + slack if decimal else apart <= 1e-6 * scale + slack


_UNIT_LETTER = re.compile(r"^(.*\d)\s?[msghlLNJWVAKCF]$")


def _unit_letter(left: str, right: str) -> bool | None:
    """5 m beside 5: a metre, not a symbol. Whether the numbers are the same; None where this is not the case."""
    for with_unit, other in ((left, right), (right, left)):
        match = _UNIT_LETTER.match(with_unit)
        if match:
            amount, single = number(match.group(1)), number(other)
            if amount and single:
                return same_number(amount, single) is not False
    return None


@dataclass(slots=True)
class Budget:
    """Characters that one comparison may still look at: every member of a set is compared with every other."""

    left: int = 200_000

    def spend(self, characters: int) -> None:
        """Unknown where none are left."""
        self.left -= characters + 20
        if self.left < 0:
            raise Unknown("too much to compare")


@dataclass(frozen=True, slots=True)
class Listed:
    """Members, and what holds them: "()", "[)", "{}" and so on, "cup" for a union, "" for a bare list."""

    kind: str
    parts: tuple[str, ...]


def listed(text: str) -> Listed | None:
    """A tuple, interval, set, union or bare list as its members; None for anything else."""
    if "\\begin" in text or GROUPED.match(text):
        return None
    if "\\cup" in text:
        pieces = split(text.replace("\\cup", "\0"), "\0")
        return Listed("cup", tuple(pieces)) if pieces and all(pieces) else None
    offered = alternatives(text)
    if not offered:
        return None
    if len(offered) > 1:
        return Listed("", tuple(offered))
    text = offered[0]
    if text.startswith("\\{") and text.endswith("\\}"):
        kind, inner = "{}", text[2:-2]
    elif text[0] in "([" and text[-1] in ")]":
        kind, inner = text[0] + text[-1], text[1:-1]
    elif text[0] == "{" and text[-1] == "}" and len(text) > 2:
        kind, inner = "{}", text[1:-1]
    else:
        return None
    parts = alternatives(inner) if kind == "{}" else split(inner)
    if not parts or (len(parts) == 1 and kind != "{}") or not all(parts):
        return None
    return Listed(kind, tuple(parts))


_UNORDERED = ("", "{}", "cup")


def _same_lists(left: Listed, right: Listed, budget: Budget) -> bool | None:
    kinds = {left.kind, right.kind}
    if left.kind == right.kind or kinds == {"", "{}"}:
        if left.kind in _UNORDERED and _named(left) == _named(right):
            return _same_members(left, right, budget)
        ordered = _in_order(left.parts, right.parts, budget)
        return ordered or (None if left.kind in _UNORDERED else ordered)  # x=1, y=2 beside 1, 2
    if "cup" in kinds:
        return None
    if kinds & {"{}", "(]", "[)"}:  # a set is neither a tuple nor an interval, a half-open interval nothing else
        return False
    ordered = _in_order(left.parts, right.parts, budget)
    if "" in kinds:  # a tuple without its brackets
        return ordered or (False if _same_members(left, right, budget) is False else None)
    return False if ordered is False else None


def _named(found: Listed) -> bool:
    """Whether the members name different unknowns, so that their order means something where the names are missing."""
    names = [NAMED.match(part) for part in found.parts]
    return all(names) and len({match.group(1) for match in names if match}) > 1


def _in_order(left: tuple[str, ...], right: tuple[str, ...], budget: Budget) -> bool | None:
    if len(left) != len(right):
        return False
    answers = {_decide(a, b, budget) for a, b in zip(left, right, strict=True)}
    return False if False in answers else None if None in answers else True


def _same_members(left: Listed, right: Listed, budget: Budget) -> bool | None:
    ours, theirs = _numbers(left), _numbers(right)
    if ours is not None and theirs is not None:
        if {entry.value for entry in ours} == {entry.value for entry in theirs}:
            return True
        if not any(entry.decimal for entry in (*ours, *theirs)):
            return False
    if len(left.parts) * len(right.parts) > _MATCHED**2:
        return None
    table = []  # a row for each member of the left side, a column for each of the right
    for member in left.parts:
        table.append([_decide(member, other, budget) for other in right.parts])
    lines = [*map(tuple, table), *zip(*table, strict=True)]
    if any(set(line) == {False} for line in lines):
        return False  # a member that the other side does not have
    return True if all(True in line for line in lines) else None


def _numbers(found: Listed) -> list[Number] | None:
    """The members, where all are plain numbers."""
    read = [number(part) for part in found.parts]
    known = [entry for entry in read if entry is not None]
    return known if len(known) == len(read) else None


_MATRIX = re.compile(r"^\\begin\{([pbB]?matrix)\}((?:(?!\\begin).)*)\\end\{\1\}$", re.DOTALL)


def _same_matrix(left: str, right: str, budget: Budget) -> bool | None:
    matches = _MATRIX.match(left), _MATRIX.match(right)
    if not (matches[0] and matches[1]):
        return False if number(left) or number(right) else None
    ours, theirs = _rows(matches[0].group(2)), _rows(matches[1].group(2))
    if [len(row) for row in ours] != [len(row) for row in theirs]:
        return False
    return _in_order(tuple(chain(*ours)), tuple(chain(*theirs)), budget)


def _rows(matrix: str) -> list[list[str]]:
    """The entries of a matrix, row by row."""
    rows = []
    for row in re.split(r"\\\\(?:\s*\[[^\]]*\])?", matrix.replace("\\hline", "")):
        if row.strip():
            rows.append([entry.strip() for entry in row.split("&")])
    return rows


_DEGREES = re.compile(r"\\circ|\\degree|°")
_NAMED_LAST = re.compile(r"^([^=,;]+)=\s*[a-zA-Z]$")
_MEMBER = re.compile(r"^[a-zA-Z]\s*\\in(?![a-zA-Z])\s*")
_RELATION = re.compile(r"[=<>]|\\(?:leq|geq|neq|approx|equiv|in|mid|to)(?![a-zA-Z])")
_EQUATION = re.compile(r"^[^=]*[^=<>!\\]=[^=]*$")


def decide(reference: str, answer: str) -> bool | None:
    """What can be said exactly and at once; None where it takes math-verify.

    TooLarge where a value of the reference is beyond the limits, unless the answer is spelt the same.
    """
    left, right = normalise(reference), normalise(answer)
    if not left or not right:
        return False
    if is_percent_of(left, right) and not _DEGREES.search(reference):
        return True
    if "boxed" in left or "boxed" in right:  # what is no box to us would be one to math-verify
        return squeeze(left) == squeeze(right)
    try:
        return _decide(left, right, Budget())
    except (Unknown, RecursionError):
        return None


def _decide(left: str, right: str, budget: Budget) -> bool | None:
    """decide() of normalised texts."""
    budget.spend(len(left) + len(right))
    values = number(left), number(right)
    if values[0] and values[1]:
        return same_number(values[0], values[1])
    if left == right or squeeze(left) == squeeze(right):
        return True
    for rule in RULES:
        answer = rule(left, right)
        if answer is not None:
            return answer
    stripped = _unnamed(left, right)
    if stripped != (left, right):
        return _decide(*stripped, budget)
    lists = listed(left), listed(right)
    if lists[0] and lists[1]:
        return _same_lists(lists[0], lists[1], budget)
    if "\\mathbb" in left or "\\mathbb" in right:
        return None
    if lists[0]:
        return _decide(lists[0].parts[0], right, budget) if len(lists[0].parts) == 1 else _offers_more(lists[0], right)
    if lists[1]:
        return _decide(left, lists[1].parts[0], budget) if len(lists[1].parts) == 1 else _offers_more(lists[1], left)
    if _RELATION.search(left) or _RELATION.search(right):
        return _equation(left, right)
    if _MATRIX.match(left) or _MATRIX.match(right):
        return _same_matrix(left, right, budget)
    return _same_value(left, right)


def _equation(left: str, right: str) -> bool | None:
    """An equation beside a value: if anything, its last side is meant."""
    sides = [side.rpartition("=")[2].strip() if _EQUATION.match(side) else side for side in (left, right)]
    if (sides[0] == left) == (sides[1] == right) or any(_RELATION.search(side) for side in sides):
        return None
    return False if _same_value(sides[0], sides[1]) is False else None


def _offers_more(found: Listed, other: str) -> bool | None:
    """Several members beside what is no list: alternatives are not a single answer."""
    if _RELATION.search(other) or "\\begin" in other or "\\pm" in other or "\\mp" in other:
        return None
    if found.kind in ("", "{}"):
        return False
    try:
        return False if _value(other) is not None else None
    except TooLarge:
        return None


def _unnamed(left: str, right: str) -> tuple[str, str]:
    """Both sides without what only names them: x = 5 and x in S beside no other relation, and units."""
    values = [_after_name(side) for side in (left, right)]
    related = [_RELATION.search(side) is not None for side in (left, right)]
    if all(value is not None for value, relation in zip(values, related, strict=True) if relation):
        left, right = values[0] or left, values[1] or right
    return measured(left)[0], measured(right)[0]


def _after_name(text: str) -> str | None:
    """The value that a text gives to a name (x = 5, 5 = x, x in S); None where it gives none."""
    for pattern in (_MEMBER, NAMED):
        match = pattern.match(text)
        rest = text[match.end() :].strip() if match else ""
        if rest and not _RELATION.search(rest) and (pattern is _MEMBER or split(text) == [text]):
            return rest
    match = _NAMED_LAST.match(text)
    return match.group(1).strip() if match and not _RELATION.search(match.group(1)) else None
