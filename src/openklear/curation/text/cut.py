"""The one cutter: many texts cut into words at once, each word a 64-bit code.

What words are made of is a table of the 256 bytes, which each user of this module brings; the cutting and the hash are
the same for all. What a byte alone cannot say (scripts without blanks, marks outside ASCII) is settled in the text
before it comes here.

A word's code is the polynomial of its bytes b over the integers modulo 2^64, sum of T[b_i] P^i, with a fixed table T
and an odd P. All words of a buffer take one multiplication per byte and one segmented sum (numpy's reduceat): byte i is
weighted with P^i counted from the start of the block, and P^-start, which exists since P is odd, takes that away again.
Two different words share a code about once in 2^64, so codes stand for words from here on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Codes = NDArray[np.uint64]
Places = NDArray[np.int64]

GOLDEN = 0x9E3779B97F4A7C15
"""2^64 over the golden ratio, made odd (Knuth, The Art of Computer Programming 3, section 6.4)."""
CHUNK = 1 << 20
"""Characters of text cut at a time, or one text if it is longer: some tens of MB at work."""
BLOCK = 1 << 17
"""Bytes weighted at once: their 64-bit values stay in the second-level cache. A longer word counts by its start."""


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """The words of R texts, W in all, in order."""

    codes: Codes
    """(W,) one code per word."""
    starts: Places
    """(W,) first byte of the word in `data`."""
    ends: Places
    """(W,) the byte after it."""
    kinds: Bytes
    """(W,) kind of its first byte."""
    rows: Places
    """(R + 1,) text r holds the words rows[r] .. rows[r + 1]."""
    data: Bytes
    """The texts' bytes, one after the other."""
    offsets: Places
    """(R + 1,) text r holds the bytes offsets[r] .. offsets[r + 1]."""

    def row_of(self, words: Places) -> Places:
        """The text that each of these words lies in."""
        return np.searchsorted(self.rows, words, side="right") - 1

    def codes_of(self, row: int) -> tuple[int, ...]:
        """The codes of one text's words."""
        return tuple(self.codes[self.rows[row] : self.rows[row + 1]].tolist())

    def text(self, first: int, last: int) -> str:
        """The text from word `first` to word `last`, that one included."""
        return bytes(self.data[self.starts[first] : self.ends[last]]).decode("utf-8", "replace")

    def between(self, row: int, word: int) -> bytes:
        """What precedes `word` in its text: back to the word before it, or to the text's edge."""
        begin = self.ends[word - 1] if word > self.rows[row] else self.offsets[row]
        end = self.starts[word] if word < self.rows[row + 1] else self.offsets[row + 1]
        return bytes(self.data[begin:end])


class Cutter:
    """Cuts texts into words: the longest runs of bytes of one kind."""

    def __init__(self, kinds: Bytes, alone: bytes = b"", *, values: Codes | None = None, odd: int = GOLDEN):
        """`kinds` (256,) is 0 for bytes that only separate; each byte of `alone` is a word of its own.

        `values` (256,) is the hash's T and `odd` its P. Without `values`, capital letters hash as small ones.
        """
        self.kinds = kinds
        self.alone = np.isin(np.arange(256), np.frombuffer(alone, np.uint8))
        self.values = np.where(kinds > 0, _VALUES if values is None else values, np.uint64(0))
        self.odd = odd

    def __call__(self, texts: pa.Array | Sequence[str]) -> Words:
        """The words of `texts`, case and all as they are."""
        data, offsets = buffer_of(texts)
        kinds = self.kinds[data]
        change = np.empty(len(data) + 1, np.bool_)  # change[i]: a word or what lies between two ends before byte i
        change[:1] = change[-1:] = True
        np.not_equal(kinds[1:], kinds[:-1], out=change[1:-1])
        change[:-1] |= self.alone[data]
        change[offsets] = True
        edges = np.flatnonzero(change)
        inside = kinds[edges[:-1]] > 0
        starts, ends = edges[:-1][inside], edges[1:][inside]
        codes = self._hashed(data, starts, ends)
        return Words(codes, starts, ends, kinds[starts], np.searchsorted(starts, offsets), data, offsets)

    def _hashed(self, data: Bytes, starts: Places, ends: Places) -> Codes:
        """(W,) the polynomial of each word's bytes; T is 0 for the bytes between words."""
        up, down = _powers(self.odd), _powers(pow(self.odd, -1, 1 << 64))
        codes = np.empty(len(starts), np.uint64)
        at = 0
        while at < len(starts):
            stop = max(at + 1, int(np.searchsorted(ends, starts[at] + BLOCK, side="right")))
            begin, end = int(starts[at]), int(min(ends[stop - 1], starts[at] + BLOCK))
            part = self.values[data[begin:end]]
            part *= up[: end - begin]
            relative = starts[at:stop] - begin
            codes[at:stop] = np.add.reduceat(part, relative) * down[relative]
            at = stop
        return codes


def buffer_of(texts: pa.Array | Sequence[str]) -> tuple[Bytes, Places]:
    """The texts' UTF-8 bytes, one after the other, and (R + 1,) where each begins."""
    array = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.large_string())
    _, places, data = array.buffers()
    if places is None or not len(array):
        return np.zeros(0, np.uint8), np.zeros(len(array) + 1, np.int64)
    offsets = np.frombuffer(places, np.int64)[array.offset : array.offset + len(array) + 1]
    everything = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return everything[offsets[0] : offsets[-1]], offsets - offsets[0]


def chunks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts in stretches of at most CHUNK characters, one text at least."""
    begin = size = 0
    for at, text in enumerate(texts):
        if size and size + len(text) > CHUNK:
            yield texts[begin:at]
            begin, size = at, 0
        size += len(text)
    if begin < len(texts):
        yield texts[begin:]


def byte_kinds(*kinds: str) -> Bytes:
    """(256,) table of kinds: 1 for the ASCII characters of the first string, 2 for the second's, and so on.

    What is not ASCII is of the first kind, letters: the text is prepared so that it is.
    """
    table = np.zeros(256, np.uint8)
    table[128:] = 1
    for kind, characters in enumerate(kinds, 1):
        table[list(characters.encode("ascii"))] = kind
    return table


@cache
def _powers(odd: int) -> Codes:
    """(BLOCK,) odd^0, odd^1, ... modulo 2^64."""
    values = np.full(BLOCK, odd, np.uint64)
    values[0] = 1
    return np.multiply.accumulate(values)


def _values() -> Codes:
    """(256,) T: a random number for each byte, the same for a capital letter as for the small one."""
    table = np.random.default_rng(20240531).integers(1, 2**64, 256, np.uint64)
    table[ord("A") : ord("Z") + 1] = table[ord("a") : ord("z") + 1]
    return table


_VALUES = _values()
