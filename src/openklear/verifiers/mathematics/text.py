r"""One spelling for what only looks different in LaTeX answers, and how they are cut into parts."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import accumulate, pairwise

from openklear.verifiers.mathematics.characters import plain
from openklear.verifiers.mathematics.commands import alone, braced, closings, one_spelling, undressed
from openklear.verifiers.mathematics.notation import (
    functions,
    moduli,
    ordinals,
    powers,
    repeating_decimals,
    scientific,
    signed_exponents,
)
from openklear.verifiers.mathematics.numerals import in_digits
from openklear.verifiers.mathematics.sets import number_sets, sets

_TRIGONOMETRY = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z])")
_DEGREES = re.compile(r"(\d+(?:\.\d+)?)\s*(?:\^\s*\{?\s*\\circ\s*\}?|°|\\degree(?![a-zA-Z]))")
_DEGREE = re.compile(r"\^\s*\{?\s*\\circ\s*\}?|°|\\degree(?![a-zA-Z])")
_PERCENT = re.compile(r"(?<=\d)\s?\\?(?:text\{\s*)?(?:per ?cent|pct)(?![a-zA-Z])\.?\}?")
_LETTER = re.compile(r"\\(?:mathrm|text|operatorname)\s?\{\s?([ei])\s?\}(?=\s?[\^{(\\a-z0-9+*/)}-]|\s?$)")
_WORDLESS = re.compile(r"\\(?:text|mathrm|mbox)\s?\{\s?([^{}a-zA-Z\\]*)\}")
_ARROW = re.compile(r"(?<![-<])->")
_RELATIONS = (("<=", r"\leq "), (">=", r"\geq "), ("!=", r"\neq "))
_SCALES = {
    "dozen": "12", "hundred": "100", "thousand": "1000",
    "million": "10^{6}", "billion": "10^{9}", "trillion": "10^{12}",
}  # fmt: skip
_SCALE = re.compile(r"(?<=\d)\s?(?:\\text\s?\{\s?)?(" + "|".join(_SCALES) + r")\s?\}?(?![a-zA-Z])")
_NEEDS_WORK = re.compile(
    r"[^0-9+./=,()\[\]*^<a-zA-Z-]|[a-zA-Z]{2}|[<>!]=|\.$|^[\]*]|\*\*|\[$|\d[eExX(]|[)\]]U|\.\(|\^\("
)
_WRAPPED = re.compile(r"^\\(?:boxed|text|textbf|textit|mathrm|mathbf|mbox|rm)\s*\{([^{}]*)\}$")
TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
_SPACES = re.compile(r"\s+")
_PRINTED = re.compile(r"[\\{~&]")
_MONEY = str.maketrans("", "", "$\u00a3\u20ac")


_COMMAND = r"(\\(?:text|textbf|textrm|mathrm|mbox) ?\{)"
_EMPTY_TEXT = re.compile(_COMMAND + r" ?\}")
_LAST_COMMA = re.compile(_COMMAND[:-1] + r"[^{}]*?) ?([,;]) ?\}")
_LAST_WORD = re.compile(_COMMAND[:-1] + r"[^{}]*?[^{} ]),? (and|or) ?\}")
_LEADING_NUMERAL = re.compile(_COMMAND + r" ?([-+]?\d[\d.,/]*) (?=[a-zA-Z])")
"""Math-verify drops \\text{5} and \\text{5 apples} whole: the number is brought out."""
_SIDE_BY_SIDE = re.compile(r"\d \d")
_MIXED = re.compile(
    r"(?<![\d.,_^/}\])a-zA-Z])(\d{1,40})"
    r"(?: ([1-9]\d{0,40}) ?/ ?(\d{1,40})(?!\.?\d)| ?\\frac ?\{ ?(\d{1,40}) ?\} ?\{ ?(\d{1,40}) ?\})"
)
_THOUSANDS = re.compile(r"(?<![\d.,_^])[1-9]\d{0,2}(?: \d{3})+(?!\d)")
_DECIMALS = re.compile(r"(?<!\d)\d*\.\d{3}(?: \d{3})*(?: \d{1,3})(?!\d)")


def _joined(text: str) -> str:
    """A normalised text whose groups of three digits are one number."""
    for pattern in (_THOUSANDS, _DECIMALS):
        text = pattern.sub(lambda match: match.group().replace(" ", ""), text)
    return text


def _mixed(match: re.Match[str]) -> str:
    """1 1/2 as \frac{3}{2}: math-verify takes it for 11/2, or for a product."""
    whole, top, bottom = (int(part) for part in match.groups() if part)
    return rf"\frac{{{whole * bottom + top}}}{{{bottom}}}" if 0 < top < bottom else match.group()


@lru_cache(maxsize=1024)
def normalise(text: str) -> str:
    """One spelling for what only looks different: characters, commands, kinds of \\frac, pi, a last full stop."""
    text = _SPACES.sub(" ", plain(text).strip())
    if not _NEEDS_WORK.search(text):
        return text
    text = _ends(text)
    if _PRINTED.search(text):
        text = _printed(text)
    if text[:1] == "\\" and text[-1] == "}" and (match := _ROMAN.match(text)):
        text = _upright(text, match.end())
    text = functions(powers(text))
    text = _amounts(_stopped(text.translate(_MONEY)))
    text = sets(braced(text) if "\\" in text else text)
    if _SIDE_BY_SIDE.search(text):
        text = _joined(_MIXED.sub(_mixed, text))
    elif "\\frac" in text:
        text = _MIXED.sub(_mixed, text)
    text = text.strip().rstrip(".").strip()
    while match := _WRAPPED.match(text):
        text = match.group(1).strip().rstrip(".").strip()
    return in_digits(text)


_ROMAN = re.compile(r"\\(?:mathrm|text|textbf|textrm|mbox)\s?\{")
_LETTERS = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{2}")


def _upright(text: str, start: int) -> str:
    """What a command of upright letters holds from a place on, where it holds all of the text and this is no word."""
    inner = text[start:-1]
    whole = "{" in inner and closings(text, "{}").get(start - 1) == len(text) - 1
    return inner.strip() if whole and not _LETTERS.search(inner) else text


def _ends(text: str) -> str:
    """Without line breaks and a full stop around it, and what stripping left of a control space at its end."""
    text = _stopped(text)
    if text[:1] == "$" == text[-1:] and text[-2:-1] != "\\":
        text = _stopped(text.strip("$"))
    while text.endswith("\\\\"):
        text = text[:-2].rstrip()
    while text.startswith("\\\\ "):
        text = text[3:]
    if text.endswith("\\"):
        text = text[:-1].rstrip()
    return _stopped(text)


def _stopped(text: str) -> str:
    """Without a full stop at its end; an ellipsis stays."""
    text = text.strip()
    return text[:-1].rstrip() if text.endswith(".") and not text.endswith("..") else text


def _printed(text: str) -> str:
    """One spelling of its commands, and none that draw nothing; white space in single spaces."""
    text = undressed(alone(text) if text.startswith("\\begin") else text)
    if "\\!" in text or "{,}" in text:
        text = re.sub(r",\s?\\!\s?|\{,\}", ",", text)
    if "\\mathbb" in text or "\\Bbb" in text:
        text = number_sets(text)
    text = one_spelling(text).replace("~", " ")
    if "&" in text and "\\begin" not in text:
        text = text.replace("&", "")
    return " ".join(text.split())


def _amounts(text: str) -> str:
    """Relations, percentages, degrees, powers of ten, repeating decimals, ordinals, and scales in words."""
    if "=" in text:
        for sign, command in _RELATIONS:
            text = text.replace(sign, command)
    if "->" in text:
        text = _ARROW.sub(r"\\to ", text)
    if "per" in text or "pct" in text:
        text = _PERCENT.sub("%", text)
    if "circ" in text or "°" in text or "degree" in text:
        if _TRIGONOMETRY.search(text):
            text = _DEGREES.sub(r"(\\frac{\1\\pi}{180})", text)
        text = _DEGREE.sub("", text)
    if "{" in text:
        text = _LETTER.sub(r"\1", text)
    text = moduli(ordinals(repeating_decimals(scientific(text))))
    if "{" in text:
        text = _LAST_WORD.sub(r"\1} \\text{\2} ", _LAST_COMMA.sub(r"\1}\2 ", text))
        text = _WORDLESS.sub(r"\1", _LEADING_NUMERAL.sub(r"\2 \1", _EMPTY_TEXT.sub(" ", text)))
    return _SCALE.sub(lambda match: rf" \cdot {_SCALES[match.group(1)]}", text)


def both(reference: str, answer: str) -> tuple[str, str]:
    """Two texts that are compared, normalised: what 2e-5 means depends on the other one."""
    left, right = normalise(reference), normalise(answer)
    together = (left + right).casefold()
    if "e-" in together or "e+" in together:
        return signed_exponents(left, right), signed_exponents(right, left)
    return left, right


def untexted(text: str) -> str:
    """A text without its text commands: what they hold stays."""
    return TEXT.sub(r"\1", text) if "\\text" in text or "\\m" in text else text


_NEEDLESS = re.compile(r"(?<![\d.])\s+|\s+(?![\d.\s])")
_SINGLE = re.compile(r"([\^_])\{([a-zA-Z0-9+*])\}")


def squeeze(text: str) -> str:
    """A normalised text without text commands, braces around one character after ^ or _, and white space, but for that
    between two numbers."""
    text = untexted(text)
    if " " in text:
        text = _NEEDLESS.sub("", text)
    return _SINGLE.sub(r"\1\2", text) if "^{" in text or "_{" in text else text


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
