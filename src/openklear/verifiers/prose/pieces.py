r"""The values in a sentence: formulas between delimiters, and what stands between its words: 42, -5, 2x + 3, (1, 2).

Linear in the text, which is plain (`characters.plain`) and short.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from openklear.verifiers.mathematics.text import depths
from openklear.verifiers.prose.units import with_unit

_FUNCTION = (
    r"(?:sqrt|cbrt|ln|log|exp|(?:arc|a)?(?:sin|cos|tan)|cot|sec|csc|gcd|lcm|max|min)(?=\s?[({^_\\])"
    r"|(?:sqrt|ln|log|sin|cos|tan)(?=\s?(?:\d|[a-z](?![a-zA-Z])))|pi(?![a-zA-Z])"
)
_FORMULA = r"\$\$[^$]+\$\$|\$(?:\\.|[^$\n\\])+\$(?!\d)|\\\[(?:(?!\\\[).)+?\\\]|\\\((?:(?!\\\().)+?\\\)"
_ARROWS = "to|implies|Rightarrow|Longrightarrow|rightarrow|therefore|because|Leftrightarrow|iff|quad|qquad|checkmark"
_TOKEN = re.compile(
    rf"(?P<formula>{_FORMULA})"
    rf"|(?P<gap>\\(?:{_ARROWS})(?![a-zA-Z])|(?<![,;:?!])[,;:?!]+(?=\s|$)|[\u2014\u2026\"]|\.{{2,}}|=>|->|(?<=[a-zA-Z]{2})\s-\s|\si\.?e\.|\se\.?g\.)"
    r"|(?P<command>\\(?:[a-zA-Z]+|.))"
    r"|(?P<argument>(?<=[a-zA-Z^_}\]])\{)|(?P<braced>\})|(?P<open>[{(\[])|(?P<close>[)\]])"
    rf"|(?P<function>(?<![a-zA-Z]){_FUNCTION})"
    r"|(?P<word>[^\x00-\x7f\W\d_]+|(?<![\\a-zA-Z])(?:[^\W\d_]{2,}|[^\W\d_](?='[a-z]))(?:['/-][^\W\d_]+)*(?:\^\{?[23]\}?)?"
    r"|(?<![^\s(])[aAI](?=\s+[^-+=*/^<>\s])"
    r"|(?:(?<=\d\s)[msghlLtn](?:\^\{?[23]\}?)?|(?<=[.,]\d\d)m\^\{?[23]\}?)(?=\s*(?:$|[.,;!?)])))",
    re.DOTALL,
)
_PROSE = re.compile(r"(?<![\\\w{])[^\W\d_]{3,}")
_EDGES = " \t\n.,;:?!*|\"'`~#&\u20ac\u00a3\u00a5"
_MEANT = re.compile(
    r"\d|\\(?!(?:text|textbf|textit|mathrm|mbox|left|right|approx|cdot|times|leq?|geq?|neq?)(?![a-zA-Z]))[a-zA-Z]"
    r"|[a-zA-Z)]\s?[+*^]\s?[a-zA-Z(]"
)
_MINUS = re.compile(
    r"(?:(?:^|[^\W\d_]{2}\s+|[.,:=(]\s*)(?=[mnMN])|(?=\u8d1f))((?:minus|negative)\s+|\u8d1f\s*)$", re.IGNORECASE
)
"""The word before a number that is its sign; 10 minus 5 is a difference."""
_SIGNED = re.compile(r"(?:[=:(,]|\b(?:is|are|be|was|equals?|get|or|and|es|est))\s*$", re.IGNORECASE)
_ALONE = re.compile(r"(?!.*\\(?:leq?|geq?|neq?|in)(?![a-zA-Z]))[^=<>]+", re.DOTALL)
_NAMED = re.compile(r"[a-zA-Z](?:_\{?\w\}?)?\s*=[^=]+|[^=]*(?:[<>]|\\[lg]eq?(?![a-zA-Z]))[^=]*", re.DOTALL)
_NO_SYMBOLS = re.compile(r"\\[a-zA-Z]+|(?<=[\d%]) ?[xX] ?(?=[\d$])")
_OPERATOR = re.compile(r"(?<=.)[-+*/^]", re.DOTALL)
_START = re.compile(r"(?:(?!(?<![.\w])\.\d)[ \t\n.,;:?!*|\"'`~#&+/^_=)\]}$\u20ac\u00a3\u00a5])*")
"""What cannot begin a value; the point of .5 can."""
_MARKS = re.compile(r"(?<![^\x00-\x7f])[^\x00-\x7f\w\u00b0]+$")
"""Signs behind a value that say nothing about it: a tick, the end of a proof."""
_SPACING = re.compile(r"(?<!\\)(?:\\[,;:! ]|\\|(?<=[\d%)€£¥] )[A-Za-wZ])+$")
"""What cannot end a value; a letter behind a number (79 g) is a unit or a word, and no factor."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A value of a sentence, with its unit, and where it stands."""

    start: int
    end: int
    value: str
    alone: bool
    """Whether it is a value and nothing else: no name before it, no calculation, no inequality."""
    named: bool
    """Whether it is a name with its value or values: x = 5, x > 5."""


def pieces(text: str) -> list[Piece]:
    """Every value of a sentence, in order."""
    found: list[Piece] = []
    for start, end, is_formula in _spans(text):
        piece = _formula(text, start, end) if is_formula else _plain(text, start, end)
        if piece:
            found.append(piece)
    return found


