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
_TURNED = {">": "<", r"\geq": r"\leq", "<": ">", r"\leq": r"\geq"}
_FALLING = frozenset((">", r"\geq"))
_KINDS = (_FALLING, frozenset(("<", r"\leq")), frozenset((r"\neq",)))
"""Signs that may stand in one chain."""
_JOINT = re.compile(r"(?<![a-zA-Z\\])(?:or|and)(?![a-zA-Z])|\\(?:lor|vee|land|wedge|cup)(?![a-zA-Z])|[,;]")
_AND = frozenset(("and", r"\land", r"\wedge", ",", ";"))
_SUBJECT = re.compile(r"^(?:[a-zA-Z]|\\[a-zA-Z]{2,12})(?:_\w|_\{\w{1,8}\})?(?:\([a-zA-Z0-9]\))?$")
_BARS = re.compile(r"^(?:\||\\lvert)([^|]{1,20}?)(?:\||\\rvert)$")
_LETTER = re.compile(r"(?<![\\a-zA-Z])[a-df-zA-Z]|\\(?!(?:frac|sqrt|pi|ln|log)(?![a-zA-Z]))[a-zA-Z]")
_SIMPLE = re.compile(r"^(?:[\d.]+|\\sqrt\{[^{}]*\}|\\frac\{[^{}]*\}\{[^{}]*\})$")
_INFINITY = {r"\infty": math.inf, r"+\infty": math.inf, r"-\infty": -math.inf}
_UNION = re.compile(r"\\(?:cup|setminus)(?![a-zA-Z])")
_BUILT = re.compile(r"^\\\{\s?([a-zA-Z])\s?(?:\\in\s?\\mathbb\s?\{?R\}?\s?)?(?:\||:|\\mid(?![a-zA-Z]))\s?([^{}]*)\\\}$")
"""{x | x > 1}: what it says of the reals."""
_MOST = 32
"""Signs of a text that is read; nothing that a person writes has more."""


@dataclass(frozen=True, slots=True)
class Inequality:
    """a < b < c: its parts and the signs between them, which rise (or are a single \\neq)."""

    parts: tuple[str, ...]
    signs: tuple[str, ...]

    @property
    def text(self) -> str:
        """As LaTeX; an unknown that is compared with one thing comes first (to math-verify 3 < m ends with a metre)."""
        parts, signs = self.parts, self.signs
        if len(parts) == 2 and _subject(parts[1]) and not _subject(parts[0]):
            parts, signs = parts[::-1], tuple(_TURNED.get(sign, sign) for sign in signs)
        written = parts[0]
        for sign, part in zip(signs, parts[1:], strict=True):
            written += f" {sign} {part}"
        return written


@dataclass(frozen=True, slots=True)
class Stretch:
    """What lies between two ends, each with whether it belongs to it."""

    low: str
    low_closed: bool
    high: str
    high_closed: bool

    @property
    def text(self) -> str:
        """As an interval."""
        return f"{'(['[self.low_closed]}{self.low}, {self.high}{')]'[self.high_closed]}"


Stretches = tuple[str, list[Stretch]]
"""An unknown, and where it may lie."""


def one_way(left: str, right: str) -> tuple[str, str]:
    """Two normalised texts with their inequalities written the same way: rising, and as unions beside unions."""
    signed = _has_sign(left), _has_sign(right)
    if not any(signed):
        return left, right
    left, right = _said(left), _said(right)
    first, second = (_stretches(side) if sign else None for side, sign in zip((left, right), signed, strict=True))
    if first and second:
        if squeeze(first[0]) == squeeze(second[0]):
            return _written(left, first), _written(right, second)
    elif first:
        return (_union(first) if _UNION.search(right) else _written(left, first)), right
    elif second:
        return left, (_union(second) if _UNION.search(left) else _written(right, second))
    return _risen(left), _risen(right)


def same_chains(left: str, right: str, same: Same) -> bool | None:
    """Two chains by their parts; a sign that is strict on one side alone tells them apart."""
    first, second = (_chain(side) if _has_sign(side) else None for side in (left, right))
    if first is None or second is None or len(first.parts) != len(second.parts):
        return None
    turned = [second.parts, second.parts[::-1]] if first.signs == (r"\neq",) else [second.parts]
    for parts in turned:
        if all(same(ours, theirs) for ours, theirs in zip(first.parts, parts, strict=True)):
            return first.signs == second.signs
    return None


def _has_sign(text: str) -> bool:
    return "<" in text or ">" in text or "\\leq" in text or "\\geq" in text or "\\neq" in text


def _chain(text: str) -> Inequality | None:
    """A chain of one direction, turned so that it rises; None for anything else."""
    if len(text) > _MOST * 64:
        return None
    opened = depths(text)
    found = [match for match in _SIGN.finditer(text) if not opened[match.start()]]
    signs = tuple(match.group() for match in found)
    kind = next((kind for kind in _KINDS if set(signs) <= kind), None)
    parts = tuple(_between(text, found))
    if kind is None or not 1 <= len(signs) <= 3 or not all(parts):
        return None
    if kind is _FALLING:
        return Inequality(parts[::-1], tuple(_TURNED[sign] for sign in signs[::-1]))
    return Inequality(parts, signs)


