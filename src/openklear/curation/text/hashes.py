"""Exact copies: a 128-bit digest of every text, and which of the rows with one digest stays."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from openklear.data.rows import normalise


def text_digests(texts: pa.Array) -> NDArray[np.uint64]:
    """(n, 2) the 128-bit digests of `rows.normalise(text)`.

    The same on every machine and in every version. Two different texts among 10^9 share one with a probability of
    10^18 / 2^129 = 10^-21. A null counts as an empty text.
    """
    return digests(normalise(text or "").encode() for text in texts.to_pylist())


def digests(contents: Iterable[bytes]) -> NDArray[np.uint64]:
    """(n, 2) blake2b digests of 128 bits, each as two little-endian halves."""
    found = b"".join([blake2b(content, digest_size=16).digest() for content in contents])
    return np.frombuffer(found, np.dtype("<u8")).astype(np.uint64, copy=False).reshape(-1, 2)


def first_copies(rows: NDArray[np.int64], digests: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows whose digest a smaller row has: their numbers, ascending, and for each the smallest row with its digest.

    rows (n,) distinct numbers in any order, digests (n, k) beside them. The smallest number is the copy that stays: row
    numbers ascend with the rank of the source. Takes about 8 (2 k + 4) bytes per row.
    """
    order = np.lexsort((rows, *digests.T))  # (n,) rows with one digest stand together, the smallest number first
    ordered, digests = rows[order], digests[order]
    repeats = np.zeros(len(rows), np.bool_)  # (n,) the digest is the one before
    repeats[1:] = (digests[1:] == digests[:-1]).all(axis=1)
    firsts = np.flatnonzero(~repeats)  # (distinct digests,) where each one begins
    first = ordered[firsts[np.cumsum(~repeats)[repeats] - 1]]  # (copies,) the row that each is a copy of
    dropped = ordered[repeats]
    ascending = np.argsort(dropped)
    return dropped[ascending], first[ascending]
