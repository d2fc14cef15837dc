r"""Quantities whose writing means more than their digits: units, words, bases, times of day, ratios, dates, marks.

Each rule says True, False, or None where it has nothing to say (see `rules`).
"""

from __future__ import annotations

import re
from fractions import Fraction
from operator import itemgetter

from openklear.verifiers.mathematics.numbers import Number, number, same_number
from openklear.verifiers.mathematics.text import TEXT, alternatives, split, squeeze
from openklear.verifiers.mathematics.words import (
    UNIT_NAMES,
    UNITS,
    bare_word,
    canonical,
    in_other_places,
    say_different,
    words,
)

_UNIT_TEXT = re.compile(
    r"^(.*[\d})%])"
    r"\s*(?:\\(?:text|textbf|textrm|mathrm|mbox|rm)\s*\{\s*([^{}\d]+?)\s*\}"
    r"|\s([a-zA-Z]{2,})((?:/| )[a-zA-Z]+(?: [a-zA-Z]+)*)?|(mm|cm|km|kg|ml|mph))"
    r"(?:\s*\^\s*\{?\s*([23])\s*\}?)?$"
)
_POWERS = (("square ", "2"), ("sq. ", "2"), ("sq ", "2"), ("cubic ", "3"))
_PER = re.compile(r" per |(?<=[a-z])/(?=[a-z])")


def measured(text: str) -> tuple[str, str]:
    """An amount and its unit, with its power (cm2): "" where there is none, "?" where it is no known unit (apples)."""
    match = _UNIT_TEXT.match(text)
    if match is None:
        return text, ""
    amount, within, first, more, letters, power = match.groups(default="")
    if (first and not bare_word(first, counted=True)) or words(amount)[0]:
        return text, ""  # a product of symbols; one of several measures (2 ft 5 in)
    unit = (within or first + more or letters).strip().casefold().rstrip(".")
    if unit in ("or", "and") or unit.startswith(("or ", "and ", "if ")) or " or " in unit or " and " in unit:
        return text, ""
    for prefix, number_of in _POWERS:
        if unit.startswith(prefix):
            unit, power = unit.removeprefix(prefix), number_of
    names = [canonical(part) for part in _PER.split(unit)]
    return amount.strip(), ("/".join(names) if UNIT_NAMES.issuperset(names) else "?") + power


def units(left: str, right: str) -> bool | None:
    """5 cm is not 5 km; a unit beside none, or beside a word that measures nothing, says nothing."""
    ours, theirs = measured(left)[1], measured(right)[1]
    if not ours or not theirs:
        ours, theirs = ours or _unit_letter(theirs, left), theirs or _unit_letter(ours, right)
    if not ours or not theirs or ours == theirs:
        return None
    if "?" in (ours[0], theirs[0]):
        return False if ours[-1].isdigit() and theirs[-1].isdigit() and ours[-1] != theirs[-1] else None
    return False


_LETTER = re.compile(r"\d ?([a-zA-Z])$")


def _unit_letter(name: str, other: str) -> str:
    """The unit that a letter behind a number is beside a measured amount: 5 m beside 5 cm."""
    match = _LETTER.search(other) if name and name[0] != "?" else None
    return UNITS.get(match.group(1).casefold(), "") if match else ""


def words_beside(left: str, right: str) -> bool | None:
    """n even is not n odd, 5 apples are not 5 pears, and 3 (even), 5 (odd) is not 5 (even), 3 (odd)."""
    if say_different(left, right):
        return False
    if in_other_places(left, right) and alternatives(left) == [left] and alternatives(right) == [right]:
        return False
    return None


_BASE_WORDS = {
    word: base
    for base, word in enumerate(
        ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "sixteen"), 2
    )
} | {"binary": 2, "octal": 8, "decimal": 10, "hexadecimal": 16}
_SUBSCRIBED = re.compile(r"^([-+]?) ?\(?([-+]?) ?\{?([0-9A-Z.]+|[0-9a-f]+)\}?\)? ?_ ?\{? ?\(?(?:base )?(\w+) ?\)?\}?$")
_IN_BASE = re.compile(
    r"^([-+]?) ?\(?([-+]?) ?([0-9A-Z.]+)\)? ?,? ?(?:in )?\(?(?:base[ -]{1,2}(\w+)|(binary|octal|hexadecimal))\)?$"
)
_PREFIXED = re.compile(r"^([-+]?)()0([box])([0-9a-fA-F]+)$")
_PREFIXES = {"b": "2", "o": "8", "x": "16"}
_PART_WITH_BASE = re.compile(r"(\d+)\)?\}? ?_ ?\{? ?(\w+)")