def _between(text: str, cuts: list[re.Match[str]]) -> list[str]:
    """The parts of a text before, between and after matches in it."""
    edges = [0]
    for match in cuts:
        edges += match.span()
    edges.append(len(text))
    return [text[start:end].strip() for start, end in zip(edges[::2], edges[1::2], strict=True)]


def _pieces(text: str) -> tuple[list[str], list[str]] | None:
    """What stands between the joints outside of brackets, and the joints; None where there are too many."""
    if len(_SIGN.findall(text)) > _MOST:
        return None
    text = TEXT.sub(r" \1 ", text)
    opened = depths(text)
    joints = [match for match in _JOINT.finditer(text) if not opened[match.start()]]
    return _between(text, joints), [match.group() for match in joints]


def _risen(text: str) -> str:
    """The text with all of its chains written one way."""
    pieces = _pieces(text)
    if pieces is None:
        return text
    written = [found.text if (found := _chain(piece)) else piece for piece in pieces[0]]
    joints = [joint if joint in ",;" else f" {joint}" for joint in pieces[1]]
    return "".join(f"{piece}{joint} " for piece, joint in zip(written, [*joints, ""], strict=True)).strip()


def _stretches(text: str) -> Stretches | None:
    """Where one unknown may lie, by inequalities with "or", "and" or commas between them; None for anything else."""
    read = _pieces(text)
    pieces = [piece for piece in read[0] if piece] if read else []
    known = [one for piece in pieces if (one := _stretch(piece))]
    if read is None or not known or len(known) < len(pieces) or len({squeeze(one[0]) for one in known}) > 1:
        return None
    subject, found = known[0]
    if len(known) > 1 and "\\neq" in text:
        return None
    for _, others in known[1:]:
        found = found + others
    both = _common(found) if len(known) > 1 and _AND.issuperset(read[1]) else found
    return None if both is None else (subject, both)


def _stretch(piece: str) -> Stretches | None:
    """One chain about one unknown."""
    found = _chain(piece)
    if found is None:
        return None
    subjects = [_subject(part) for part in found.parts]
    closed = [sign == r"\leq" for sign in found.signs]
    if len(found.parts) == 3 and subjects[1] and r"\neq" not in found.signs:
        return _unbarred(subjects[1], [Stretch(found.parts[0], closed[0], found.parts[2], closed[1])])
    if len(found.parts) != 2 or bool(subjects[0]) == bool(subjects[1]):
        return None
    subject, end = (subjects[0], found.parts[1]) if subjects[0] else (subjects[1], found.parts[0])
    assert subject is not None
    below, above = Stretch(r"-\infty", False, end, closed[0]), Stretch(end, closed[0], r"\infty", False)
    if found.signs == (r"\neq",):
        return _unbarred(subject, [below, above])
    return _unbarred(subject, [below if subjects[0] else above])


def _subject(part: str) -> str | None:
    """The unknown that a part is, bars and all; None where it is none."""
    barred = _BARS.match(part)
    inner = barred.group(1).strip() if barred else part
    return part if _SUBJECT.match(inner) and (barred or _LETTER.search(inner)) and inner not in _INFINITY else None


def _unbarred(subject: str, stretches: list[Stretch]) -> Stretches | None:
    """|x| < a as -a < x < a, and |x| > a as two."""
    barred = _BARS.match(subject)
    if barred is None:
        return subject, stretches
    one = stretches[0]
    below = one.low == r"-\infty"
    end = one.high if below else one.low
    if len(stretches) > 1 or not (below or one.high == r"\infty") or not _size(end) > 0:
        return None
    negative = f"-{end}" if _SIMPLE.match(end) else f"-({end})"
    if below:
        return barred.group(1).strip(), [Stretch(negative, one.high_closed, end, one.high_closed)]
    outer = Stretch(r"-\infty", False, negative, one.low_closed), Stretch(end, one.low_closed, r"\infty", False)
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


def _common(stretches: list[Stretch]) -> list[Stretch] | None:
    """What all of these have in common; they themselves where that is nothing (x < 1 and x > 3); None where it is not
    known."""
    if any(math.isnan(_size(one.low)) or math.isnan(_size(one.high)) for one in stretches):
        return None
    low = max(stretches, key=lambda one: (_size(one.low), not one.low_closed))
    high = min(stretches, key=lambda one: (_size(one.high), one.high_closed))
    if _size(low.low) >= _size(high.high):
        return stretches
    return [Stretch(low.low, low.low_closed, high.high, high.high_closed)]


def _written(text: str, found: Stretches) -> str:
    """One stretch as a chain, several as a union; a text that says one thing only as it stands, rising."""
    subject, stretches = found
    if len(stretches) > 1:
        return text if "\\neq" in text else _union(found)
    if not (_JOINT.search(text) or "|" in text):
        return _risen(text)
    one = stretches[0]
    parts, signs = [subject], []
    if one.low != r"-\infty":
        parts, signs = [one.low, subject], [r"\leq" if one.low_closed else "<"]
    if one.high != r"\infty":
        parts, signs = [*parts, one.high], [*signs, r"\leq" if one.high_closed else "<"]
    return Inequality(tuple(parts), tuple(signs)).text


def _union(found: Stretches) -> str:
    return r" \cup ".join(one.text for one in found[1])


def _said(text: str) -> str:
    """What a set of the reals says of its members."""
    match = _BUILT.match(text) if text.startswith("\\{") else None
    return match.group(2).strip() if match and match.group(1) in match.group(2) else text
