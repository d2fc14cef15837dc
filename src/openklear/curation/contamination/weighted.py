"""A benchmark item in a row, boilerplate weighed away.

Three looks, each at a whole batch of prompts at a time:

1. Rows with all of an item's words in order, whatever the case and punctuation (equal normalised prompts among them).
2. Items too short for runs of words: short.py.
3. The others: runs of four words that an item holds too name candidates. A row's candidates are ordered by the worth
   (index.py) of the runs that they share, as a share of what the item has; the best few that reach PROMISING are
   aligned and weighed (verify.py).

The work a row causes is bounded: a run that more than MOST_ITEMS items hold names none, and at most CANDIDATES are
aligned, each in time proportional to the item. How it was tuned, and what it finds: benchmarks/decontamination.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from openklear.curation.contamination import index as indexing
from openklear.curation.contamination import short as shorts
from openklear.curation.contamination.grams import grams, within_texts
from openklear.curation.contamination.index import FEW, MOST_ITEMS, SEED, SHORTEST, Index
from openklear.curation.contamination.items import EQUAL, NUMBERS, SAME_WORDS, WHOLE, Item, Match, excerpt
from openklear.curation.contamination.short import Short
from openklear.curation.contamination.verify import Holding, holding
from openklear.curation.contamination.words import Codes, Places, Words, chunks, cut, exact, sums
from openklear.data.rows import normalise

PROMISING, PROMISING_FEW = 0.2, 0.12
"""Share of the item's worth in shared runs that a candidate has; of an item of fewer than FEW words, of which a changed
word in the middle leaves one run in five or only a pair, less."""
CANDIDATES = 3
"""Items that a row is aligned with at most."""


@dataclass(frozen=True, slots=True, eq=False)
class WeightedRule:
    """Rows that hold most of what is particular about an item."""

    index: Index
    short: Short
    prompts: dict[str, str]
    """Whole normalised prompts -> item."""
    whole: dict[tuple[int, ...], int]
    """All words of an item -> its number; short.py knows items of fewer than SHORTEST words."""
    sums: Codes
    """Sums of those items' word codes."""

    reason = "holds a benchmark item"
    """What the funnel counts under."""

    @classmethod
    def build(cls, items: Sequence[Item]) -> WeightedRule:
        """A rule for these items, weighed by how many of them share a run of words."""
        index = indexing.build(items)
        prompts: dict[str, str] = {}
        whole: dict[tuple[int, ...], int] = {}
        for number, entry in enumerate(index.entries):
            prompts.setdefault(normalise(entry.item.text), entry.item.id)
            if len(entry.codes) >= SHORTEST:
                whole.setdefault(entry.codes, number)
        known = np.array(sorted({sum(codes) % 2**64 for codes in whole}), np.uint64)
        return cls(index, shorts.build([item.text for item in items], SHORTEST), prompts, whole, known)

    def count(self, texts: Sequence[str]) -> Places:
        """(G,) how many of the texts hold each of the items' runs of words. Counts of batches add up."""
        total = np.zeros(len(self.index.table.codes), np.int64)
        for part in chunks(texts):
            words = cut(part)
            _, row, run = _hits(self.index, words)
            key = np.unique(row * len(total) + run)
            total += np.bincount(key % max(len(total), 1), minlength=len(total))
        return total

    def with_frequencies(self, counts: Places, rows: int) -> WeightedRule:
        """The same rule, what the words are worth told by a corpus of `rows` texts of which `counts` hold each run."""
        return replace(self, index=self.index.weighed(counts, rows))

    def match(self, texts: Sequence[str]) -> list[Match | None]:
        """For each text the item that it holds, if any: equal ones first, then by score."""
        found: list[Match | None] = []
        for part in chunks(texts):
            found += self._match(part)
        return found

    def _match(self, texts: Sequence[str]) -> list[Match | None]:
        words = cut(texts)
        found: list[Match | None] = [None] * len(texts)
        for row, item in self._same_words(words):
            found[row] = Match(item, 1.0, excerpt(texts[row]), SAME_WORDS)
        for row in np.flatnonzero(np.diff(words.rows) == 0).tolist():
            same = self.prompts.get(normalise(texts[row]))
            if same is not None:
                found[row] = Match(same, 1.0, excerpt(texts[row]), EQUAL)
        for one in shorts.find(self.short, words):
            if _better(found[one.row], 1.0, one.kind):
                text = excerpt(words.text(one.first, one.last))
                found[one.row] = Match(self.index.entries[one.item].item.id, 1.0, text, one.kind)
        for row, number, held in self._held(words, found):
            if _better(found[row], held.score, held.kind):
                first = int(words.rows[row])
                text = excerpt(words.text(first + held.first, first + held.last))
                found[row] = Match(self.index.entries[number].item.id, held.score, text, held.kind)
        for row, match in enumerate(found):
            if match is not None:
                same = self.prompts.get(normalise(texts[row]))
                if same is not None:
                    found[row] = Match(same, 1.0, excerpt(texts[row]), EQUAL)
        return found

    def _same_words(self, words: Words) -> Iterator[tuple[int, str]]:
        """Rows that have all of an item's words and no others: by the sum of their codes, then word by word."""
        for row in np.flatnonzero(np.isin(sums(words.codes, words.rows), self.sums)).tolist():
            codes = tuple(words.codes[words.rows[row] : words.rows[row + 1]].tolist())
            number = self.whole.get(codes)
            if number is not None:
                yield row, self.index.entries[number].item.id

    def _held(self, words: Words, found: Sequence[Match | None]) -> Iterator[tuple[int, int, Holding]]:
        """(row, item, how) of candidates that hold; rows with a certain match are left alone."""
        numbers = exact(words)
        for row, number, diagonal in _candidates(self.index, words):
            match = found[row]
            if match is not None and match.kind in (EQUAL, SAME_WORDS):
                continue
            entry = self.index.entries[number]
            first, last = int(words.rows[row]), int(words.rows[row + 1])
            held = holding(entry, words.codes[first:last], numbers[first:last], diagonal)
            if held is not None and not self._goes_on(words, row, number, held):
                yield row, number, held

    def _goes_on(self, words: Words, row: int, number: int, held: Holding) -> bool:
        """Whether the sentence goes on behind a short item: "the volume of a cube and of its ..." asks for more."""
        few = self.index.sizes[number] < FEW and held.kind == WHOLE
        return bool(few) and not shorts.edge(words, row, int(words.rows[row]) + held.last + 1, front=False)


