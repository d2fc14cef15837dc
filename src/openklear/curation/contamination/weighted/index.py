"""Benchmark items ready to be looked for: their words, what each is worth, and where to start looking.

A word is worth what the words around it are: the mean, over the runs of SEED words that cover it, of

    w = (ln((N + 1) / df) / ln(N + 1))^2

where df counts the items and the rows of the corpus that hold the run and N all items and rows. A run that one text
holds is worth 1; one that a tenth of a million texts hold, 0.03. So boilerplate ("the first line contains a single
integer") and the corpus's own instructions weigh next to nothing without being listed anywhere, while a common word
inside a rare phrase counts. Weights are only ever compared within an item: one that the corpus holds a thousand times
loses the same share everywhere and is still found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from openklear.curation.contamination.items import BenchmarkItem
from openklear.curation.contamination.weighted.words import SIGNS, exact
from openklear.curation.text.cut import Codes, Places, Words
from openklear.curation.text.grams import CodeSet, grams, within_texts

Floats = NDArray[np.float64]

SEED = 4
"""Words in a row that make an item a candidate. With one word changed, eight words still hold four in a row."""
SHORTEST = 2 * SEED
"""Words below which an item is too short to be looked for by runs; short.py does it."""
FEW = 2 * SHORTEST
"""Words below which an item's rare pairs of words are runs too: one changed word leaves no rare run of four in "find
the area of a rhombus"."""
MOST_PAIR = 3
"""Items that may hold a pair of words for it to be a run."""
NEVER = 1 << 40
"""Frequency where no run begins: more than any corpus has rows."""


@dataclass(frozen=True, slots=True, eq=False)
class IndexedItem:
    """An item of L words."""

    codes: tuple[int, ...]
    exact: NDArray[np.bool_]
    """(L,) words that must agree: numbers, signs, LaTeX commands."""
    weights: Floats
    """(L,) what each word is worth; the item's best one 1."""
    frequency: dict[int, Places]
    """SEED and 2 -> (L,) items and rows that hold the run of so many words from each word on, or NEVER."""


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """B items of W words in all, whose runs make a table of G."""

    items: tuple[BenchmarkItem, ...]
    codes: Codes
    """(W,)"""
    rows: Places
    """(B + 1,) item b has the words rows[b] .. rows[b + 1]."""
    exact: NDArray[np.bool_]
    """(W,)"""
    runs: CodeSet
    """The runs of SEED words, and the rare pairs of items of few words."""
    begins: dict[int, Places]
    """SEED and 2 -> (W,) rank of the run of so many words that begins at each word, or -1."""
    places: Places
    """(P,) words at which runs begin, by the run's rank."""
    first: Places
    """(G + 1,) a run begins at places[first[g]] .. places[first[g + 1]]."""
    own: Places
    """(G,) items that hold the run."""
    frequency: Places
    """(G,) items and rows of the corpus that hold it."""
    worth: Floats
    """(G,) w of each run."""
    weights: Floats
    """(W,) what each word is worth."""
    totals: Floats
    """(B,) sum of w over the item's runs of SEED words, each occurrence."""

    def weighed(self, counts: Places, rows: int) -> Index:
        """The same items, worth what `counts` (G,) rows of a corpus of `rows` that hold each run make them."""
        frequency = self.own + counts
        worth = worth_of(frequency, rows + len(self.items))
        rank = self.begins[SEED]
        begun = np.where(rank >= 0, worth[rank] if len(worth) else 0.0, 0.0)  # (W,) w of the run that begins here
        total, covers = np.zeros(len(rank)), np.zeros(len(rank))
        for offset in range(min(SEED, len(rank))):  # each word gets the runs that begin here and up to 3 words before
            total[offset:] += begun[: len(rank) - offset]
            covers[offset:] += rank[: len(rank) - offset] >= 0
        weights = np.where(covers > 0, total / np.maximum(covers, 1), 1.0)
        item = np.repeat(np.arange(len(self.items)), np.diff(self.rows))
        totals = np.bincount(item, begun, len(self.items)).astype(np.float64)
        return replace(self, frequency=frequency, worth=worth, weights=weights, totals=totals)

    def item(self, number: int) -> IndexedItem:
        """One item, weighed."""
        part = slice(int(self.rows[number]), int(self.rows[number + 1]))
        best = max(float(self.weights[part].max(initial=0)), 1e-9)
        frequency = {}
        for size, begins in self.begins.items():
            rank = begins[part]
            frequency[size] = np.where(rank >= 0, self.frequency[rank], NEVER)
        codes = tuple(self.codes[part].tolist())
        return IndexedItem(codes, self.exact[part], self.weights[part] / best, frequency)


