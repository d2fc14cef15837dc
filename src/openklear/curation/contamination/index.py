"""Benchmark items ready to be looked for: their words, what each is worth, and where to start looking.

A word is worth what the words around it are: the mean, over the runs of SEED words that cover it, of

    w = (ln((N + 1) / df) / ln(N + 1))^2

where df counts the items and the rows of the corpus that hold the run and N all items and rows. A run that one text
holds is worth 1; one that a tenth of a million does, 0.03. So boilerplate ("the first line contains a single integer")
and the corpus's own instructions weigh next to nothing without being listed anywhere, while a common word inside a
rare phrase counts. Weights are only ever compared within an item: one that the corpus holds a thousand times loses
the same share everywhere and is still found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from openklear.curation.contamination.align import masks
from openklear.curation.contamination.grams import Table, grams, within_texts
from openklear.curation.contamination.items import Item
from openklear.curation.contamination.words import Places, Words, cut, exact

Floats = NDArray[np.float64]

SEED = 4
"""Words in a row that make a row a candidate. With one word changed, eight words still hold four in a row."""
SHORTEST = 2 * SEED
"""Words below which an item is too short to be looked for by runs; short.py does it."""
FEW = 2 * SHORTEST
"""Words below which an item's rare pairs of words are runs too: one word changed leaves no rare run of four in "find
the area of a rombus"."""
MOST_ITEMS = 16
"""A run that more items hold weighs in, but starts no search: the work a row can cause stays bounded."""
MOST_PAIR = 3
"""Items that may hold a pair of words for it to be a run."""
NEVER = 1 << 40
"""Frequency of a pair of words that is no run: more than any corpus has rows."""


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """An item: L words."""

    item: Item
    codes: tuple[int, ...]
    where: dict[int, int]
    """`align.masks` of the codes."""
    exact: NDArray[np.bool_]
    """(L,) words that must agree: numbers, signs, LaTeX commands."""
    weights: Floats
    """(L,) what each word is worth; the item's best one 1."""
    spread: Places
    """(L - SEED + 1,) items and rows that hold the run that starts at each word; empty for a shorter item."""
    pairs: Places
    """(L - 1,) the same for two words, or NEVER; empty unless the item has SHORTEST .. FEW - 1 words."""


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Every occurrence of a run in the items, P in all, by run, item and word."""

    rank: Places
    """(P,) place of the run in the table."""
    item: Places
    """(P,)"""
    start: Places
    """(P,) word of the item."""
    size: Places
    """(P,) SEED or 2."""


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """B items whose runs make a table of G."""

    entries: tuple[Entry, ...]
    table: Table
    runs: Runs
    own: Places
    """(G,) items that hold the run."""
    worth: Floats
    """(G,) w of each run."""
    sizes: Places
    """(B,) words of each item."""
    totals: Floats
    """(B,) sum of w over the item's runs of SEED words, each occurrence."""
    first: Places
    """(G + 1,) a run's occurrences are first[g] .. first[g + 1] of `runs`."""

    def weighed(self, counts: Places, rows: int) -> Index:
        """The same items, worth what `counts` (G,) rows of a corpus of `rows` that hold each run make them."""
        spread = self.own + counts
        worth = _worth(spread, rows + len(self.entries))
        four = self.runs.size == SEED
        item, rank = self.runs.item[four], self.runs.rank[four]
        totals = np.bincount(item, worth[rank], len(self.entries)).astype(np.float64)
        return replace(self, worth=worth, totals=totals, entries=_weighed(self.entries, self.runs, spread, worth))


