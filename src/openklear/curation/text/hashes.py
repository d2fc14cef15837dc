"""Exact copies: a 128-bit key of every text, and which of the rows with one key stays."""

from __future__ import annotations

import string
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from openklear.curation.text.clean import BLANK, cleaned, table
from openklear.data.rows import normalise

_PLAIN = table(string.ascii_lowercase, others=True)
_PLAIN[[ord(c) for c in map(chr, range(128)) if c.isspace()]] = BLANK


def text_keys(texts: pa.Array | Sequence[str]) -> NDArray[np.uint64]:
    """(n, 2) the 128-bit blake2b digests of `rows.normalise(text)`, each as two little-endian halves.

    The same on every machine and in every version. Two different texts among 10^9 share a key with a probability of
    10^18 / 2^129 = 10^-21. A null counts as an empty text.
    """
    plain = cleaned(texts, _PLAIN, lambda some: pa.array(map(normalise, some.to_pylist()), pa.large_string()))
    digests = b"".join([blake2b(text, digest_size=16).digest() for text in plain.cast(pa.large_binary()).to_pylist()])
    return np.frombuffer(digests, np.dtype("<u8")).astype(np.uint64, copy=False).reshape(-1, 2)


def first_copies(rows: NDArray[np.int64], keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows whose key a smaller row has: their numbers, ascending, and for each the smallest row with its key.

    rows (n,) distinct numbers in any order, keys (n, k) beside them. The smallest number is the copy that stays: row
    numbers ascend with the rank of the source. Takes about 8 (k + 4) bytes a row.
    """
    order = np.lexsort((rows, *keys.T))
    ordered = rows[order]
    same = np.zeros(len(rows), np.bool_)
    same[1:] = True
    for column in keys.T:
        sorted_column = column[order]
        same[1:] &= sorted_column[1:] == sorted_column[:-1]
    firsts = np.flatnonzero(~same)
    first = ordered[firsts[np.cumsum(~same)[same] - 1]]
    dropped = ordered[same]
    ascending = np.argsort(dropped)
    return dropped[ascending], first[ascending]
