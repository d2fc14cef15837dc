r"""Options of a question: a letter however it is marked, several of them in any order, a label beside its value.

E, (E), E., option E, and (E), E: or E - with its text are one answer; ABD is A, B and D in any order. To a reference
that is a value, (E) 12 answers 12, but (E) alone does not.
"""

from __future__ import annotations

import re

from openklear.verifiers.mathematics.numbers import number
from openklear.verifiers.mathematics.text import untexted

_LEAD = re.compile(
    r"^(?:the )?(?:correct )?(?:option|choice|answer)s?(?: is| are)?\s?:?\s?(?=\(?[A-Z]\b)", re.IGNORECASE
)
_CAPITAL = re.compile("[A-Z]")
_FIRST = frozenset("(\\ABCDEFGHIJ")
"""What a label may begin with."""
_OPTION = re.compile(r"^\(?([A-Z])\)?[.:]?$")
_SMALL = re.compile(r"^(?:\(([a-j])\)|([a-j])[).]|([a-df-hj]))$")
"""A small letter for its capital; bare e and i are numbers."""
_LABELLED = re.compile(
    r"^(?:\(([A-Z])\)|([A-Z])[.):])\s*(?:\\text\s*\{)?\s*(?:[\w$]|-\s?\d|-?\s?\\(?:frac|sqrt|pi)).*?\}?$"
    r"|^([A-Z])\s?(?:- |--|\u2014)\s?(?=\D*?[a-zA-Z]{3})\D"
)
_AND = re.compile(r"(?<![a-zA-Z])and(?![a-zA-Z])|[,;&\s]")
_SEVERAL = re.compile(r"^[A-J().,;]+$")
_LABEL = re.compile(
    r"^(?:\\(?:text|textbf|textrm|textit|mathrm|mathbf|mbox)\s*\{\s*(?:\(([A-J])\)|([A-J])[).:])\s*\}|\(\s*(?:\\(?:text|textbf|mathrm|mathbf)\s*\{\s*)?([A-J])\s*\}?\s*\)|([A-J])[).:](?=\s))"
    r"\s*(?=[^\s(,)])"
)


def options(left: str, right: str) -> bool | None:
    """An option is the same whatever marks it: E, (E), E - with its text; ABD is A, B, D."""
    if not (_CAPITAL.search(left) or _CAPITAL.search(right)):
        return None
    plain = [_LEAD.sub("", untexted(side).strip()) for side in (left, right)]
    if not any(map(_OPTION.match, plain)):
        return _several(*plain)
    if any(map(number, plain)):
        return False
    named = [_OPTION.match(side) or _LABELLED.match(side) for side in plain]
    letters = {match.group(match.lastindex or 0) for match in named if match}
    return len(letters) == 1 if all(named) else _several(*plain)


def _several(left: str, right: str) -> bool | None:
    """ABD beside A, B, D, in any order."""
    letters = _letters(left), _letters(right)
    if letters[0] is None or letters[1] is None or max(len(letters[0]), len(letters[1])) < 2:
        return None
    run = left.isalpha() or right.isalpha() or ")(" in left or ")(" in right
    return letters[0] == letters[1] if run else None  # (A, B) beside (B, A) may be pairs


def _letters(text: str) -> set[str] | None:
    """The options that a text lists, each once; None where it lists anything else."""
    if len(text) > 80:
        return None
    bare = _AND.sub(",", text.removeprefix("\\{").removesuffix("\\}"))
    letters = [one for one in bare if one.isalpha()]
    if not letters or not _SEVERAL.match(bare) or len(set(letters)) < len(letters):
        return None
    return set(letters)


def in_capitals(left: str, right: str) -> tuple[str, str]:
    """A small letter as the option that the other text names; beside a bare capital it must be the answer's."""
    if len(left) > 3 or len(right) > 3:
        return left, right
    if _OPTION.match(left) and _SMALL.match(right):
        return left, right.upper()
    marked = _OPTION.match(right) and not right.isalpha()
    return (left.upper(), right) if marked and _SMALL.match(left) else (left, right)


def unlabelled(left: str, right: str) -> tuple[str, str]:
    """Two normalised texts without the label of an option that stands before a value and says no more than it."""
    if left[:1] not in _FIRST and right[:1] not in _FIRST:
        return left, right
    labels = _LABEL.match(left), _LABEL.match(right)
    if not any(labels):
        return left, right
    sides = [left, right]
    names = [match.group(match.lastindex or 0) if match else "" for match in labels]
    if all(names) and names[0] != names[1]:
        return left, right
    for i, match in enumerate(labels):
        other = sides[1 - i]
        alone = _OPTION.match(untexted(other).strip())
        if match and not alone and (all(names) or names[i] not in other):
            sides[i] = sides[i][match.end() :].strip()
    return sides[0], sides[1]
