"""Which items a row may hold: those with which it shares enough runs of words."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from openklear.curation.contamination.weighted.index import SHORTEST, Index
from openklear.curation.text.cut import Places, Words
from openklear.curation.text.grams import grams, within_texts

MOST_ITEMS = 16
"""A run that more items hold weighs in, but starts no search: the work a row can cause stays bounded."""
PROMISING = 0.12
"""Share of the item's worth in shared runs that a candidate has. In a short item a changed word in the middle leaves
one run in five, or only a pair."""
CANDIDATES = 3
"""Items that a row is aligned with at most."""


def shared_runs(index: Index, words: Words) -> tuple[Places, Places, Places]:
    """(word, row, rank) of every run of the items' that stands in a row."""
    found = []
    for size in index.begins:
        at, rank = index.runs.find(grams(words.codes, size))
        inside, row = within_texts(at, size, words.rows)
        found.append((at[inside], row[inside], rank[inside]))
    at, row, rank = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return at, row, rank


def candidates(index: Index, words: Words) -> Iterator[tuple[int, int, int]]:
    """(row, item, word of the row where the item's first word should be), the best first, a few for each row."""
    at, row, rank = shared_runs(index, words)
    few = index.own[rank] <= MOST_ITEMS
    at, row, rank = at[few], row[few], rank[few]  # (shared runs,)
    times = np.diff(index.first)[rank]
    shared = np.repeat(np.arange(len(rank)), times)  # (pairs,) a shared run with each of its places in the items
    nth = np.arange(len(shared)) - np.repeat(np.cumsum(times) - times, times)
    place = index.places[index.first[rank][shared] + nth]
    item = np.searchsorted(index.rows, place, side="right") - 1
    diagonal = (at - words.rows[row])[shared] - (place - index.rows[item])
    order = np.lexsort((diagonal, item, row[shared]))  # (pairs,) -> those of one row and item stand together
    both = (row[shared] * len(index.items) + item)[order]
    begins = np.flatnonzero(np.diff(both, prepend=-1))
    if not len(begins):
        return
    rows, items = np.divmod(both[begins], len(index.items))  # (candidates,)
    worth = np.add.reduceat(index.worth[rank[shared]][order], begins)
    middle = diagonal[order][begins + np.diff(begins, append=len(both)) // 2]
    share = worth / np.maximum(index.totals[items], 1e-9)
    best = np.lexsort((items, -share, rows))
    best = best[(np.diff(index.rows)[items] >= SHORTEST)[best] & (share >= PROMISING)[best]]
    nth = np.arange(len(best)) - np.searchsorted(rows[best], rows[best], side="left")  # 0, 1, 2 .. in each row
    for pick in best[nth < CANDIDATES].tolist():
        yield int(rows[pick]), int(items[pick]), int(middle[pick])
