r"""Tuples, intervals, sets, unions, matrices and bare lists, compared by their members."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

from openklear.verifiers.mathematics.numbers import GROUPED, number
from openklear.verifiers.mathematics.text import alternatives, split
from openklear.verifiers.mathematics.unknowns import by_names, unpacked

Same = Callable[[str, str], bool | None]
"""Whether two members are one; None where it takes math-verify."""
_MATCHED = 40
"""Members of sets whose every pair is compared; longer ones are compared where all members are plain numbers."""


@dataclass(frozen=True, slots=True)
class Listed:
    """Members, and what holds them: "()", "[)", "{}" and so on, "cup" for a union, "" for a bare list."""

    kind: str
    parts: tuple[str, ...]


_SCALED = re.compile(r"^([-+]|[-+]?\s*(?:\d{1,20}|\\frac\{\d{1,20}\}\{\d{1,20}\}))\s?(\(.*\))$")
"""A multiple of a tuple: 2(1, 3), -(1, 3)."""


def listed(text: str) -> Listed | None:
    """A tuple, interval, set, union or bare list as its members; None for anything else."""
    if "\\begin" in text or GROUPED.match(text):
        return None
    if "\\cup" in text:
        pieces = split(text.replace("\\cup", "\0"), "\0")
        return Listed("cup", tuple(pieces)) if pieces and all(pieces) else None
    offered = unpacked(text) or alternatives(text)
    if not offered:
        return None
    if len(offered) > 1:
        return Listed("", tuple(offered))
    text = offered[0]
    factor = ""
    if text[-1] == ")" and (scaled := _SCALED.match(text)):
        factor, text = scaled.groups()
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
    return Listed(kind, tuple(f"{factor}({part})" for part in parts) if factor else tuple(parts))


_INTERVAL = re.compile(r"^(?:\[.*[)\]]|\(.*\]|\(-\\infty.*\)|\(.*\\infty ?\))$")
"""What is an interval and cannot be a point."""
_UNORDERED = ("", "{}", "cup")


def same_lists(left: Listed, right: Listed, same: Same) -> bool | None:
    """Two lists by their kinds and members, in any order where it means nothing."""
    kinds = {left.kind, right.kind}
    if "=" in left.parts[0] or "=" in right.parts[0]:
        said, answer = by_names(left.parts, right.parts, same, bool(kinds & {"()", "[]"}))
        if said:
            return answer
    if left.kind == right.kind or kinds == {"", "{}"}:
        unordered = left.kind in _UNORDERED
        return _same_members(left, right, same) if unordered else _in_order(left.parts, right.parts, same)
    if kinds == {"", "cup"} and all(map(_INTERVAL.match, (*left.parts, *right.parts))):  # (-oo, 1) or (3, oo)
        return _same_members(left, right, same)
    if "cup" in kinds:
        return None
    if kinds & {"{}", "(]", "[)"}:  # a set is neither a tuple nor an interval, a half-open interval nothing else
        return False
    ordered = _in_order(left.parts, right.parts, same)
    if "" in kinds:  # a tuple without its brackets
        return ordered or (False if _same_members(left, right, same) is False else None)
    return False if ordered is False else None


def _in_order(left: tuple[str, ...], right: tuple[str, ...], same: Same) -> bool | None:
    if len(left) != len(right):
        return False
    answers = {same(a, b) for a, b in zip(left, right, strict=True)}
    return False if False in answers else None if None in answers else True


def _same_members(left: Listed, right: Listed, same: Same) -> bool | None:
    ours = [found for part in left.parts if (found := number(part))]
    theirs = [found for part in right.parts if (found := number(part))]
    if len(ours) + len(theirs) == len(left.parts) + len(right.parts):
        if {entry.value for entry in ours} == {entry.value for entry in theirs}:
            return True
        if not any(entry.decimal for entry in (*ours, *theirs)):
            return False
    if len(left.parts) * len(right.parts) > _MATCHED**2:
        return None
    table = []  # a row for each member of the left side, a column for each of the right
    for member in left.parts:
        table.append([same(member, other) for other in right.parts])
    lines = [*map(tuple, table), *zip(*table, strict=True)]
    if any(set(line) == {False} for line in lines):
        return False  # a member that the other side does not have
    return True if all(True in line for line in lines) else None


MATRIX = re.compile(r"^\\begin\{([pbB]?matrix)\}((?:(?!\\begin).)*)\\end\{\1\}$", re.DOTALL)


def same_matrix(left: str, right: str, same: Same) -> bool | None:
    """Two matrices by their entries; a number is no matrix."""
    matches = MATRIX.match(left), MATRIX.match(right)
    if not (matches[0] and matches[1]):
        return False if number(left) or number(right) else None
    ours, theirs = _rows(matches[0].group(2)), _rows(matches[1].group(2))
    if [len(row) for row in ours] != [len(row) for row in theirs]:
        return False
    return _in_order(tuple(chain(*ours)), tuple(chain(*theirs)), same)


def _rows(matrix: str) -> list[list[str]]:
    """The entries of a matrix, row by row."""
    rows = re.split(r"\\\\(?:\s*\[[^\]]*\])?", matrix.replace("\\hline", ""))
    return [list(map(str.strip, row.split("&"))) for row in rows if row.strip()]
