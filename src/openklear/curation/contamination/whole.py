"""Rows that are a benchmark item from end to end, for both rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openklear.curation.contamination.items import EQUAL, SAME_WORDS, BenchmarkItem, Match, excerpt
from openklear.curation.text.cut import Codes, Words
from openklear.curation.text.grams import sums
from openklear.data.rows import normalise


@dataclass(frozen=True, slots=True, eq=False)
class WholePrompts:
    """Items that a row may be from end to end: the normalised prompts are the same, or all the words are.

    A row is looked up only if the sum of its word codes is that of an item: normalising every row would take as long as
    everything else.
    """

    prompts: dict[str, str]
    """Normalised prompt -> item."""
    words: dict[tuple[int, ...], str]
    """Codes of all words -> item."""
    sums: Codes
    """Ascending: the sum of each item's codes."""

    @classmethod
    def build(cls, items: Sequence[BenchmarkItem], cut: Words, by_words: NDArray[np.bool_]) -> WholePrompts:
        """`cut` are the items' words, and `by_words` (items,) says which items are looked up by them too."""
        prompts: dict[str, str] = {}
        words: dict[tuple[int, ...], str] = {}
        for number, item in enumerate(items):
            prompts.setdefault(normalise(item.text), item.id)
            if by_words[number]:
                words.setdefault(cut.codes_of(number), item.id)
        return cls(prompts, words, np.unique(sums(cut.codes, cut.rows)))

    def find(self, texts: Sequence[str], cut: Words) -> Iterator[tuple[int, Match]]:
        """Rows that are an item, and how; `cut` are the words of `texts`."""
        for row in np.flatnonzero(np.isin(sums(cut.codes, cut.rows), self.sums)).tolist():
            if (item := self.prompts.get(normalise(texts[row]))) is not None:
                yield row, Match(item, 1.0, excerpt(texts[row]), EQUAL)
            elif (item := self.words.get(cut.codes_of(row))) is not None:
                yield row, Match(item, 1.0, excerpt(texts[row]), SAME_WORDS)