def has_words(text: str) -> bool:
    """Whether a sentence has words, names of functions aside."""
    return any(match.lastgroup == "word" for match in _TOKEN.finditer(text))


def _spans(text: str) -> list[tuple[int, int, bool]]:
    """(start, end, whether it is a formula) of what the words and gaps of a sentence leave.

    Words in the braces of a command are no words of the sentence, and commas in brackets divide nothing.
    """
    spans = []
    start = at = braces = brackets = 0
    while match := _TOKEN.search(text, at):
        kind, at = match.lastgroup, match.end()
        if kind == "formula" and _is_money(match.group()):
            at = match.start() + 1
        elif kind == "argument" or (kind == "braced" and braces):
            braces += 1 if kind == "argument" else -1
        elif kind in ("open", "close", "braced"):
            brackets = max(0, brackets + (1 if kind == "open" else -1))
        elif kind == "formula":
            spans += [(start, match.start(), False), (match.start(), at, True)]
            start, braces, brackets = at, 0, 0
        elif not braces and (kind == "word" or (kind == "gap" and not (brackets and match.group() in ",;"))):
            spans.append((start, match.start(), False))
            start, brackets = at, 0
    return [*spans, (start, len(text), False)]


def _is_money(formula: str) -> bool:
    """Two dollar signs of money, and what stands between them."""
    return formula[:1] == "$" and "\\" not in formula and len(_PROSE.findall(formula)) > 1


def _formula(text: str, start: int, end: int) -> Piece | None:
    inner = re.sub(r"^(?:\$\$?|\\[(\[])|(?:\$\$?|\\[)\]])$", "", text[start:end]).strip()
    if not inner:
        return None
    before = text[:start].rstrip("$ ")
    if before.endswith("-") and not re.search(r"[\w)\]}]\s?-$", before):
        inner = "-" + inner
    elif minus := _MINUS.search(text, max(0, start - 20), start):
        start, inner = minus.start(1), f"-{inner}"
    value, end = with_unit(inner, text, end)
    return Piece(start, end, value, *_kind(inner))


def _plain(text: str, start: int, end: int) -> Piece | None:
    inner = text[start:end]
    if not _MEANT.search(inner):
        return None
    stripped = inner[_START.match(inner).end() :]  # type: ignore[union-attr]
    start += len(inner) - len(stripped)
    trimmed = _trimmed(stripped)
    if not _MEANT.search(trimmed):
        return None
    if trimmed[0] == "-" and not _is_sign(text, start):
        trimmed = trimmed[1:].lstrip()
    ends = start + len(stripped.rstrip(_EDGES + "+*/^_=$-([{<>"))
    if minus := _MINUS.search(text, max(0, start - 20), start):
        start, trimmed = minus.start(1), f"-{trimmed}"
    value, behind = with_unit(_result(trimmed), text, ends)
    return Piece(start, max(ends, behind), value, *_kind(trimmed))


def _kind(value: str) -> tuple[bool, bool]:
    return _ALONE.fullmatch(value) is not None, _NAMED.fullmatch(value) is not None


def _is_sign(text: str, at: int) -> bool:
    """Whether the dash at a place is a minus: it touches its number, or stands where a value is expected."""
    if at == 0 or _SIGNED.search(text[max(0, at - 20) : at]):
        return True
    return text[at + 1 : at + 2] != " " and not text[at - 1].isalnum()


def _trimmed(text: str) -> str:
    """Without punctuation around it, dollar signs of money and brackets that do not match."""
    if "$" in text:
        text = re.sub(r" ?\\?\$ ?", " ", re.sub(r"\\?\$(?=[\d.])", "", text)).strip()
    text = _SPACING.sub("", text.rstrip(_EDGES + "+*/^_=-([{<>").rstrip())
    end = next((i for i, depth in enumerate(depths(text)) if depth < 0), len(text))
    text = _MARKS.sub("", text[:end].rstrip(_EDGES)).rstrip(_EDGES)
    return _unwrapped(_closed(text))


def _closed(text: str) -> str:
    """Without brackets that are never closed: one at its start goes, and all from a later one on: 42 (3 of them."""
    opened = depths(text)
    if not text or opened[-1] <= 0:
        return text
    start = max(i for i in range(len(text)) if opened[i] <= opened[-1] and (opened[i - 1] if i else 0) < opened[i])
    return text[:start].rstrip(_EDGES + "+*/^_=-") or text[start + 1 :].strip()


def _unwrapped(text: str) -> str:
    """(5) is 5; (1, 2) stays what it is."""
    if text[:1] != "(" or text[-1:] != ")" or "," in text or ";" in text or 0 in depths(text)[:-1]:
        return text
    return text[1:-1].strip()


def _result(text: str) -> str:
    """What a calculation comes to: 6*7 = 42 is 42. An equation (x + y = 5) may be the answer itself."""
    left, sign, right = re.sub(r"\\approx(?![a-zA-Z])", "=", text).rpartition("=")
    symbols = _NO_SYMBOLS.sub("", left)
    equation = "=" not in left and _OPERATOR.search(left) and re.search("[a-zA-Z]", symbols)
    return text if not sign or not right.strip() or left[-1:] in "<>!:=" or equation else right.strip()
