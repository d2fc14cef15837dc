r"""What stands right behind a value and belongs to it: a percent sign, a unit, a scale, a base. Linear, short looks."""

from __future__ import annotations

import re
from functools import lru_cache

from openklear.verifiers.mathematics.quantities import measured

_GAP = r"(?:[ \t~$*}]|\\[,;:!()\[\] ]|\\quad(?![a-zA-Z]))"
_SCALES = "thousand|million|billion|trillion"
_PERCENT = re.compile(rf"{_GAP}{{0,8}}(?:\\?%|(?:\\text\s*\{{\s*)?(?:\\?%|(?:per ?cent|pct)(?![a-zA-Z]))\.?\s?\}}?)")
_DEGREES = re.compile(rf"{_GAP}{{0,4}}(?:\^\s?\{{?\s?\\circ(?![a-zA-Z])\s?\}}?|°)")
_BASE = re.compile(r"\s?_\s?(?:\d|\{(?:\d{1,2}|\\text\s?\{[a-z]{3,8}\})\})")
_SCALE = re.compile(rf"{_GAP}{{0,8}}(?:\\text\s?\{{\s?)?({_SCALES})(?![a-zA-Z])", re.IGNORECASE)
_POWER = r"(?:\s?\^\s?(?:\{\s?([23])\s?\}|([23])))?"
_TEXT = re.compile(
    rf"{_GAP}{{0,8}}\\(?:text|textrm|textbf|mathrm|mbox|rm)\s?\{{\s?~?\s?([a-zA-Z/. ]{{1,30}}?)\s?\}}{_POWER}"
)
_PLAIN = re.compile(
    rf"{_GAP}{{0,8}}((?:(?:square|cubic|sq\.?)\s)?[a-zA-Z]{{1,15}}(?:/[a-zA-Z]{{1,5}})?)(?![a-zA-Z]){_POWER}"
)
_ENDS = re.compile(rf"{_GAP}{{0,8}}(?:[.,;!?)\n]|$)")
_RATE = re.compile(r"\s{0,3}(?:/|(?:per|an?|each|every)(?![a-zA-Z]))")
_ALSO_WORDS = frozenset(("in", "a", "second", "min", "minute"))
"""Units that are words of a sentence as well, as every single letter is: units only where nothing follows them."""
_MEASURABLE = re.compile(r"(?<!\\)[\d})]$")
"""Where no digit or bracket ends it, a unit is told from a product of symbols by nobody."""
_MEASURED = re.compile(r"\\(?:text|textrm|textbf|mathrm|mbox|rm)(?![a-zA-Z])|%|[a-zA-Z]{2}$")
"""Units that a value has already."""


def with_unit(value: str, text: str, end: int) -> tuple[str, int]:
    """A value that ends at `end` of a text, with what belongs to it there, and where that ends.

    Words that measure nothing known (7 nickels) stay out, and so do rates (60 miles per hour): they say nothing
    that could be compared.
    """
    if not _MEASURABLE.search(value) or _MEASURED.search(value):
        return value, end
    if match := _PERCENT.match(text, end):
        return value + r"\%", match.end()
    if match := _BASE.match(text, end) or _DEGREES.match(text, end):
        return value + match.group().strip(" $~"), match.end()
    if match := _SCALE.match(text, end):
        return f"{value} {match.group(1).lower()}", match.end()
    return _with_known_unit(value, text, end)


def _with_known_unit(value: str, text: str, end: int) -> tuple[str, int]:
    wrapped = _TEXT.match(text, end)
    match = wrapped or _PLAIN.match(text, end)
    if match is None or not _is_known(match.group(1)):
        return value, end
    unit = match.group(1)
    unsure = not wrapped and (len(unit) == 1 or unit.casefold() in _ALSO_WORDS)
    if (unsure and not _ENDS.match(text, match.end())) or _RATE.match(text, match.end()):
        return value, end
    power = match.group(2) or match.group(3)
    return rf"{value}\text{{ {unit}}}" + (f"^{power}" if power else ""), match.end()


@lru_cache(maxsize=1024)
def _is_known(unit: str) -> bool:
    return measured(rf"5\text{{ {unit}}}")[1] not in ("", "?")
