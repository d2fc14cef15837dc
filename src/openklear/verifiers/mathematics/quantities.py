r"""What stands beside a value and belongs to it: units, words, marks, and signs that no normalised text has.

Each rule says True, False, or None where it has nothing to say (see `rules`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from operator import itemgetter

from openklear.verifiers.mathematics.text import alternatives
from openklear.verifiers.mathematics.words import (
    UNIT_NAMES,
    UNITS,
    bare_word,
    canonical,
    in_other_places,
    may_have_words,
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


@lru_cache(maxsize=1024)
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
        powers = [unit[-1] if unit[-1].isdigit() else "" for unit in (ours, theirs)]
        plain = "?" in (ours, theirs)  # apples: whatever measures them is not said
        return False if powers[0] != powers[1] and not plain else None
    return False


_LETTER = re.compile(r"\d ?([a-zA-Z])$")


def _unit_letter(name: str, other: str) -> str:
    """The unit that a letter behind a number is beside a measured amount: 5 m beside 5 cm."""
    match = _LETTER.search(other) if name and name[0] != "?" else None
    return UNITS.get(match.group(1).casefold(), "") if match else ""


def _only_a_unit(wordless: str, other: str) -> bool:
    """Whether all words of two texts are one known unit: most answers in words, told apart in less time."""
    return not may_have_words(wordless) and measured(other)[1][:1] not in ("", "?")


def words_beside(left: str, right: str) -> bool | None:
    """n even is not n odd, 5 apples are not 5 pears, and 3 (even), 5 (odd) is not 5 (even), 3 (odd)."""
    if _only_a_unit(left, right) or _only_a_unit(right, left):
        return None
    if say_different(left, right):
        return False
    if in_other_places(left, right) and alternatives(left) == [left] and alternatives(right) == [right]:
        return False
    return None


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


_SIGNS = {
    "degree": re.compile(r"\\circ|\\degree|°"),
    "dollar": re.compile(r"\\\$"),
    "pound": re.compile("£"),
    "euro": re.compile("€"),
}
_MINUTES = re.compile(r"\d ?['\"]")


def signs_differ(reference: str, answer: str, left: str, right: str) -> bool:
    r"""Whether a sign that the normalised `left` and `right` lost tells them apart: 90^\circ is neither 90 cm nor 90
    radians nor 90', and \$5 is neither 5 cents nor 5 euros."""
    both = reference + answer
    if "\\" not in both and both.isascii():
        return False
    ours, theirs = _signs(reference), _signs(answer)
    if (ours and theirs) or not (ours or theirs):
        return ours != theirs
    (name, *_), other = (ours, right) if ours else (theirs, left)
    unit = measured(other)[1]
    if name == "degree":
        return unit not in ("", "degree") or _MINUTES.search(other) is not None
    return unit not in ("", "?", name, {"pound": "lb"}.get(name))


def _signs(text: str) -> list[str]:
    return [name for name, sign in _SIGNS.items() if sign.search(text)]
