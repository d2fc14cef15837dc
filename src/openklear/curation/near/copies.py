"""Which rows go: those that are nearly a copy of a smaller row that stays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from openklear.curation.near.buckets import candidates
from openklear.curation.near.shingles import Shingled, distinct

Texts = Callable[[NDArray[np.int64]], list[str]]
"""The texts of some rows (ascending, distinct), in their order."""

PAIRS = 32_768
"""Pairs compared at once."""
FETCHED = 8192
"""Rows whose texts are asked for at once."""
CHARACTERS = 1 << 26
"""Of the texts compared at once: with more, half the pairs are."""


def near_duplicates(
    rows: NDArray[np.int64], signatures: NDArray[np.uint32], texts: Texts, threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The rows that go, ascending; for each the row that stays which it is nearly a copy of; their similarity.

    rows (n,) distinct numbers in any order, signatures (n, bands) beside them, made by `signed` with this threshold.

    Going through the rows by ascending number, one goes if a row that stays is similar to it: a Jaccard similarity of
    the words' 3-grams of at least `threshold`, with equal figures and number words (`near.words`). It is named with the
    smallest such row. So each dropped row is itself similar to the row that it names, not by a chain; and what is
    similar only to a dropped row stays. Compared are the rows that share a bucket (`buckets.candidates`): a similar
    pair is missed with the probability that `buckets.banding` states. Where buckets were too large to compare in full,
    what stays of them is compared again until nothing goes: rows that stay, given again, all stay.

    Rows without a word have no near copies. Memory: 40 bytes per row and 8 bytes per candidate pair (at most 5 for each
    row and band; in a corpus with 10 % copies, 0.1 per row) beside the signatures, and about 100 MB for the pairs being
    compared.
    """
    order = np.argsort(rows)
    if (order[1:] < order[:-1]).any():
        rows, signatures = rows[order], signatures[order]
    compared = np.zeros(0, np.int64)
    edges, similarity = np.zeros(0, np.int64), np.zeros(0, np.float64)
    named = np.full(len(rows), -1)
    pairs, partial = candidates(signatures)
    while True:
        pairs = np.setdiff1d(pairs, compared, assume_unique=True)
        found, shares = _similar(pairs, rows, texts, threshold)
        if not len(found):
            break
        compared = distinct(np.concatenate([compared, pairs]))
        edges, similarity = np.concatenate([edges, found]), np.concatenate([similarity, shares])
        ascending = np.argsort(edges)  # (similar pairs so far,)
        edges, similarity = edges[ascending], similarity[ascending]
        named = _named(edges, len(rows))
        left = np.flatnonzero(partial & (named < 0))
        again, _ = candidates(signatures[left])
        pairs = left[again >> 32] << 32 | left[again & 0xFFFFFFFF]  # ascending, since `left` is
    gone = np.flatnonzero(named >= 0)
    return rows[gone], rows[named[gone]], similarity[np.searchsorted(edges, named[gone] << 32 | gone)]


def _similar(
    pairs: NDArray[np.int64], rows: NDArray[np.int64], texts: Texts, threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The pairs whose similarity reaches the threshold, and it, in their order."""
    waiting = [pairs[start : start + PAIRS] for start in range(0, len(pairs), PAIRS)][::-1]
    found, shares = [np.zeros(0, np.int64)], [np.zeros(0, np.float64)]
    while waiting:
        block = waiting.pop()
        places = distinct(np.concatenate([block >> 32, block & 0xFFFFFFFF]))  # (rows of the block,)
        read = _read(rows[places], texts, CHARACTERS if len(block) > 1 else None)
        if read is None:
            middle = len(block) // 2
            waiting += [block[middle:], block[:middle]]
            continue
        left, right = np.searchsorted(places, block >> 32), np.searchsorted(places, block & 0xFFFFFFFF)
        similarity = Shingled(read).similarity(left, right)
        near = similarity >= threshold
        found.append(block[near])
        shares.append(similarity[near])
    return np.concatenate(found), np.concatenate(shares)


def _read(rows: NDArray[np.int64], texts: Texts, limit: int | None) -> list[str] | None:
    """The texts of rows, or None if they have more characters than the limit."""
    read: list[str] = []
    characters = 0
    for start in range(0, len(rows), FETCHED):
        some = texts(rows[start : start + FETCHED])
        characters += sum(map(len, some))
        if limit is not None and characters > limit:
            return None
        read += some
    return read


def _named(edges: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """(count,) place of the row that each dropped place is named with, or -1 for those that stay; edges ascend."""
    named = np.full(count, -1)
    # One after the other, since a row's fate depends on the fates of smaller rows: 0.2 microseconds per pair. When a
    # row comes up as the smaller one of a pair, all pairs in which it is the larger one have been seen.
    for one, other in zip((edges >> 32).tolist(), (edges & 0xFFFFFFFF).tolist(), strict=True):
        if named[one] < 0 and named[other] < 0:
            named[other] = one
    return named
