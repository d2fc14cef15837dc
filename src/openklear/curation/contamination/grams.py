"""Words in a row as 64-bit codes, and a table that knows a set of them.

The table is a bit field in front of a sorted array. The field has about 32 bits a code, so that of the words that are
in no benchmark some 3 % at most go on to the binary search, and it stays in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openklear.curation.contamination.words import Codes, Places

_MULTIPLIERS: Codes = np.random.default_rng(910_002).integers(0, 2**63, 64, np.uint64) * np.uint64(2) + np.uint64(1)
_FINAL = np.uint64(0xFF51AFD7ED558CCD)
"""MurmurHash3's finaliser: the table reads the upper bits, and each must depend on every word."""

LONGEST = len(_MULTIPLIERS)
"""Longest n for which there are multipliers."""


def grams(codes: Codes, n: int) -> Codes:
    """(W - n + 1,) a code for every n words in a row, those across two texts too."""
    count = max(len(codes) - n + 1, 0)
    total = np.zeros(count, np.uint64)
    for place in range(n):
        total += codes[place : place + count] * _MULTIPLIERS[place]
    total ^= total >> np.uint64(32)
    total *= _FINAL
    return total


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A set of codes; each has a place, its rank among them."""

    codes: Codes
    """(G,) sorted, each once."""
    bits: NDArray[np.uint8]
    shift: int
    """The upper 64 - shift bits of a code are its place in the bit field."""

    @classmethod
    def build(cls, codes: Codes) -> Table:
        """The set of these codes."""
        unique = np.unique(codes)
        width = max(10, min(26, int(np.ceil(np.log2(max(len(unique), 1) * 32)))))
        field = np.zeros(1 << width, bool)
        field[unique >> np.uint64(64 - width)] = True
        return cls(unique, np.packbits(field, bitorder="little"), 64 - width)

    def find(self, codes: Codes) -> tuple[Places, Places]:
        """Where in `codes` known ones stand, and the place of each in the table."""
        if not len(self.codes):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        bit = codes >> np.uint64(self.shift)
        byte = self.bits[bit >> np.uint64(3)]
        maybe = np.flatnonzero((byte >> (bit & np.uint64(7)).astype(np.uint8)) & 1)
        asked = codes[maybe]
        rank = np.minimum(np.searchsorted(self.codes, asked), len(self.codes) - 1)
        known = self.codes[rank] == asked
        return maybe[known], rank[known]


def within_texts(at: Places, n: int, rows: Places) -> tuple[NDArray[np.bool_], Places]:
    """Which n-grams, starting at these words, lie in one text, and the text of each start."""
    row = np.searchsorted(rows, at, side="right") - 1
    return at + n <= rows[row + 1], row
