r"""One spelling for what only looks different in LaTeX answers, and how they are cut into parts."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import accumulate, pairwise

from openklear.verifiers.mathematics.characters import plain

_TRIGONOMETRY = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z])")
_DEGREES = re.compile(r"(\d+(?:\.\d+)?)\s*(?:\^\s*\{?\s*\\circ\s*\}?|°|\\degree(?![a-zA-Z]))")
_REPLACEMENTS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (
            r"\\left(?![a-zA-Z])\s*\.?|\\right(?![a-zA-Z])\s*\.?|\\displaystyle(?![a-zA-Z])|\\[bB]igg?[lr]?(?![a-zA-Z])",
            "",
        ),
        (r"(?<!\\)\\f?boxed(?![a-zA-Z])", ""),  # a box in the answer: math-verify would take it alone
        (r"(?<!\\)\\[()\[\]$]|[$\u00a3\u20ac]", ""),  # not the line break of a matrix before a bracket
        (r",\s*\\!\s*|\{,\}", ","),
        (r"(?<!\\)\\!", ""),
        (r"(?<!\\)\\[,;: ]|~|\\quad(?![a-zA-Z])|\\qquad(?![a-zA-Z])", " "),
        (r"\s+", " "),  # and every pattern below is linear, for it meets no runs of white space
        (r"<=|\\leq?(?:slant)?(?![a-zA-Z])", r"\\leq "),
        (r">=|\\geq?(?:slant)?(?![a-zA-Z])", r"\\geq "),
        (r"!=|\\neq?(?![a-zA-Z])", r"\\neq "),
        (r"\\lt(?![a-zA-Z])", "<"),
        (r"\\gt(?![a-zA-Z])", ">"),
        (r"(?<=\d)\s*\\?(?:text\{\s*)?(?:percent|pct)(?![a-zA-Z])\.?\}?", "%"),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\[dt]binom(?![a-zA-Z])", r"\\binom"),
        (r"\^\s*\{?\s*\\circ\s*\}?|°|\\degree(?![a-zA-Z])", ""),
        (r"\\%", "%"),
        (r"(?<![a-zA-Z\\])pi(?![a-zA-Z])", r"\\pi "),
        (r"(?<![a-zA-Z\\])(?:infinity|inf|oo)(?![a-zA-Z])", r"\\infty "),
        (r"(?<![a-zA-Z])\\?sqrt\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\\sqrt\s*(\d)(?!\d)", r"\\sqrt{\1}"),
        (
            r"\\(?:mathrm|text|operatorname)\s*\{\s*([ei]|ln|log|sin|cos|tan)\s*\}(?=\s*[\^{(\\a-z0-9+*/)}-]|\s*$)",
            r"@\1@",
        ),
        (r"@([ei])@", r"\1"),
        (r"@(ln|log|sin|cos|tan)@", r"\\\1 "),
        (r"\\frac\s*(\d)\s*(\d)(?!\d)", r"\\frac{\1}{\2}"),
        (r"\\frac\s*(\d)\s*\{", r"\\frac{\1}{"),
        (r"(\\frac\s*\{[^{}]*\})\s*(\d)(?!\d)", r"\1{\2}"),
    )
)
_SCALES = {
    "dozen": "12", "hundred": "100", "thousand": "1000",
    "million": "10^{6}", "billion": "10^{9}", "trillion": "10^{12}",
}  # fmt: skip
_SCALE = re.compile(r"(?<=\d)\s?(?:\\text\s?\{\s?)?(" + "|".join(_SCALES) + r")\s?\}?(?![a-zA-Z])")
_NEEDS_WORK = re.compile(r"[^0-9+./=,()\[\]*^<a-zA-Z-]|[a-zA-Z]{2}|[<>!]=|\.$")
_WRAPPED = re.compile(r"^\\(?:boxed|text|textbf|textit|mathrm|mathbf|mbox|rm)\s*\{([^{}]*)\}$")
TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")


_SPACES = re.compile(r"\s+")
_COMMAND = r"(\\(?:text|textbf|textrm|mathrm|mbox) ?\{)"
_EMPTY_TEXT = re.compile(_COMMAND + r" ?\}")
_LAST_COMMA = re.compile(_COMMAND[:-1] + r"[^{}]*?) ?([,;]) ?\}")
_LAST_WORD = re.compile(_COMMAND[:-1] + r"[^{}]*?[^{} ]),? (and|or) ?\}")
_NUMERAL_TEXT = re.compile(_COMMAND[1:-1] + r" ?([-+]?\d[\d.,/]*) ?\}")
_LEADING_NUMERAL = re.compile(_COMMAND + r" ?([-+]?\d[\d.,/]*) (?=[a-zA-Z])")
"""Math-verify drops \\text{5} and \\text{5 apples} whole: the number is brought out."""
_SIDE_BY_SIDE = re.compile(r"\d \d")
_MIXED = re.compile(
    r"(?<![\d.,_^/}\])a-zA-Z])(\d{1,40})"
    r"(?: ([1-9]\d{0,40}) ?/ ?(\d{1,40})(?![\d.])| ?\\frac ?\{ ?(\d{1,40}) ?\} ?\{ ?(\d{1,40}) ?\})"
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
    """One spelling for what only looks different: delimiters, spaces, kinds of \\frac, pi, a last full stop."""
    text = _SPACES.sub(" ", plain(text).strip())
    if not _NEEDS_WORK.search(text):
        return text
    if text.endswith("\\") and not text.endswith("\\\\"):  # what stripping left of a control space
        text = text[:-1].rstrip()
    if _TRIGONOMETRY.search(text):
        text = _DEGREES.sub(r"(\\frac{\1\\pi}{180})", text)
    text = _SCALE.sub(lambda match: rf" \cdot {_SCALES[match.group(1)]}", text)
    for pattern, replacement in _REPLACEMENTS:
        text = pattern.sub(replacement, text)
    if "{" in text:
        text = _LAST_WORD.sub(r"\1} \\text{\2} ", _LAST_COMMA.sub(r"\1}\2 ", text))
        text = _NUMERAL_TEXT.sub(r"\1", _LEADING_NUMERAL.sub(r"\2 \1", _EMPTY_TEXT.sub(" ", text)))
    if _SIDE_BY_SIDE.search(text):
        text = _joined(_MIXED.sub(_mixed, text))
    elif "\\frac" in text:
        text = _MIXED.sub(_mixed, text)
    text = text.strip().rstrip(".").strip()
    while match := _WRAPPED.match(text):
        text = match.group(1).strip()
    return text


_NEEDLESS = re.compile(r"(?<![\d.])\s+|\s+(?![\d.\s])")
_SINGLE = re.compile(r"([\^_])\{([a-zA-Z0-9])\}")


def squeeze(text: str) -> str:
    """A normalised text without text commands, braces around one character after ^ or _, and white space, but for that
    between two numbers."""
    return _SINGLE.sub(r"\1\2", _NEEDLESS.sub("", TEXT.sub(r"\1", text)))


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
