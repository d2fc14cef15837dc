r"""Inequalities: chains read from either end, several of them as an interval or a union, and those beside intervals.

What they say is compared by its texts and the values of its ends; nothing is solved (2x > 6 is left to math-verify). A
reference that is a single interval asks for an interval; one that is an inequality, or a union, is the same set however
it is written.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from openklear.verifiers.mathematics.expressions import value_of
from openklear.verifiers.mathematics.lists import Same
from openklear.verifiers.mathematics.text import TEXT, depths, squeeze
from openklear.verifiers.mathematics.values import TooLarge, Unknown, approximate

_SIGN = re.compile(r"[<>=]|\\(?:leq|geq|neq)(?![a-zA-Z])")
_TURNED = {"<": ">", ">": "<", r"\leq": r"\geq", r"\geq": r"\leq", r"\neq": r"\neq"}
_FALLING = frozenset((">", r"\geq"))
_JOINT = re.compile(r"(?<![a-zA-Z\\])(?:or|and)(?![a-zA-Z])|\\(?:lor|vee|land|wedge|cup)(?![a-zA-Z])|[,;]")
_AND = frozenset(("and", r"\land", r"\wedge"))
_SUBJECT = re.compile(r"^(?:[a-zA-Z]|\\[a-zA-Z]{2,12})(?:_\w|_\{\w{1,8}\})?(?:\([a-zA-Z0-9]\))?$")
_BARS = re.compile(r"^(?:\||\\lvert)([^|]{1,20}?)(?:\||\\rvert)$")
_LETTER = re.compile(r"(?<![\\a-zA-Z])[a-df-zA-Z]|\\(?!(?:frac|sqrt|pi|ln|log)(?![a-zA-Z]))[a-zA-Z]")
_SIMPLE = re.compile(r"^(?:[\d.]+|\\sqrt\{[^{}]*\}|\\frac\{[^{}]*\}\{[^{}]*\})$")
_INFINITY = {r"\infty": math.inf, r"+\infty": math.inf, r"-\infty": -math.inf}
_INTERVALS = re.compile(r"^(?:[a-zA-Z]\s*\\in\s*)?[(\[]|\\cup|\\setminus")
_MOST = 32
"""Signs of a text that is read; nothing that a person writes has more."""


@dataclass(frozen=True, slots=True)
class Chain:
    """a < b < c: its parts and the signs between them, which rise (or are a single \\neq)."""

    parts: tuple[str, ...]
    signs: tuple[str, ...]

    @property
    def text(self) -> str:
        """As LaTeX."""
        rest = (f" {sign} {part}" for sign, part in zip(self.signs, self.parts[1:], strict=True))
        return self.parts[0] + "".join(rest)


@dataclass(frozen=True, slots=True)
class Span:
    """What lies between two ends, each with whether it belongs to it."""

    low: str
    low_closed: bool
    high: str
    high_closed: bool

    @property
    def text(self) -> str:
        """As an interval."""
        return f"{'(['[self.low_closed]}{self.low}, {self.high}{')]'[self.high_closed]}"


Spans = tuple[str, list[Span]]
"""An unknown, and where it may lie."""


def one_way(left: str, right: str) -> tuple[str, str]:
    """Two normalised texts with their inequalities written the same way: as chains that rise, or as intervals."""
    signed = _has_sign(left), _has_sign(right)
    if not any(signed):
        return left, right
    spans = [_spans(side) if sign else None for side, sign in zip((left, right), signed, strict=True)]
    if spans[0] and spans[1]:
        several = _JOINT.search(left) or _JOINT.search(right) or "|" in left + right
        if several and squeeze(spans[0][0]) == squeeze(spans[1][0]):
            return _union(spans[0][1]), _union(spans[1][1])
    elif spans[0] and _INTERVALS.search(right):
        return _union(spans[0][1]), right
    elif spans[1] and _INTERVALS.search(left) and ("\\cup" in left or "\\setminus" in left):
        return left, _union(spans[1][1])
    return _risen(left), _risen(right)


def same_chains(left: str, right: str, same: Same) -> bool | None:
    """Two chains by their parts; a sign that is strict on one side alone tells them apart."""
    first, second = _chain(left), _chain(right)
    if first is None or second is None or len(first.parts) != len(second.parts):
        return None
    turned = [second.parts, second.parts[::-1]] if first.signs == (r"\neq",) else [second.parts]
    for parts in turned:
        if all(same(ours, theirs) for ours, theirs in zip(first.parts, parts, strict=True)):
            return first.signs == second.signs
    return None


def _has_sign(text: str) -> bool:
    return "<" in text or ">" in text or "\\leq" in text or "\\geq" in text or "\\neq" in text


def _chain(text: str) -> Chain | None:
    """A chain of one direction, turned so that it rises; None for anything else."""
    if len(text) > _MOST * 64:
        return None
    opened = depths(text)
    found = [match for match in _SIGN.finditer(text) if not opened[match.start()]]
    signs = tuple(match.group() for match in found)
    falling = [sign in _FALLING for sign in signs]
    if (
        not 1 <= len(signs) <= 3
        or any(falling) != all(falling)
        or "=" in signs
        or signs.count(r"\neq") not in (0, len(signs))
    ):
        return None
    edges = [0, *(place for match in found for place in match.span()), len(text)]
    parts = tuple(text[start:end].strip() for start, end in zip(edges[::2], edges[1::2], strict=True))
    if not all(parts):
        return None
    return Chain(parts[::-1], tuple(_TURNED[sign] for sign in signs[::-1])) if all(falling) else Chain(parts, signs)


def _pieces(text: str) -> tuple[list[str], list[str]] | None:
    """What stands between the joints outside of brackets, and the joints; None where there are too many."""
    if len(_SIGN.findall(text)) > _MOST:
        return None
    text = TEXT.sub(r" \1 ", text)
    opened = depths(text)
    joints = [match for match in _JOINT.finditer(text) if not opened[match.start()]]
    edges = [0, *(place for match in joints for place in match.span()), len(text)]
    return [text[start:end].strip() for start, end in zip(edges[::2], edges[1::2], strict=True)], [
        match.group() for match in joints
    ]


def _risen(text: str) -> str:
    """The text with all of its chains rising."""
    pieces = _pieces(text) if ">" in text or "\\geq" in text else None
    if pieces is None:
        return text
    written = [found.text if (found := _chain(piece)) else piece for piece in pieces[0]]
    joints = [joint if joint in ",;" else f" {joint}" for joint in pieces[1]]
    return "".join(f"{piece}{joint} " for piece, joint in zip(written, [*joints, ""], strict=True)).strip()


def _spans(text: str) -> Spans | None:
    """Where one unknown may lie, by inequalities with "or", "and" or commas between them; None for anything else."""
    read = _pieces(text)
    if read is None:
        return None
    pieces, joints = [piece for piece in read[0] if piece], set(read[1])
    found = [_span(piece) for piece in pieces]
    known = [one for one in found if one]
    if not known or len(known) != len(found) or len({squeeze(subject) for subject, _ in known}) > 1:
        return None
    subject, spans = known[0]
    for _, others in known[1:]:
        both = _between(spans, others) if joints <= _AND | {","} else None
        spans = [both] if both else spans + others
    return subject, spans


def _span(piece: str) -> Spans | None:
    """One chain about one unknown."""
    found = _chain(piece)
    if found is None:
        return None
    subjects = [_subject(part) for part in found.parts]
    closed = [sign == r"\leq" for sign in found.signs]
    if len(found.parts) == 3 and subjects[1] and r"\neq" not in found.signs:
        return _unbarred(subjects[1], [Span(found.parts[0], closed[0], found.parts[2], closed[1])])
    if len(found.parts) != 2 or bool(subjects[0]) == bool(subjects[1]):
        return None
    subject, end = (subjects[0], found.parts[1]) if subjects[0] else (subjects[1], found.parts[0])
    assert subject is not None
    below, above = Span(r"-\infty", False, end, closed[0]), Span(end, closed[0], r"\infty", False)
    if found.signs == (r"\neq",):
        return _unbarred(subject, [below, above])
    return _unbarred(subject, [below if subjects[0] else above])


def _subject(part: str) -> str | None:
    """The unknown that a part is, bars and all; None where it is none."""
    barred = _BARS.match(part)
    inner = barred.group(1).strip() if barred else part
    return part if _SUBJECT.match(inner) and (barred or _LETTER.search(inner)) and inner not in _INFINITY else None


def _unbarred(subject: str, spans: list[Span]) -> Spans | None:
    """|x| < a as -a < x < a, and |x| > a as two."""
    barred = _BARS.match(subject)
    if barred is None:
        return subject, spans
    span = spans[0]
    below = span.low == r"-\infty"
    end = span.high if below else span.low
    if len(spans) > 1 or not (below or span.high == r"\infty") or not _size(end) > 0:
        return None
    negative = f"-{end}" if _SIMPLE.match(end) else f"-({end})"
    if below:
        return barred.group(1).strip(), [Span(negative, span.high_closed, end, span.high_closed)]
    outer = Span(r"-\infty", False, negative, span.low_closed), Span(end, span.low_closed, r"\infty", False)
    return barred.group(1).strip(), list(outer)


def _size(end: str) -> float:
    """The size of an end; nan where it is not a known real number."""
    if end in _INFINITY:
        return _INFINITY[end]
    try:
        value = None if _LETTER.search(end) else value_of(end)
        near = math.nan if value is None else approximate(value).value
    except (Unknown, TooLarge, OverflowError):
        return math.nan
    return math.nan if near.imag else near.real


def _between(first: list[Span], second: list[Span]) -> Span | None:
    """What two single spans have in common, of some length; None where that is nothing, or not known."""
    if len(first) > 1 or len(second) > 1:
        return None
    both = first + second
    low = max(both, key=lambda span: (_size(span.low), not span.low_closed))
    high = min(both, key=lambda span: (_size(span.high), span.high_closed))
    known = not any(math.isnan(_size(span.low)) or math.isnan(_size(span.high)) for span in both)
    if not known or _size(low.low) >= _size(high.high):
        return None
    return Span(low.low, low.low_closed, high.high, high.high_closed)


def _union(spans: list[Span]) -> str:
    return r" \cup ".join(span.text for span in spans)
