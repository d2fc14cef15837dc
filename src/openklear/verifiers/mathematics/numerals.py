"""Numerals in English words: twenty-one, one hundred and five, minus three, two thirds, two and a half."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import chain, zip_longest

_ONES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_OF_ONE = "third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
_SMALL = {word: value for value, word in enumerate(_ONES.split())} | {"a": 1, "an": 1, "fourty": 40}
_SMALL |= {word: 10 * place for place, word in enumerate(_TENS.split(), 2)}
_GROUPS = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {"half": 2, "halves": 2, "quarter": 4, "quarters": 4}
for _value, _name in enumerate(_OF_ONE.split(), 3):
    _PARTS |= {_name: _value, _name + "s": _value}
_PARTS |= {_name: _value, _name + "s": _value}
_PARTS |= {
    "hundredth": 100,
    "hundredths": 100,
    "thousandth": 1000,
    "thousandths": 1000,
    "twentieth": 20,
    "twentieths": 20,
}
_KNOWN = frozenset((*_SMALL, *_GROUPS, *_PARTS, "hundred", "dozen", "and", "point", "minus", "negative"))
_LONGEST = 160


def _below_hundred(words: list[str]) -> int | None:
    """Twenty one, fourteen; takes what it reads from the front of the words."""
    if not words or words[0] not in _SMALL:
        return None
    value = _SMALL[words.pop(0)]
    if value >= 20 and words and 0 < _SMALL.get(words[0], 0) < 10 and words[0] not in ("a", "an"):
        value += _SMALL[words.pop(0)]
    return value


def _below_thousand(words: list[str]) -> int | None:
    """Two hundred and five, twelve hundred."""
    value = 1 if words[:1] == ["hundred"] else _below_hundred(words)
    if value and words[:1] == ["hundred"]:
        words.pop(0)
        value *= 100
        linked = words[:1] == ["and"]
        rest = words[linked:]
        more = _below_hundred(rest)
        if more and words[linked] not in ("a", "an"):
            value += more
            words[:] = rest
    return value


def _whole(words: list[str]) -> int | None:
    """A whole number at the front of the words, by falling thousands."""
    total, below = 0, 10**15
    while True:
        rest = words[1:] if total and words[:1] == ["and"] else list(words)
        value = 1 if rest[:1] and rest[0] in _GROUPS and not total else _below_thousand(rest)
        if value is None or (total and not value):
            return total if below < 10**15 else None
        group = _GROUPS[rest.pop(0)] if rest and rest[0] in _GROUPS else 1
        if group >= below:
            return None
        if total and rest[:1] and rest[0] in _PARTS:  # one thousand and one half
            return total
        words[:] = rest
        total, below = total + value * group, group
        if group == 1:
            return total


def spoken(text: str) -> Fraction | None:
    """The number that a text says in words and says nothing else; None for any other text."""
    words = text.casefold().replace("-", " ").split()
    if len(text) > _LONGEST or not words or not _KNOWN.issuperset(words):
        return None
    sign = -1 if words[0] in ("minus", "negative") else 1
    value = _amount(words[1:] if sign < 0 else words)
    return None if value is None else sign * value


def _amount(words: list[str]) -> Fraction | None:
    if words[:1] == ["half"] and len(words) == 1:
        return Fraction(1, 2)
    said = list(words)
    whole = _whole(words)
    if whole is None or said in (["a"], ["an"]):
        return None
    if words == ["dozen"]:
        return Fraction(12 * whole)
    if not words:
        return Fraction(whole)
    if words[0] == "point":
        scale = _GROUPS.get(words[-1], 1)
        digits = [_SMALL.get(word, 10) for word in words[1 : -1 if scale > 1 else None]]
        plain = digits and max(digits) < 10 and "a" not in words
        return scale * Fraction(f"{whole}.{''.join(map(str, digits))}") if plain else None
    if words[0] == "and":
        part = _amount(words[1:]) if words[-1] in _PARTS else None
        return whole + part if part is not None and 0 < part < 1 else None
    of_parts = len(words) == 1 and words[0] in _PARTS and whole < 100 and "and" not in said
    return Fraction(whole, _PARTS[words[0]]) if of_parts else None  # one hundred and one half may be 100.5


_FIRST = re.compile(r"(?:\\text\s?\{\s?)?([a-zA-Z]+)")
_BOTH = re.compile(r"([a-zA-Z][a-zA-Z -]{2,160}?) ?\((\d{1,18})\)$")
_JOINTS = re.compile(r"( and | or )")


def in_digits(text: str) -> str:
    r"""A text that is a numeral in words, alone or before one word (twenty dollars), with that numeral in digits."""
    match = _FIRST.match(text)
    if match is None or match.group(1).casefold() not in _KNOWN:
        return text
    said = text[text.index("{") + 1 : -1] if text[0] == "\\" and text[-1] == "}" else text
    if text[-1] == ")" and (both := _BOTH.match(text)) and spoken(both.group(1)) == int(both.group(2)):
        return both.group(2)
    if len(said) > _LONGEST or not said.replace(" ", "").replace("-", "").isalpha():
        return text
    value = spoken(said)
    if value is not None:
        return _written(value)
    if " and " in said or " or " in said:
        return _joined(said) or text
    return _before_a_noun(said.strip()) or text


def _before_a_noun(said: str) -> str:
    """A numeral and one word behind it, in digits; "" where it is something else."""
    head, _, tail = said.rpartition(" ")
    value = spoken(head.removesuffix(" per"))
    if value is None or tail in _KNOWN or tail in ("or", "to", "of", "by"):
        return ""
    per_cent = tail == "percent" or (tail == "cent" and head.endswith(" per"))
    return _written(value) + ("%" if per_cent else f" {tail}")


def _joined(said: str) -> str:
    """Numerals with "and" or "or" between them, in digits; "" where they are not."""
    parts = _JOINTS.split(said.strip())
    values = [spoken(part) for part in parts[::2]]
    written = [_written(value) for value in values if value is not None]
    return "".join(chain(*zip_longest(written, parts[1::2], fillvalue=""))) if len(written) == len(values) else ""


def _written(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value.numerator)
    sign = "-" if value < 0 else ""
    return rf"{sign}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"
