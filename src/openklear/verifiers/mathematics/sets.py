r"""One spelling of sets: unions, open intervals ]0,1[, set-builder bars, the empty set, reals without points."""

from __future__ import annotations

import re
from itertools import pairwise

from openklear.verifiers.mathematics.numbers import number

_LETTER = re.compile(r"\\(?:mathbb|Bbb)\s?(?:\{\s?)?([A-Z])(?:\s?\})?")
_LONE = re.compile(r"(\\mathbb\{R\})\s?\\\s(?=\s?\\?\{)")
_UNION = re.compile(
    r"(?<=(?<![a-zA-Z])[A-Z])\sU\s(?=[A-Z](?![a-zA-Z]))"
    r"|(?<=[)\]}\[])\s?(?:U|\\bigcup|\\text\s?\{\s?U\s?\}|union| u )\s?(?=[(\[\]]|\\\{)"
)
_BAR = re.compile(r"(\\\{\s?(?!\|)(?:[^{}|:]|\\mathbb\s?\{[A-Z]\}){1,60}?)\s?(\||:|\\mid(?![a-zA-Z]))\s?")
_OR = re.compile(r"\s?(?:\\text\s?\{\s?or\s?\}|(?<![a-zA-Z])or(?![a-zA-Z]))\s?")
_INTERVAL = re.compile(r"^[\[(][^\[\]()]+,[^\[\]()]+[\])]$")
_ONE_BAR = re.compile(r"\s?\|\s?")
_EMPTY = re.compile(r"\\\{\s?\\\}")
_NOTHING = re.compile(r"^(?:\{\s?\}|(?:\\text\s?\{\s?)?(?:the )?(?:empty|null) set\s?\}?)$", re.IGNORECASE)
_EVERYTHING = re.compile(r"^(?:\\text\s?\{\s?)?(?:the set of )?all real(?:s| numbers?)\s?\}?$", re.IGNORECASE)
_EXCEPT = re.compile(
    r"^(?:\\text\s?\{\s?)?all real(?: number)?s?,? (?:except|excluding|other than|but)(?: for)?\s?\}?\s?"
    r"(?:x\s?=\s?|x\s?\\neq\s*)?([^{}a-z]{1,60}(?:and [^{}a-z]{1,20})?)\}?$"
)
_REVERSED = re.compile(r"^(.*\\in(?![a-zA-Z])\s?)?([\[\]])([^\[\]]*)([\[\]])$")
_WITHOUT = re.compile(
    r"(?:\\mathbb\s?(?:\{R\}|R)|\(\s?-\\infty\s?,\s?\+?\\infty\s?\))\s?"
    r"(?:\\setminus\s?\\?|(?:-|/|\\\\|\\(?=\s))?\s?\\)\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}$"
)


def number_sets(text: str) -> str:
    r"""\mathbb R with its braces, and the lone backslash of R \ {1} as a command: it is a space elsewhere."""
    return _LONE.sub(r"\1\\setminus ", _LETTER.sub(r"\\mathbb{\1}", text))


def sets(text: str) -> str:
    """The same sets in one spelling."""
    if text[:1] == "{" and text[-1:] == "}" and ("|" in text or ":" in text or "\\mid" in text):
        text = rf"\{{{text[1:-1]}\}}"  # plain braces around {x | x > 1}
    if "\\{" in text:
        text = _EMPTY.sub(r"\\emptyset ", text)
        if "|" in text or ":" in text or "\\mid" in text:
            text = _BAR.sub(_bar, text)
    if "|" in text and text.count("|") == 1:
        text = _ONE_BAR.sub(r" \\mid ", text)
    if "{" in text and ("mathbb" in text or "infty" in text):
        text = _WITHOUT.sub(_without, text)
    if _NOTHING.match(text):
        return r"\emptyset"
    if "all real" in text:
        text = _all_reals(text)
    if "or" in text and "," in text:
        text = _either(text)
    if "U" in text or " u " in text or "union" in text or "\\bigcup" in text:
        text = _UNION.sub(r"\\cup ", text)
    return _open_intervals(text) if text[:1] == "]" or "[" in text else text


def _bar(match: re.Match[str]) -> str:
    r"""The bar of a set-builder; not the first one of |z| in \{1, |z|\}."""
    paired = (
        match.group(2) == "|" and match.string.count("|", match.start(), match.string.find("\\}", match.end())) % 2 == 0
    )
    return match.group() if paired else rf"{match.group(1)} \mid "


def _all_reals(text: str) -> str:
    """All real numbers, perhaps except some, as the set."""
    if _EVERYTHING.match(text):
        return r"\mathbb{R}"
    if match := _EXCEPT.match(text):
        return _WITHOUT.sub(_without, rf"\mathbb{{R}} \setminus \{{{match.group(1).replace(' and ', ',').strip()}\}}")
    return text


def _either(text: str) -> str:
    r"""Intervals with "or" between them as a union; pairs in round brackets may be points."""
    pieces = _OR.split(text)
    intervals = (
        len(pieces) > 1 and all(map(_INTERVAL.match, pieces)) and ("[" in text or "]" in text or "infty" in text)
    )
    return r" \cup ".join(pieces) if intervals else text


def _without(match: re.Match[str]) -> str:
    r"""The reals without numbers as the intervals between them."""
    points = [point.strip() for point in match.group(1).removesuffix("\\").split(",")]
    if len(points) == 1 and points[0].startswith(r"\pm"):
        points = ["-" + points[0][3:].strip(), points[0][3:].strip()]
    found = [value.value for point in points if (value := number(point))]
    if not all(points) or (len(points) > 1 and len(found) < len(points)):
        return match.group()
    if found:
        points = [point for _, point in sorted(dict(zip(found, points, strict=True)).items())]
    ends = [r"-\infty", *points, r"\infty"]
    return r" \cup ".join(f"({left},{right})" for left, right in pairwise(ends))


def _open_intervals(text: str) -> str:
    """]0,1[ as (0,1), in a text that is such an interval or a union of some."""
    pieces = text.split("\\cup")
    written = []
    for piece in pieces:
        match = _REVERSED.match(piece.strip())
        turned = match and match.group(2) + match.group(4) != "[]"
        if match and turned and sum(map(match.group(3).count, ",;")) == 1:
            ends = ("(" if match.group(2) == "]" else "[", ")" if match.group(4) == "[" else "]")
            piece = f" {match.group(1) or ''}{ends[0]}{match.group(3)}{ends[1]} "
        written.append(piece)
    return "\\cup".join(written).strip()
