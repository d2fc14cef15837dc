"""What decontamination takes and gives: benchmark items in, matches out."""

from __future__ import annotations

from dataclasses import dataclass

EQUAL = "equal prompt"
"""The normalised prompts are the same."""
SAME_WORDS = "same words"
"""The same words in the same order, from the row's start to its end; punctuation differs."""
WORDS_IN_A_ROW = "words in a row"
"""The report's rule: n words in a row are shared."""
WHOLE = "whole item inside"
"""Every word of the item stands in the row, in one piece."""
NEAR = "near copy"
"""Words were changed, added or left out, but no number or sign."""
NUMBERS = "a number differs"
"""A near copy in which a number or a sign is another one: the same story with another answer."""

EXCERPT = 400
"""Characters of matched text that a match carries."""


@dataclass(frozen=True, slots=True)
class BenchmarkItem:
    """A benchmark item: its id and its prompt."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Match:
    """The item that a row holds."""

    item: str
    score: float
    """Weighted share of the item that the row holds, 0 .. 1 (the 9-gram rule: 1)."""
    text: str
    """The row's words that matched, at most EXCERPT characters."""
    kind: str
    """One of the phrases above."""


def excerpt(text: str) -> str:
    """One line of at most EXCERPT characters."""
    line = " ".join(text.split())
    return line if len(line) <= EXCERPT else line[: EXCERPT - 1] + "…"
