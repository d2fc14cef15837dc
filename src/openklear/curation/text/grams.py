"""Words in a row as 64-bit codes, and a table that knows a set of codes.

The table is a bit field in front of a sorted array. The field has about 32 bits per code, so that of the codes that are
not in the set some 3 % at most go on to the binary search, and it stays in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openklear.curation.text.cut import Bytes, Codes, Places

MULTIPLIERS: Codes = np.random.default_rng(910_002).integers(0, 2**63, 64, np.uint64) * np.uint64(2) + np.uint64(1)
"""An odd number for each place in a run of words."""
LONGEST = len(MULTIPLIERS)
"""Longest n for which there are multipliers."""
SPLITMIX = 0x94D049BB133111EB
_FINAL = np.uint64(0xFF51AFD7ED558CCD)
"""MurmurHash3's finaliser: the table reads the upper bits, and each must depend on every word."""


def grams(codes: Codes, n: int) -> Codes:
    """(W,) -> (W - n + 1,) a code for every n words in a row, those across two texts too."""
    count = max(len(codes) - n + 1, 0)
    total = np.zeros(count, np.uint64)
    for place in range(n):
        total += codes[place : place + count] * MULTIPLIERS[place]
    total ^= total >> np.uint64(32)
    total *= _FINAL
    return total


def mixed(codes: Codes) -> Codes:
    """The finisher of Steele, Lea and Flood's SplitMix64 (2014): every bit of the answer depends on every bit given."""
    spread = (codes ^ (codes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    spread = (spread ^ (spread >> np.uint64(27))) * np.uint64(SPLITMIX)
    return spread ^ (spread >> np.uint64(31))


def within_texts(at: Places, n: int, rows: Places) -> tuple[NDArray[np.bool_], Places]:
    """Which n-grams, starting at these words, lie in one text, and the text of each start."""
    row = np.searchsorted(rows, at, side="right") - 1
    return at + n <= rows[row + 1], row


def sums(codes: Codes, rows: Places) -> Codes:
    """(W,) -> (R,) the sum of each text's codes modulo 2^64: 0 without words, the same in any order of the words."""
    total = np.zeros(len(rows) - 1, np.uint64)
    filled = np.flatnonzero(np.diff(rows) > 0)  # reduceat would give an empty text its neighbour's first code
    if len(filled):
        total[filled] = np.add.reduceat(codes, rows[filled])
    return total


def among(codes: Codes, known: Codes) -> NDArray[np.bool_]:
    """(W,) which codes are in `known`, which is ascending, small and not empty."""
    found: NDArray[np.bool_] = known[np.minimum(np.searchsorted(known, codes), len(known) - 1)] == codes
    return found


@dataclass(frozen=True, slots=True, eq=False)
class CodeSet:
    """A set of codes; each has a rank, its place among them in ascending order."""

    codes: Codes
    """(G,) ascending, each once."""
    bits: Bytes
    shift: int
    """The upper 64 - shift bits of a code are its place in the bit field."""

    @classmethod
    def build(cls, codes: Codes) -> CodeSet:
        """The set of these codes."""
        unique = np.unique(codes)
        width = max(10, min(26, int(np.ceil(np.log2(max(len(unique), 1) * 32)))))
        field = np.zeros(1 << width, np.bool_)
        field[unique >> np.uint64(64 - width)] = True
        return cls(unique, np.packbits(field, bitorder="little"), 64 - width)

    def find(self, codes: Codes) -> tuple[Places, Places]:
        """Where in `codes` known ones stand, and the rank of each."""
        if not len(self.codes):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        bit = codes >> np.uint64(self.shift)
        byte = self.bits[bit >> np.uint64(3)]
        maybe = np.flatnonzero((byte >> (bit & np.uint64(7)).astype(np.uint8)) & 1)  # (codes,) -> (maybe known,)
        asked = codes[maybe]
        rank = np.minimum(np.searchsorted(self.codes, asked), len(self.codes) - 1)
        known = self.codes[rank] == asked
        return maybe[known], rank[known]