def _better(match: Match | None, score: float, kind: str) -> bool:
    """Whether a new find goes in front of what a row has: a plain copy before a changed number, then by score."""
    if match is None:
        return True
    return (kind != NUMBERS, score) > (match.kind != NUMBERS, match.score)


def _hits(index: Index, words: Words) -> tuple[Places, Places, Places]:
    """(word, row, run) of every run of the items' that stands in a row."""
    found = []
    for size in (SEED, 2):
        at, run = index.table.find(grams(words.codes, size))
        inside, row = within_texts(at, size, words.rows)
        found.append((at[inside], row[inside], run[inside]))
    at, row, run = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return at, row, run


def _candidates(index: Index, words: Words) -> Iterator[tuple[int, int, int]]:
    """(row, item, word of the row where the item's first word should be), the best first, a few a row."""
    at, row, run = _hits(index, words)
    start = index.own[run] <= MOST_ITEMS
    at, row, run = at[start], row[start], run[start]
    times = index.first[run + 1] - index.first[run]
    occurrence = np.repeat(index.first[run] - np.cumsum(times) + times, times) + np.arange(int(times.sum()))
    hit = np.repeat(np.arange(len(run)), times)
    item = index.runs.item[occurrence]
    diagonal = at[hit] - words.rows[row[hit]] - index.runs.start[occurrence]
    order = np.lexsort((diagonal, item, row[hit]))
    key = (row[hit] * len(index.entries) + item)[order]
    begins = np.flatnonzero(np.diff(key, prepend=-1))
    if not len(begins):
        return
    shared = np.add.reduceat(index.worth[run[hit]][order], begins)
    middle = diagonal[order][begins + np.diff(begins, append=len(key)) // 2]
    rows, items = np.divmod(key[begins], len(index.entries))
    share = shared / np.maximum(index.totals[items], 1e-9)
    best = np.lexsort((items, -share, rows))
    best = best[index.sizes[items[best]] >= SHORTEST]
    few = index.sizes[items[best]] < FEW
    best = best[share[best] >= np.where(few, PROMISING_FEW, PROMISING)]
    place = np.arange(len(best)) - np.searchsorted(rows[best], rows[best], side="left")
    for pick in best[place < CANDIDATES].tolist():
        yield int(rows[pick]), int(items[pick]), int(middle[pick])