def _based(text: str) -> tuple[str, str, int] | None:
    """Sign, digits and base of a number that names its base; None for anything else."""
    if "_" not in text and "base" not in text and text[:1] not in ("0", "-", "+") and "ary" not in text:
        return None
    plain = " ".join(TEXT.sub(r"\1", text).replace("( ", "(").split())
    if match := _PREFIXED.match(plain):
        outer, inner, letter, digits = match.groups()
        base_name = _PREFIXES[letter]
    elif match := _SUBSCRIBED.match(plain) or _IN_BASE.match(plain):
        outer, inner, digits, *names = match.groups(default="")
        base_name = "".join(names)
    else:
        return None
    base = int(base_name) if base_name.isdecimal() and len(base_name) < 3 else _BASE_WORDS.get(base_name.casefold(), 0)
    if not 2 <= base <= 36 or (not any(digit.isdigit() for digit in digits) and len(digits) < 2):
        return None
    whole = digits.upper().lstrip("0") or "0"
    return ("-" if (outer + inner).count("-") == 1 and whole != "0" else ""), whole, base


def bases(left: str, right: str) -> bool | None:
    """10_2 is 10_2 alone: a number that names its base is not compared with one that does not, but for base ten."""
    ours, theirs = _based(left), _based(right)
    if ours and theirs:
        return ours == theirs
    for based, other in ((ours, right), (theirs, left)):
        if based is None:
            continue
        if based[2] == 10 and (plain := number(based[0] + based[1])) and (single := number(other)):
            return same_number(plain, single)
        return None if "=" in other or "\\text" in other or _based(_first_word_off(other)) else False
    if "_" in left or "_" in right:
        parts = [sorted(_PART_WITH_BASE.findall(side)) for side in (left, right)]
        return False if parts[0] != parts[1] else None
    return None


def _first_word_off(text: str) -> str:
    """Without a noun behind it: 37_8 apples."""
    return text.partition(" ")[0]


_CLOCK = re.compile(
    r"^(\d{1,2})(?: ?: ?([0-5]\d))?(?: ?: ?([0-5]\d))? ?(o'?clock)? ?\(?(?:([ap])\.? ?m\.?|(noon|midnight))?\)?$"
)
_NOON = re.compile(r"^(?:12 )?(noon|midnight)$")


def time_of_day(text: str) -> tuple[int, bool] | None:
    """Seconds after midnight, and whether the half of the day is known (it is unknown in 3:30); None for no time."""
    plain = TEXT.sub(r"\1", text).strip().casefold()
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


_MARKED = re.compile(r"(?<![a-zA-Z])([a-zA-Z])\s?('+)|(?<=\d)\s?(['\"]+)")
_FEET_AND_INCHES = re.compile(r"\d ?['\"]+ ?\d")


def marks(left: str, right: str) -> bool | None:
    """f'(x) is not f(x), 5' is not 5'', and 5'6'' is not 56; 5' beside 5 has a unit."""
    if "'" not in left + right and '"' not in left + right and "\\prime" not in left + right:
        return None
    sides = [side.replace("^{\\prime}", "'").replace("^\\prime", "'") for side in (left, right)]
    if sides[0] == sides[1]:
        return True
    if any(map(_FEET_AND_INCHES.search, sides)):
        return False
    if ("=" in left) != ("=" in right):
        return None  # the name of a function may be missing
    ours, theirs = (sorted(_MARKED.findall(side)) for side in sides)
    symbols = [list(filter(itemgetter(0), found)) for found in (ours, theirs)]
    return False if symbols[0] != symbols[1] or (ours and theirs and ours != theirs) else None


_SEPARATED = re.compile(r"(?<![_^\d.])\d[\d.]* \.?\d")


def separated(left: str, right: str) -> bool | None:
    """12 34 is not 1234: numbers side by side equal themselves alone (mixed and grouped ones are joined before)."""
    if not (_SEPARATED.search(left) or _SEPARATED.search(right)):
        return None
    return squeeze(left) == squeeze(right)


_COMMA = re.compile(r"^(?:[a-zA-Z] ?= ?)?([-+]?\d+),(\d+)(%?)$")
_POINTS = re.compile(r"^[-+]?[1-9]\d{0,2}(?:\.\d{3})+(?=,\d+$)")


def decimal_commas(left: str, right: str) -> bool | None:
    """1000,99 answers 1000.99, for as a list it could not be right; 1,0 beside 1 is two answers.

    The reference decides: 12,9 is a list there, as contests write it, and 1,22 a decimal where 1.22 answers it.
    """
    single = number(left)
    if single is None:
        listed = _COMMA.match(left) if number(right) else None
        return None if listed is None else len(listed.group(2)) > 1 and left.replace(",", ".") == right
    if points := _POINTS.match(right):  # 1.234,56
        right = points.group().replace(".", "") + right[points.end() :]
    if (match := _COMMA.match(right)) is None:
        return None
    whole, part, percent = match.groups()
    if f"{whole}.{part}{percent}" == left:
        return True
    if part.endswith("0") and single.value in (int(whole), int(part)):
        return False
    value = Fraction(f"{whole}.{part}") / (100 if percent else 1)
    return same_number(Number(value, True), single)
