r"""Trailing qualifiers: "for all real x", "where k is an integer", ", k \in \mathbb{Z}", "for some a > 0".

What a reference qualifies and an answer does not is the question's. An answer may add where its formula holds for all
("for all real x", an excluded point, an index from 0, 1 or 2 on), but no other condition. Two that differ are not
equal. "if", "when", and words not known here are no qualifiers: they may be the answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from openklear.verifiers.mathematics.text import TEXT, depths, squeeze

_START = re.compile(
    r" ?[,;(]? ?(?:\\(?:text|textbf|textrm|mathrm|mbox)\s?\{ ?)?[,;(]? ?"
    r"(?:(?<![a-zA-Z\\])(?:for|where|with)(?![a-zA-Z])|\\forall(?![a-zA-Z]))"
)
_MEMBER = re.compile(r"(?:[,;(] ?[a-zA-Z](?: ?, ?[a-zA-Z]){0,3}| [a-zA-Z]) ?\\in(?![a-zA-Z]) ?\\mathbb")
_SET = re.compile(r"\\in(?![a-zA-Z]) ?\\mathbb ?\{?([ZNRQC])\}?(?: ?[\^_] ?(?:\{? ?(\+|\*|> ?0|\\geq ?[01]) ?\}?))?")
_SETS = {"Z": "integer", "N": "positive integer", "R": "real", "Q": "rational", "C": "complex"}
_DOMAIN = re.compile(
    r"(?<![a-zA-Z])(?:(non-?negative|positive|negative|non-?zero) )?"
    r"(?:(reals?)|(integers?|whole)|(naturals?)|(rationals?)|(complex)|(?=numbers?))(?![a-zA-Z])"
)
_DOMAINS = ("", "real", "integer", "positive integer", "rational", "complex")
_USUAL = """for all any every each some where with is are be being a an the that and number numbers value values of
    constant constants arbitrary fixed valued in"""
_FILLERS = frozenset(_USUAL.split())
_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{2,}(?:-[a-zA-Z]+)?|(?<![\\a-zA-Z])a(?= [a-zA-Z])")
_NAMES = re.compile(r"^[a-zA-Z](?:_\w)?(?:,?[a-zA-Z](?:_\w)?)*$")
_CONDITION = re.compile(r"^([a-zA-Z](?:_\w)?(?:,[a-zA-Z])*)(<|>|\\leq|\\geq|\\neq|\\in)([^=]{1,40})$")
_LETTER = re.compile(r"\\[a-zA-Z]+|[a-zA-Z]")
_HARMLESS = re.compile(r"^(?:.*\\neq.*|[ijkmn](?:\\geq[012]|>0))$")
"""Conditions that an answer may add."""


@dataclass(frozen=True, slots=True)
class Qualifier:
    """Of which numbers a formula holds ("" where that is not said), for which names, on which condition."""

    domain: str
    names: str
    condition: str


def unqualified(left: str, right: str) -> tuple[str, str]:
    """Two normalised texts without their trailing qualifiers, where those make no difference."""
    if not (_may_qualify(left) or _may_qualify(right)):
        return left, right
    (ours, known), (theirs, said) = _cut(left), _cut(right)
    if said and not known and not (said.condition and not _HARMLESS.match(said.condition)):
        return left, theirs
    if known and not said:
        return ours, right
    if known and said and _agree(known, said):
        return ours, _renamed(theirs, said.names, known.names, ours)
    return left, right


def differ(left: str, right: str) -> bool | None:
    """Two that qualify differently are not equal: for all integers n, for all real n."""
    if not (_may_qualify(left) and _may_qualify(right)):
        return None
    known, said = _cut(left)[1], _cut(right)[1]
    return False if known and said and not _agree(known, said) else None


def _may_qualify(text: str) -> bool:
    return "for" in text or "where" in text or "with" in text or "\\mathbb" in text


def _cut(text: str) -> tuple[str, Qualifier | None]:
    """A text in front of its qualifier, and that; the whole where it has none that is understood."""
    for pattern in (_START, _MEMBER):
        match = pattern.search(text)
        if match is None:
            continue
        main, tail = text[: match.start()].strip(" ,;"), text[match.start() :]
        if not main or main[-1] in "=<>+-*/^_" or depths(main)[-1]:
            continue
        found = _read(tail)
        if found is not None:
            return main, found
    return text, None


def _read(tail: str) -> Qualifier | None:
    """What a qualifier says; None where it holds a word or formula that is not known here."""
    if len(tail) > 200:
        return None
    tail = TEXT.sub(r" \1 ", tail).replace("\\forall", " for all ").strip(" ,;.()")
    domain = ""
    if match := _SET.search(tail):
        domain = _SETS[match.group(1)] + (" of a sign" if match.group(2) else "")
        tail = tail[: match.start()] + tail[match.end() :]
    if match := _DOMAIN.search(tail):
        kind = next((name for name, group in zip(_DOMAINS[1:], match.groups()[1:], strict=True) if group), "")
        domain = " ".join(filter(None, (match.group(1), kind))).replace("positive positive", "positive") or domain
        tail = tail[: match.start()] + " " + tail[match.end() :]
    if any(word.casefold() not in _FILLERS for word in _WORD.findall(tail)):
        return None
    rest = squeeze(_WORD.sub(" ", tail)).strip(",;.()")
    if not rest or _NAMES.match(rest):
        return Qualifier(domain, rest, "")
    match = _CONDITION.match(rest)
    return Qualifier(domain, match.group(1), rest) if match else None


def _agree(known: Qualifier, said: Qualifier) -> bool:
    """Whether an answer's qualifier says no other thing than the reference's."""
    if known.domain and said.domain and known.domain != said.domain:
        return False
    if known.condition and said.condition:
        return known.condition == said.condition.replace(said.names, known.names)
    return not said.condition or _HARMLESS.match(said.condition) is not None


def _renamed(text: str, name: str, wanted: str, reference: str) -> str:
    """2k\\pi for integers k is 2n\\pi for integers n: a name that the qualifier binds may be another."""
    if name == wanted or len(name) != 1 or len(wanted) != 1:
        return text
    letters = _LETTER.findall(text)
    if wanted in letters or name in _LETTER.findall(reference):
        return text
    return _LETTER.sub(lambda match: wanted if match.group() == name else match.group(), text)