def build(items: Sequence[Item]) -> Index:
    """Items weighed by how many of them share a run."""
    words = cut([item.text for item in items])
    table, runs = _runs(words)
    new = np.ones(len(runs.rank), bool)
    new[1:] = (np.diff(runs.rank) > 0) | (np.diff(runs.item) > 0)
    own = np.bincount(runs.rank[new], minlength=len(table.codes))
    first = np.concatenate(([0], np.cumsum(np.bincount(runs.rank, minlength=len(table.codes)))))
    nothing = np.zeros(0, np.float64)
    index = Index(_bare(items, words), table, runs, own, nothing, np.diff(words.rows), nothing, first)
    return index.weighed(np.zeros(len(table.codes), np.int64), 0)


def _runs(words: Words) -> tuple[Table, Runs]:
    """All runs of SEED words, and of few-worded items the pairs that few items hold."""
    codes, start, row, size = [], [], [], []
    for n in (SEED, 2):
        here = grams(words.codes, n)
        at = np.arange(len(here))
        inside, item = within_texts(at, n, words.rows)
        if n == 2:
            pair, again = np.unique(here, return_inverse=True)
            holders = np.unique(np.stack((again[inside], item[inside])), axis=1)[0]
            often = np.bincount(holders, minlength=len(pair))[again]
            sizes = np.diff(words.rows)[item]
            inside &= (sizes >= SHORTEST) & (sizes < FEW) & (often <= MOST_PAIR)
        codes.append(here[inside])
        start.append(at[inside] - words.rows[item[inside]])
        row.append(item[inside])
        size.append(np.full(int(inside.sum()), n))
    table = Table.build(np.concatenate(codes))
    rank, starts, rows = np.searchsorted(table.codes, np.concatenate(codes)), np.concatenate(start), np.concatenate(row)
    order = np.lexsort((starts, rows, rank))
    return table, Runs(rank[order], rows[order], starts[order], np.concatenate(size)[order])


def _worth(frequency: Places, texts: int) -> Floats:
    """w by document frequency among `texts`."""
    share = np.log((texts + 1) / np.maximum(frequency, 1)) / np.log(texts + 1)
    return np.asarray(np.clip(share, 0, 1) ** 2, np.float64)


def _bare(items: Sequence[Item], words: Words) -> tuple[Entry, ...]:
    """Items that are not yet weighed."""
    must = exact(words)
    nothing, none = np.zeros(0, np.float64), np.zeros(0, np.int64)
    entries = []
    for at, item in enumerate(items):
        part = slice(int(words.rows[at]), int(words.rows[at + 1]))
        codes = tuple(words.codes[part].tolist())
        entries.append(Entry(item, codes, masks(codes), must[part], nothing, none, none))
    return tuple(entries)


def _weighed(entries: Sequence[Entry], runs: Runs, spread: Places, worth: Floats) -> tuple[Entry, ...]:
    sizes = np.array([len(entry.codes) for entry in entries], np.int64)
    ends = np.cumsum(sizes)
    begins = ends - sizes
    count = int(ends[-1]) if len(ends) else 0
    total, covers = np.zeros(count), np.zeros(count)
    frequency = {SEED: np.full(count, NEVER), 2: np.full(count, NEVER)}
    for n, known in frequency.items():
        chosen = runs.size == n
        known[begins[runs.item[chosen]] + runs.start[chosen]] = spread[runs.rank[chosen]]
    four = runs.size == SEED
    for offset in range(SEED):
        at = begins[runs.item[four]] + runs.start[four] + offset
        np.add.at(total, at, worth[runs.rank[four]])
        np.add.at(covers, at, 1)
    weights = np.where(covers > 0, total / np.maximum(covers, 1), 1.0)
    weighed = []
    for entry, begin, end in zip(entries, begins.tolist(), ends.tolist(), strict=True):
        own = weights[begin:end]
        fours = frequency[SEED][begin : max(begin, end - SEED + 1)]
        pairs = frequency[2][begin : end - 1] if SHORTEST <= end - begin < FEW else fours[:0]
        best = max(float(own.max(initial=0)), 1e-9)
        weighed.append(replace(entry, weights=own / best, spread=fours, pairs=pairs))
    return tuple(weighed)
