"""Values that a sentence offers together: "5 or 6" is neither 5 nor 6."""

from __future__ import annotations

import re
from itertools import pairwise

from openklear.verifiers.mathematics.numbers import number
from openklear.verifiers.mathematics.text import normalise
from openklear.verifiers.prose.pieces import Piece, pieces

_LINK = re.compile(
    r"\s*(?:,\s*)?\(?(?:\b(?:and|or|y|o|et|ou|und|oder)(?: (?:also|maybe|perhaps|possibly|even|equivalently))?\b"
    r"|[&\u6216\u548c\u53ca]|i\.?e\.,?|that is,?)\s*",
    re.IGNORECASE,
)
COMMA = re.compile(r"\s*[,;]\s*")
_LOOSE = re.compile(r"\s+(?:to|through|versus|vs)\s+|(?:\s+[a-z]{2,20}){1,2},?\s+(?:and|or)\s+")
_NAME = re.compile(r"[\s$\\()\[\]]")
"""What may stand around the name in a formula."""
_OR = re.compile(r"[,\s(]*(?:or|o|ou|oder|\u6216)\s*", re.IGNORECASE)


def runs(text: str, loosely: bool) -> list[list[Piece]]:
    """The values of a sentence, those with nothing but a comma, "and" or "or" between them in one list; `loosely`
    also 3 to 5, 5 feet 3 inches, and 5 boys and 6 girls."""
    found: list[list[Piece]] = []
    for piece in pieces(text):
        between = text[found[-1][-1].end : piece.start].replace("$", "") if found else ""
        linked = _LINK.fullmatch(between) or COMMA.fullmatch(between)
        if found and (linked or (loosely and (_LOOSE.fullmatch(between) or between.isspace()))):
            found[-1].append(piece)
        else:
            found.append([piece])
    return found


def links(text: str, run: list[Piece]) -> list[str]:
    """What stands between the values of a run."""
    return [text[left.end : right.start] for left, right in pairwise(run)]


def offered_in_closing(text: str, run: list[Piece]) -> bool:
    """Whether a sentence that closes a text offers a run as one answer: 5 or 6; x = 1 and x = 2; 1, 2, and 3.

    Not "k = 900 and n = 890", of which one was asked for, nor "30 + 28, or 58", which says the same again, nor
    "in 2020, 42".
    """
    words = [link for link in links(text, run) if not COMMA.fullmatch(link)]
    if not words:
        return False
    names = {_NAME.sub("", text[piece.start : piece.end].partition("=")[0]) for piece in run}
    of_one = _OR.fullmatch(words[0]) or len(names) == 1
    if not all(piece.alone or (piece.named and of_one) for piece in run):
        return False
    return len(run) > 2 or "," not in words[0]


def offer(text: str, run: list[Piece]) -> str:
    """A run of values as one answer; where all say one number (1/2, or 50%), that number."""
    if len(run) == 1 or says_one(run):
        return run[0].value
    return text[run[0].start : run[-1].end].strip().replace("\u6216", " or ")


def says_one(run: list[Piece]) -> bool:
    """Whether several values are one number."""
    known = [number(normalise(piece.value)) for piece in run]
    return len(run) > 1 and all(known) and len({one.value for one in known if one}) == 1
