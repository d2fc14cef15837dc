"""The weighted rule: what happens to a batch of prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from openklear.curation.contamination.items import EQUAL, NUMBERS, SAME_WORDS, WHOLE, BenchmarkItem, Match, excerpt
from openklear.curation.contamination.weighted import index as indexing
from openklear.curation.contamination.weighted import short as shorts
from openklear.curation.contamination.weighted.candidates import candidates, shared_runs
from openklear.curation.contamination.weighted.index import FEW, SHORTEST, Index
from openklear.curation.contamination.weighted.short import Found, ShortItems
from openklear.curation.contamination.weighted.verify import holding
from openklear.curation.contamination.weighted.words import cut, exact
from openklear.curation.contamination.whole import WholePrompts
from openklear.curation.text.cut import Places, Words, chunks


@dataclass(frozen=True, slots=True, eq=False)
class WeightedRule:
    """Rows that hold most of what is particular about an item."""

    index: Index
    short: ShortItems
    whole: WholePrompts
    """Items of SHORTEST words or more by their words, and all items by their text."""

    @classmethod
    def build(cls, items: Sequence[BenchmarkItem]) -> WeightedRule:
        """A rule for these items, weighed by how many of them share a run of words."""
        words = cut([item.text for item in items])
        whole = WholePrompts.build(items, words, np.diff(words.rows) >= SHORTEST)
        return cls(indexing.build(items, words), shorts.build(words), whole)

    def count(self, texts: Sequence[str]) -> Places:
        """(G,) how many of the texts hold each of the items' runs of words. Counts of batches add up."""
        total = np.zeros(len(self.index.own), np.int64)
        for part in chunks(texts):
            _, row, rank = shared_runs(self.index, cut(part))
            total += indexing.holders(rank, row, len(total))
        return total

    def with_frequencies(self, counts: Places, rows: int) -> WeightedRule:
        """The same rule, its words weighed by a corpus of `rows` texts of which `counts` hold each run."""
        return replace(self, index=self.index.weighed(counts, rows))

    def match(self, texts: Sequence[str]) -> list[Match | None]:
        """For each text the item that it holds, if any: equal ones first, then by score."""
        found: list[Match | None] = []
        for part in chunks(texts):
            found += self._match(part)
        return found

    def _match(self, texts: Sequence[str]) -> list[Match | None]:
        words = cut(texts)
        matches: list[Match | None] = [None] * len(texts)
        for row, match in self.whole.find(texts, words):
            matches[row] = match
        for found in shorts.find(self.short, words):
            self._take(matches, words, found)
        for found in self._held(words, matches):
            self._take(matches, words, found)
        return matches

    def _take(self, matches: list[Match | None], words: Words, found: Found) -> None:
        """Note what was found if it is better than what the row has: no changed number first, then the score."""
        match = matches[found.row]
        if match is None or (found.kind != NUMBERS, found.score) > (match.kind != NUMBERS, match.score):
            text = excerpt(words.text(found.first, found.last))
            matches[found.row] = Match(self.index.items[found.item].id, found.score, text, found.kind)

    def _held(self, words: Words, matches: Sequence[Match | None]) -> Iterator[Found]:
        """Candidates that hold; rows with a certain match are left alone."""
        must_agree = exact(words)
        for row, number, diagonal in candidates(self.index, words):
            match = matches[row]
            if match is not None and match.kind in (EQUAL, SAME_WORDS):
                continue
            item = self.index.item(number)
            begin, end = int(words.rows[row]), int(words.rows[row + 1])
            held = holding(item, words.codes[begin:end], must_agree[begin:end], diagonal)
            if held is None:
                continue
            score, kind, first, last = held
            # "The volume of a cube and of its ..." goes on behind a short item: it asks for more.
            ends = shorts.edge(words, row, begin + last + 1, front=False)
            if kind != WHOLE or len(item.codes) >= FEW or ends:
                yield Found(row, number, score, kind, begin + first, begin + last)
