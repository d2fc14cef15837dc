"""Numbers with marks between them: times of day, ratios, dates and codes.

Each rule says True, False, or None where it has nothing to say (see `rules`).
"""

from __future__ import annotations

import re
from fractions import Fraction

from openklear.verifiers.mathematics.numbers import number
from openklear.verifiers.mathematics.text import split, untexted

_CLOCK = re.compile(
    r"^(\d{1,2})(?: ?: ?([0-5]\d))?(?: ?: ?([0-5]\d))? ?(o'?clock)? ?\(?(?:([ap])\.? ?m\.?|(noon|midnight))?\)?$"
)
_NOON = re.compile(r"^(?:12 )?(noon|midnight)$")


def time_of_day(text: str) -> tuple[int, bool] | None:
    """Seconds after midnight, and whether the half of the day is known (it is unknown in 3:30); None for no time."""
    plain = untexted(text).strip().casefold()
    if match := _NOON.match(plain):
        return (43_200 if match.group(1) == "noon" else 0), True
    match = _CLOCK.match(plain)
    if match is None or not any(match.groups()[1:]):
        return None
    hour, minute, second = (int(part or 0) for part in match.groups()[:3])
    half = match.group(5) or {"noon": "p", "midnight": "a"}.get(match.group(6))
    if hour > 24 or (half and not 1 <= hour <= 12):
        return None
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    return hour % 24 * 3600 + minute * 60 + second, bool(half) or hour > 12 or hour == 0


def times(left: str, right: str) -> bool | None:
    """12:00 is not 1:00; 3:30 p.m. is 15:30, and not 3:30, which may be in the morning."""
    if ":" not in left + right and "m" not in left + right and "noon" not in left + right:
        return None
    ours, theirs = time_of_day(left), time_of_day(right)
    if ours and theirs:
        return ours == theirs
    time, other = (left, right) if ours else (right, left)
    if "=" in other:
        return None  # it may name a ratio: a:b = 3:4
    return None if not (ours or theirs) or (_ratio(time) and number(other)) or _ratio(other) else False


_TO = re.compile(r"(?<=\d) ?(?:\\text ?\{ ?to ?\}|to) ?(?=\d)")


def _ratio(text: str) -> list[Fraction] | None:
    """The numbers of a ratio (3:4, 3 to 4, 1:2:3); None for anything else."""
    parts = split(_TO.sub(":", text) if "to" in text else text, ":") or []
    numbers = [number(part) for part in parts]
    return [one.value for one in numbers if one] if len(parts) > 1 and all(numbers) else None


def ratios(left: str, right: str) -> bool | None:
    """6:8 is 3:4, which is 3/4, but is not 4:3."""
    if ":" not in left + right and "to" not in left + right:
        return None
    ours, theirs = _ratio(left), _ratio(right)
    if ours and theirs:
        if len(ours) != len(theirs):
            return False
        return all(a * theirs[0] == b * ours[0] for a, b in zip(ours, theirs, strict=True)) and any(ours) == any(theirs)
    ratio, other = (ours, right) if ours else (theirs, left)
    single = number(other)
    if ratio is None or single is None:
        return None
    return len(ratio) == 2 and ratio[1] != 0 and ratio[0] / ratio[1] == single.value


_CODE = re.compile(r"^\d+(?: ?([-/.]) ?\d+){2,}$")
_DATE = re.compile(r"^(?:\d{4}([-/.])\d{1,2}\1\d{1,2}|\d{1,2}([-/.])\d{1,2}\2\d{4})$")


def _code(text: str) -> list[str] | None:
    """The parts of a date, a version or a number of a book: 2024-01-05, 1.2.3; None for anything else."""
    tight = text.replace(" ", "")
    if not _CODE.match(tight):
        return None
    parts = re.split(r"[-/.]", tight)
    coded = _DATE.match(tight) or "." in tight.strip("0123456789-/") or len(parts) > 3
    coded = coded or any(part[0] == "0" and len(part) > 1 for part in parts) or tight.count(".") > 1
    return [part.lstrip("0") for part in parts] if coded else None


def codes(left: str, right: str) -> bool | None:
    """A date or a code is no difference: 2024-01-05 is not 2018."""
    ours, theirs = _code(left), _code(right)
    return None if ours is None and theirs is None else ours == theirs
