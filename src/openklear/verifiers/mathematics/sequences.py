r"""Lists with an ellipsis: 1, 2, ..., 10 is 1, 2, 3, ..., 10, and is its ten numbers; 1, 3, 5, ... is not 1, 3, 5."""

from __future__ import annotations

import re
from itertools import pairwise

from openklear.verifiers.mathematics.text import split

DOTS = re.compile(r"\\[cl]?dots[bcmio]?(?![a-zA-Z])|(?<=[,;+ ])(?:\.\.\.|\u2026)")
_HELD = re.compile(r"^(\\\{|\()?(.*?)(?(1)(\\\}|\)))$", re.DOTALL)
_INTEGER = re.compile(r"^[-+]?\d{1,9}$")
_MOST = 300
"""Members up to which a sequence is written out."""


def written_out(text: str) -> str:
    r"""A normalised list with one \ldots and a constant step, written out where it ends, else by its first two."""
    if r"\ldots" not in text:
        return text
    opening, inner, closing = _HELD.match(text).groups(default="")  # type: ignore[union-attr]
    parts = split(inner, ",")
    if not parts or parts.count(r"\ldots") != 1 or (len(parts) < 3 and parts[-1] != r"\ldots"):
        return text
    place = parts.index(r"\ldots")
    return opening + ", ".join(_members(parts[:place], parts[place + 1 :])) + closing


def _members(before: list[str], after: list[str]) -> list[str]:
    """What the list says, where what stands before the dots rises or falls by a constant step."""
    whole = [*before, r"\ldots", *after]
    if not all(map(_INTEGER.match, before)) or not before:
        return whole
    first = [int(part) for part in before]
    steps = {b - a for a, b in pairwise(first)}
    if len(steps) > 1:
        return whole
    if not after or not all(map(_INTEGER.match, after)):
        return [*before[:2], r"\ldots", *after]
    last = [int(part) for part in after]
    step = steps.pop() if steps else 1
    count, off = divmod(last[0] - first[0], step) if step else (0, 1)
    if off or not 0 < count <= _MOST or last != [last[0] + i * step for i in range(len(last))]:
        return whole
    return [str(first[0] + i * step) for i in range(count + len(last))]
