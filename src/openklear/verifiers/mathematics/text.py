r"""One spelling for what only looks different in LaTeX answers, and how they are cut into parts."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import accumulate, pairwise

from openklear.verifiers.mathematics.characters import plain
from openklear.verifiers.mathematics.commands import braced, one_spelling, undressed
from openklear.verifiers.mathematics.notation import (
    functions,
    ordinals,
    powers,
    repeating_decimals,
    scientific,
    signed_exponents,
)
from openklear.verifiers.mathematics.sets import sets
from openklear.verifiers.mathematics.words import in_digits

_TRIGONOMETRY = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z])")
_DEGREES = re.compile(r"(\d+(?:\.\d+)?)\s*(?:\^\s*\{?\s*\\circ\s*\}?|°|\\degree(?![a-zA-Z]))")
_DEGREE = re.compile(r"\^\s*\{?\s*\\circ\s*\}?|°|\\degree(?![a-zA-Z])")
_PERCENT = re.compile(r"(?<=\d)\s?\\?(?:text\{\s*)?(?:percent|pct)(?![a-zA-Z])\.?\}?")
_LETTER = re.compile(r"\\(?:mathrm|text|operatorname)\s?\{\s?([ei])\s?\}(?=\s?[\^{(\\a-z0-9+*/)}-]|\s?$)")
_WORDLESS = re.compile(r"\\(?:text|mathrm|mbox)\s?\{\s?([^{}a-zA-Z\\]*)\}")
_RELATIONS = (("<=", r"\leq "), (">=", r"\geq "), ("!=", r"\neq "))
_SCALES = {
    "dozen": "12", "hundred": "100", "thousand": "1000",
    "million": "10^{6}", "billion": "10^{9}", "trillion": "10^{12}",
}  # fmt: skip
_SCALE = re.compile(r"(?<=\d)\s?(?:\\text\s?\{\s?)?(" + "|".join(_SCALES) + r")\s?\}?(?![a-zA-Z])")
_NEEDS_WORK = re.compile(r"[^0-9+./=,()\[\]*^<a-zA-Z-]|[a-zA-Z]{2}|[<>!]=|\.$|^[\]*]|\*\*|\[$|\d[eExX(]|[)\]]U|\.\(")
_WRAPPED = re.compile(r"^\\(?:boxed|text|textbf|textit|mathrm|mathbf|mbox|rm)\s*\{([^{}]*)\}$")
TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
_SPACES = re.compile(r"\s+")
_MONEY = str.maketrans("", "", "$\u00a3\u20ac")


@lru_cache(maxsize=1024)
def normalise(text: str) -> str:
    """One spelling for what only looks different: characters, commands, kinds of \\frac, pi, a last full stop."""
    text = _SPACES.sub(" ", plain(text).strip())
    if not _NEEDS_WORK.search(text):
        return text
    text = _ends(text)
    if "\\" in text or "$" in text:
        text = _printed(text)
    text = functions(powers(text))
    text = _amounts(text.translate(_MONEY))
    text = sets(braced(text) if "\\" in text else text)
    text = text.strip().rstrip(".").strip()
    while match := _WRAPPED.match(text):
        text = match.group(1).strip()
    return in_digits(text)


def _ends(text: str) -> str:
    """Without the line breaks around it, and what stripping left of a control space at its end."""
    while text.endswith("\\\\"):
        text = text[:-2].rstrip()
    while text.startswith("\\\\"):
        text = text[2:].lstrip()
    return text[:-1].rstrip() if text.endswith("\\") else text


def _printed(text: str) -> str:
    """One spelling of its commands, and none that draw nothing; white space in single spaces."""
    text = undressed(text)
    if "\\!" in text or "{,}" in text:
        text = re.sub(r",\s?\\!\s?|\{,\}", ",", text)
    text = one_spelling(text).replace("~", " ")
    if "&" in text and "\\begin" not in text:
        text = text.replace("&", "")
    return " ".join(text.split())


def _amounts(text: str) -> str:
    """Relations, percentages, degrees, powers of ten, repeating decimals, ordinals, and scales in words."""
    if "=" in text:
        for sign, command in _RELATIONS:
            text = text.replace(sign, command)
    if "percent" in text or "pct" in text:
        text = _PERCENT.sub("%", text)
    if "circ" in text or "°" in text or "degree" in text:
        if _TRIGONOMETRY.search(text):
            text = _DEGREES.sub(r"(\\frac{\1\\pi}{180})", text)
        text = _DEGREE.sub("", text)
    text = ordinals(repeating_decimals(scientific(text)))
    if "{" in text:
        text = _LETTER.sub(r"\1", text)
        text = _WORDLESS.sub(r"\1", text)
    return _SCALE.sub(lambda match: rf" \cdot {_SCALES[match.group(1)]}", text)


def both(reference: str, answer: str) -> tuple[str, str]:
    """Two texts that are compared, normalised: what 2e-5 means depends on the other one."""
    left, right = normalise(reference), normalise(answer)
    if "e-" in left + right or "e+" in left + right or "E-" in left + right or "E+" in left + right:
        return signed_exponents(left, right), signed_exponents(right, left)
    return left, right


_SINGLE = re.compile(r"([\^_])\{([a-zA-Z0-9])\}")


def squeeze(text: str) -> str:
    """A normalised text without white space, text commands and braces around one character after ^ or _."""
    return _SINGLE.sub(r"\1\2", _SPACES.sub("", TEXT.sub(r"\1", text)))


_ALTERNATIVES = re.compile(
    r"\s*[,;]?\s*(?:\\(?:text|textbf|mathrm|mbox)\s*\{\s*,?\s*(?:and|or)\s*\}|(?<![a-zA-Z\\{])(?:and|or)(?![a-zA-Z}])|\\lor(?![a-zA-Z])"
    r"|\\vee(?![a-zA-Z]))\s*"
)


def depths(text: str) -> list[int]:
    """How many brackets are open after each character; negative where more were closed."""
    return list(accumulate((character in "([{") - (character in ")]}") for character in text))


def split(text: str, separators: str = ",;") -> list[str] | None:
    """Parts between separators outside of brackets; None where the brackets do not match up (of any kinds: (1,2])."""
    opened = depths(text)
    if min(opened, default=0) < 0 or opened[-1:] > [0]:
        return None
    cuts = [i for i, one in enumerate(text) if one in separators and not opened[i] and text[i - 1 : i] != "\\"]
    return [text[start + 1 : end].strip() for start, end in pairwise((-1, *cuts, len(text)))]


def alternatives(text: str) -> list[str] | None:
    """What a bare list offers: parts between commas, semicolons, "and", "or", and both signs of \\pm.

    Solutions in several unknowns (x=1, y=2 or x=3, y=4) are tuples, one for each.
    """
    if "or" in text or "and" in text or "\\vee" in text:
        text = _ALTERNATIVES.sub(" ; ", text)
    parts = split(text)
    if parts is None:
        return None
    if ";" in text and "=" in text:
        solutions = [split(solution, ",") or [] for solution in split(text, ";") or []]
        if len({len(solution) for solution in solutions}) == 1 and len(solutions[0]) > 1:
            parts = [f"({', '.join(solution)})" for solution in solutions]
    offered: list[str] = []
    for part in parts:
        if "\\pm" in part and "\\mp" not in part and part.count("\\pm") == 1 and part[0] != "{" and part[:2] != "\\{":
            offered += [part.replace("\\pm", sign).strip().removeprefix("+") for sign in "+-"]
        elif part:
            offered.append(part)
    return offered


_UNITS = """
mm millimeter millimetre, cm centimeter centimetre, dm decimeter decimetre, m meter metre, km kilometer kilometre,
in inch inche, ft foot feet, yd yard, mi mile, mg milligram, g gram, kg kilogram, lb pound, oz ounce, t ton tonne,
s sec second, min minute, h hr hour, day, week, month, yr year, ml milliliter millilitre, l liter litre, gal gallon,
mph mi/h, km/h kph kmph, m/s, dollar usd, cent, rad radian, degree deg, hz hertz, n newton, j joule, w watt
"""
"""The spellings of each unit; the first one is its name."""
_KNOWN_UNITS: dict[str, str] = {}
for _spellings in map(str.split, _UNITS.split(",")):
    _KNOWN_UNITS |= dict.fromkeys(_spellings, _spellings[0])
_UNIT_TEXT = re.compile(
    r"^(.*[\d})])"
    r"\s*(?:\\(?:text|textbf|textrm|mathrm|mbox|rm)\s*\{\s*([^{}\d]+?)\s*\}"
    r"|\s\s*([a-zA-Z]{2,}(?:/[a-z]+)?(?: [a-zA-Z]+)*)|(mm|cm|km|kg|ml|mph))"
    r"(?:\s*\^\s*\{?\s*([23])\s*\}?)?$"
)
_POWERS = (("square ", "2"), ("sq. ", "2"), ("sq ", "2"), ("cubic ", "3"))


def measured(text: str) -> tuple[str, str]:
    """An amount and its unit: "" where there is none, "?" where it is a word that measures nothing known (apples)."""
    match = _UNIT_TEXT.match(text)
    if match is None:
        return text, ""
    unit = (match.group(2) or match.group(3) or match.group(4)).strip().casefold().rstrip(".")
    if unit in ("or", "and") or unit.startswith(("or ", "and ", "if ")) or " or " in unit or " and " in unit:
        return text, ""
    power = match.group(5) or ""
    for prefix, number in _POWERS:
        if unit.startswith(prefix):
            unit, power = unit.removeprefix(prefix), number
    known = _KNOWN_UNITS.get(unit) or _KNOWN_UNITS.get(unit.removesuffix("s"))
    return match.group(1).strip(), known + power if known else "?"
