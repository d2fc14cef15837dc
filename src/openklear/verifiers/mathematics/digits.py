r"""What digits mean: those of another base, side by side, and around a decimal comma.

Each rule says True, False, or None where it has nothing to say (see `rules`).
"""

from __future__ import annotations

import re
from fractions import Fraction

from openklear.verifiers.mathematics.numbers import Number, number, same_number
from openklear.verifiers.mathematics.text import squeeze, untexted

_NAMES = "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_BASE_WORDS = {word: base for base, word in enumerate(_NAMES.split(), 2)}
_BASE_WORDS |= {"binary": 2, "octal": 8, "decimal": 10, "hexadecimal": 16}
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
    plain = " ".join(untexted(text).replace("( ", "(").split())
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