def build(items: Sequence[BenchmarkItem], words: Words) -> Index:
    """Items, whose words are `words`, weighed by how many of them share a run."""
    found = {SEED: _fours(words), 2: _rare_pairs(words)}
    runs = CodeSet.build(np.concatenate([codes for _, codes in found.values()]))
    begins = {}
    for size, (at, codes) in found.items():
        begins[size] = np.full(len(words.codes), -1)
        begins[size][at] = np.searchsorted(runs.codes, codes)
    rank = np.concatenate([*begins.values()])  # (2 W,) of the fours, then of the pairs
    order = np.argsort(rank, kind="stable")[np.count_nonzero(rank < 0) :]  # (P,) where runs begin in `rank`, by rank
    places = order % max(len(words.codes), 1)  # (P,) words
    count = len(runs.codes)
    nothing = np.zeros(0, np.float64)
    index = Index(
        items=tuple(items),
        codes=words.codes,
        rows=words.rows,
        exact=exact(words),
        runs=runs,
        begins=begins,
        places=places,
        first=np.searchsorted(rank[order], np.arange(count + 1)),
        own=holders(rank[order], words.row_of(places), count),
        frequency=np.zeros(0, np.int64),
        worth=nothing,
        weights=nothing,
        totals=nothing,
    )
    return index.weighed(np.zeros(count, np.int64), 0)


def holders(runs: Places, texts: Places, count: int) -> Places:
    """(count,) how many texts hold each run: runs (n,) below `count`, texts (n,) beside them."""
    distinct = np.unique(texts * count + runs)
    return np.bincount(distinct % max(count, 1), minlength=count)


def worth_of(frequency: Places, texts: int) -> Floats:
    """w by document frequency among `texts`."""
    share = np.log((texts + 1) / np.maximum(frequency, 1)) / np.log(texts + 1)
    return np.asarray(np.clip(share, 0, 1) ** 2, np.float64)


def _fours(words: Words) -> tuple[Places, Codes]:
    """Words at which runs of SEED words begin, and the runs' codes; signs alone (`>>>>`) are no run."""
    codes = grams(words.codes, SEED)
    inside = within_texts(np.arange(len(codes)), SEED, words.rows)[0]
    at = np.flatnonzero(inside & _says_something(words, SEED))
    return at, codes[at]


def _says_something(words: Words, size: int) -> NDArray[np.bool_]:
    """(W - size + 1,) whether the run of `size` words from each word on holds one that is no sign."""
    spoken = np.concatenate(([0], np.cumsum(words.kinds != SIGNS)))
    return np.asarray(spoken[size:] > spoken[: max(len(spoken) - size, 0)], np.bool_)


def _rare_pairs(words: Words) -> tuple[Places, Codes]:
    """The same of the pairs in items of few words that at most MOST_PAIR items hold."""
    codes = grams(words.codes, 2)
    inside, item = within_texts(np.arange(len(codes)), 2, words.rows)
    pair, rank = np.unique(codes, return_inverse=True)
    often = holders(rank[inside], item[inside], len(pair))[rank]  # (W - 1,)
    sizes = np.diff(words.rows)[item]
    at = np.flatnonzero(inside & (sizes >= SHORTEST) & (sizes < FEW) & (often <= MOST_PAIR) & _says_something(words, 2))
    return at, codes[at]
