"""Static limits of mathematics: what is too big is turned away before anything parses it. Linear in the text."""

from __future__ import annotations

import re

from openklear.verifiers.mathematics.characters import plain
from openklear.verifiers.mathematics.text import depths

MAX_CHARACTERS = 4096
MAX_NESTING = 64
MAX_OPERATORS = 1024
MAX_DIGITS = 256
MAX_EXPONENT = 10_000
MAX_FACTORIAL = 10_000
MAX_BOUND = 10_000
"""Largest bound of a sum or product, and largest argument of a binomial coefficient."""
MAX_TOWER = 3
"""Powers in the exponent of one another: e^{e^{e^{e}}} has 3."""
MAX_SYMBOLS = 64

_OPERATOR = re.compile(r"[-+*/^_!=<>,]|\\[a-zA-Z]+")
_DIGITS = re.compile(rf"\d{{{MAX_DIGITS + 1}}}")
_BOUNDED = (
    (r"(?:\^|\*\*)\s*[{(]?\s*[-+]?\s*(\d+)", MAX_EXPONENT, "an exponent"),
    (r"\d\.?[eE][-+]?(\d{5,})", MAX_EXPONENT, "an exponent"),
    (r"(\d+)\s*[})]*\s*!", MAX_FACTORIAL, "a factorial"),
    (r"\\(?:sum|prod|bigc[au]p)(?![a-zA-Z])\s*(?:\\limits\s*)?_\s*\{[^{}]{0,64}?(\d{5,})", MAX_BOUND, "a bound"),
    (r"\\[dt]?binom(?![a-zA-Z])\s*\{\s*(\d{5,})", MAX_BOUND, "a bound"),
)
"""Patterns of numbers, the largest that may stand there, and what it is."""
_SYMBOL = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z](?:_\{[^{}]{0,16}\}|_\w|(?![a-zA-Z]))")
_POWER_STEP = re.compile(r"[{}()]|\^|\*\*")


def over_limit(text: str) -> str | None:
    """Which static limit a text breaks, in words; None where it may be parsed."""
    if len(text) > MAX_CHARACTERS or len(text := plain(text)) > MAX_CHARACTERS:
        return f"longer than {MAX_CHARACTERS} characters"
    if len(text) <= 4 and "^^" not in text:  # nothing that short is large: 9!!! aside
        return f"a factorial above {MAX_FACTORIAL}" if "!!!" in text else None
    if max(depths(text)) > MAX_NESTING:
        return f"nested deeper than {MAX_NESTING}"
    if len(_OPERATOR.findall(text)) > MAX_OPERATORS:
        return f"more than {MAX_OPERATORS} operators"
    if _DIGITS.search(text):
        return f"a number of more than {MAX_DIGITS} digits"
    return _too_large(" ".join(text.split()))  # the patterns are linear, for they meet no runs of white space


def _too_large(text: str) -> str | None:
    """The limits of what a text means, as far as it can be seen without parsing."""
    for pattern, most, what in _BOUNDED:
        if any(int(number) > most for number in re.findall(pattern, text)):
            return f"{what} above {most}"
    if re.search(r"!\s*!\s*!", text):
        return f"a factorial above {MAX_FACTORIAL}"
    if _tower(text) > MAX_TOWER:
        return f"a tower of more than {MAX_TOWER} powers"
    if len(set(_SYMBOL.findall(text))) > MAX_SYMBOLS:
        return f"more than {MAX_SYMBOLS} symbols"
    return None


def _tower(text: str) -> int:
    """How many powers stand in the exponent of one another, whether in braces (x^{y^{z}}) or in a row (x**y**z)."""
    within: list[int] = [0]  # for every open bracket: powers around it
    highest = chain = 0
    end = 0
    for match in _POWER_STEP.finditer(text):
        token = match.group()
        between = text[end : match.start()].strip()
        end = match.end()
        if token in "{(":
            within.append(within[-1] + chain if not between and chain else within[-1])
            chain = 0
        elif token in "})":
            if len(within) > 1:
                within.pop()
            chain = 0
        else:
            chain = chain + 1 if re.fullmatch(r"[a-zA-Z0-9.\\]*", between) and chain else 1
            highest = max(highest, within[-1] + chain)
    return highest
