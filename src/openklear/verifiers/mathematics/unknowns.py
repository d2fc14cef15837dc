"""Lists that say which unknown has which value: x = 1, y = 2, or (x, y) = (1, 2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from openklear.verifiers.mathematics.text import split, squeeze

_NAME = (
    r"(?:\\?[a-zA-Z]+(?: ?_ ?(?:\w|\{\w+\}))?'*(?: ?\( ?\w+(?: ?, ?\w+)* ?\))?"
    r"|\\(?:text|mathrm|mbox) ?\{[^{}=]{1,60}\})"
)
_NAMED = re.compile(rf"^({_NAME}) ?=(?!=) ?(.+)$")
_TUPLE = re.compile(rf"^\( ?({_NAME}(?: ?, ?{_NAME})+) ?\) ?=(?!=) ?(.+)$")
_COORDINATES = frozenset("xyzw")
_ROOT = re.compile(r"^x_\d$")


def named_tuple(text: str) -> tuple[list[str], str] | None:
    """The names and the value of (x, y) = ...; None for anything else."""
    if "=" not in text or text[:1] != "(" or not (match := _TUPLE.match(text)):
        return None
    return [squeeze(name) for name in split(match.group(1)) or []], match.group(2).strip()


def unpacked(text: str) -> list[str] | None:
    """(x, y) = (1, 2) as x=1 and y=2; None for anything else."""
    if (found := named_tuple(text)) is None or found[1][:1] != "(" or found[1][-1:] != ")":
        return None
    values = split(found[1][1:-1]) or []
    return [f"{n}={v}" for n, v in zip(found[0], values, strict=True)] if len(values) == len(found[0]) else None


def unknowns(parts: Sequence[str]) -> dict[str, str] | None:
    """The value of each unknown, in order of appearance; None unless all members name one, and each another one."""
    found = [_NAMED.match(part) for part in parts]
    values = {squeeze(match.group(1)): match.group(2).strip() for match in found if match}
    return values if len(values) == len(parts) > 1 else None


def by_names(
    left: Sequence[str], right: Sequence[str], same: Callable[[str, str], bool | None], ordered: bool
) -> tuple[bool, bool | None]:
    """Whether either side says which unknown has which value, and if so whether the two sides agree.

    Beside values without names the order counts: that of appearance, and (x, y, z) for coordinates. The roots x_1 and
    x_2 of one unknown are in no order, unless the other side is in brackets (`ordered`).
    """
    ours, theirs = unknowns(left), unknowns(right)
    if ours is None and theirs is None:
        return False, None
    if len(left) != len(right):
        return True, False
    if ours and theirs:
        if ours.keys() != theirs.keys():
            return True, False
        pairs = [(ours[name], theirs[name]) for name in ours]
    else:
        names = ours or theirs or {}
        if all(map(_ROOT.match, names)) and not ordered:
            return False, None
        values = [names[name] for name in (sorted(names, key="xyzw".index) if names.keys() <= _COORDINATES else names)]
        pairs = list(zip(values, right, strict=True)) if ours else list(zip(left, values, strict=True))
    answers = {same(a, b) for a, b in pairs}
    return True, False if False in answers else None if None in answers else True
