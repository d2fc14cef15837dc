"""Copies of benchmark items changed in known ways: what a rule's recall is measured on."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from openklear.curation.contamination import BenchmarkItem
from openklear.curation.contamination.weighted.words import FIGURE
from openklear.curation.text.vocabulary import NUMBERS

_PLAIN = re.compile(rf"(?<![\w\\{{$^])(?!(?:{'|'.join(NUMBERS.split())})\b)[A-Za-z]{{2,}}(?![\w}}$^(])", re.IGNORECASE)
"""A word of prose: no number, no part of a name, a command, a group or a call."""
_NUMBER = re.compile(r"(?<![\w.,\\])\d+(?:,\d{3})*(?![\w.]|,\d)")
_PUNCTUATION = ".,;:!?'\"$"

Change = Callable[[str, np.random.Generator, Sequence[str]], "str | None"]


def _verbatim(text: str, random: np.random.Generator, pool: Sequence[str]) -> str:
    return text


def _punctuation(text: str, random: np.random.Generator, pool: Sequence[str]) -> str:
    """Half of the marks left out, a quarter exchanged for another, a blank or two more, and one case throughout;
    a mark between two digits is part of a number."""
    letters = []
    for at, letter in enumerate(text):
        inside = text[at - 1 : at].isdigit() and text[at + 1 : at + 2].isdigit()
        if letter in _PUNCTUATION and not inside:
            chance = random.random()
            letter = "" if chance < 0.5 else str(random.choice(list(".,;:!"))) if chance < 0.75 else letter
            letter = letter or " "
        letters.append(letter)
    changed = "".join(letters)
    return changed.upper() if random.random() < 0.5 else changed.lower()


def _place(pattern: re.Pattern[str], text: str, random: np.random.Generator) -> re.Match[str] | None:
    inside = {place for figure in FIGURE.finditer(text) for place in range(*figure.span())}
    found = [match for match in pattern.finditer(text) if match.start() not in inside]
    return found[int(random.integers(len(found)))] if found else None


def _word(random: np.random.Generator, pool: Sequence[str]) -> str:
    while True:
        found = _place(_PLAIN, pool[int(random.integers(len(pool)))], random)
        if found is not None:
            return found[0].lower()


def _inserted(text: str, random: np.random.Generator, pool: Sequence[str]) -> str | None:
    at = _place(_PLAIN, text, random)
    return at and f"{text[: at.start()]}{_word(random, pool)} {text[at.start() :]}"


def _deleted(text: str, random: np.random.Generator, pool: Sequence[str]) -> str | None:
    at = _place(_PLAIN, text, random)
    return at and text[: at.start()] + text[at.end() :]


def _changed(text: str, random: np.random.Generator, pool: Sequence[str]) -> str | None:
    at = _place(_PLAIN, text, random)
    if at is None:
        return None
    word = _word(random, pool)
    while word == at[0].lower():
        word = _word(random, pool)
    return text[: at.start()] + word + text[at.end() :]


def _number(text: str, random: np.random.Generator, pool: Sequence[str]) -> str | None:
    at = _place(_NUMBER, text, random)
    return at and f"{text[: at.start()]}{int(at[0].replace(',', '')) + int(random.integers(1, 9))}{text[at.end() :]}"


def _embedded(text: str, random: np.random.Generator, pool: Sequence[str]) -> str:
    before, behind = (pool[int(random.integers(len(pool)))] for _ in range(2))
    return f"{before}\n{text}\n{behind}"


CHANGES: dict[str, Change] = {
    "verbatim": _verbatim,
    "punctuation": _punctuation,
    "word inserted": _inserted,
    "word deleted": _deleted,
    "word changed": _changed,
    "embedded": _embedded,
    "number changed": _number,
}
"""Kind of copy -> what makes one, or says that the text has no place for it."""


def plant(items: Sequence[BenchmarkItem], kind: str, seed: int, pool: Sequence[str]) -> list[tuple[str, str]]:
    """(item id, changed copy) of every item that can be changed so; words and surroundings are drawn from `pool`."""
    random = np.random.default_rng([seed, [*CHANGES].index(kind)])
    made = ((item.id, CHANGES[kind](item.text, random, pool)) for item in items)
    return [(item, text) for item, text in made if text is not None]
