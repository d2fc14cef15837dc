r"""Systems in braces (cases, arrays, aligned lines) as bare lists, and functions given by cases."""

from __future__ import annotations

import re

from openklear.verifiers.mathematics.inequalities import one_way
from openklear.verifiers.mathematics.text import TEXT, squeeze

_BLOCK = re.compile(
    r"^([a-zA-Z](?: ?\( ?[a-zA-Z] ?\))? ?= ?)?(\\\{ ?)?"
    r"\\begin ?\{(cases|dcases|array|matrix|aligned|align\*?|gathered|split)\} ?(?:\{[lcr| ]{1,8}\})?"
    r"((?:(?!\\begin).)*)\\end ?\{\3\}$",
    re.DOTALL,
)
_ROW = re.compile(r"\\\\(?: ?\[[^\]]{0,12}\])?")
_LINES = frozenset(("aligned", "align", "align*", "gathered", "split"))
"""What sets lines below one another, where & marks a place to align."""
_RELATION = re.compile(r"[=<>]|\\(?:leq|geq|neq)(?![a-zA-Z])")
_LEAD = re.compile(r"(?<![a-zA-Z\\])(?:if|for|when|where|is|and)(?![a-zA-Z])")
_OTHERWISE = re.compile(r"^(?:otherwise|else)$", re.IGNORECASE)
_MOST_ROWS = 20


def as_list(text: str) -> str:
    r"""\begin{cases} x=1 \\ y=2 \end{cases} as x=1, y=2; anything else as it stands."""
    match = _BLOCK.match(text)
    if match is None or match.group(1):
        return text
    rows = _rows(match.group(4).replace("&", " ") if match.group(3) in _LINES else match.group(4))
    if not 2 <= len(rows) <= _MOST_ROWS or any(len(row) > 1 or row[0].startswith("=") for row in rows):
        return text
    if match.group(3) in ("array", "matrix") and not all(_RELATION.search(row[0]) for row in rows):
        return text  # a matrix
    return ", ".join(row[0] for row in rows)


def by_cases(left: str, right: str) -> tuple[str, str]:
    """Two functions given by cases as tuples of their values, in the order of the first one's conditions.

    As they stand where one is none, or the conditions are not the same; a single "otherwise" is what is left.
    """
    ours, theirs = _cases(left), _cases(right)
    if ours is None or theirs is None or len(ours[1]) != len(theirs[1]) or len({ours[0], theirs[0]} - {""}) > 1:
        return left, right
    values = []
    for condition in ours[1]:
        found = next((other for other in theirs[1] if _same_condition(condition, other)), None)
        values.append(theirs[1].pop(found) if found is not None else "")
    last = list(theirs[1].values())
    if len(last) != values.count("") or len(last) > 1:
        return left, right
    values = [value or last[0] for value in values]
    return f"({', '.join([*ours[1].values(), '0'])})", f"({', '.join([*values, '0'])})"


def _cases(text: str) -> tuple[str, dict[str, str]] | None:
    """The name of a function, "" where it has none, and its values by their conditions; None for anything else."""
    match = _BLOCK.match(text)
    if match is None or match.group(3) in _LINES:
        return None
    rows = _rows(match.group(4))
    if not 2 <= len(rows) <= _MOST_ROWS or any(len(row) != 2 for row in rows):
        return None
    found = {_LEAD.sub(" ", TEXT.sub(r" \1 ", condition)).strip(" ,."): value for value, condition in rows}
    return (squeeze(match.group(1) or ""), found) if len(found) == len(rows) else None


def _same_condition(first: str, second: str) -> bool:
    if _OTHERWISE.match(first) or _OTHERWISE.match(second):
        return bool(_OTHERWISE.match(first) and _OTHERWISE.match(second))
    ours, theirs = one_way(first, second)
    return squeeze(ours) == squeeze(theirs)


def _rows(body: str) -> list[list[str]]:
    """The cells of every row, without empty ones and last commas."""
    rows = []
    for row in _ROW.split(body):
        cells = [cell.strip().rstrip(",.;").strip() for cell in row.split("&")]
        if any(cells):
            rows.append([cell for cell in cells if cell])
    return rows
