"""What near deduplication looks at: a prompt's words, and its figures.

Words: NFC, small letters, everything but letters, marks and numbers away, single blanks. A character of a script that
is written without blanks (Han, kana, Thai, Lao, Khmer, Burmese) is a word, so that such texts have shingles too.

Figures: the numbers of a text in their order and the signs + * / ^ = < > between them, and a minus where a digit
follows at once ("x-1", not "two-digit", nor the dash of "3 - 5"). Two prompts made from one template differ in nothing
else, and are two problems; so are "x + 1 = 2" and "x * 1 = 2", whose words are the same. Near copies therefore need
equal figures, and equal number words (NUMBER_WORDS, English). "1,000" and "1000" count as different: a copy too many is
the smaller loss. What the rule does not see: two prompts that differ in a variable's name, or in one word (maximum,
minimum).
"""

from __future__ import annotations

import string
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from openklear.curation.text.clean import cleaned, table
from openklear.data.rows import normalise

_SPOKEN = """
zero two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion trillion
half third quarter twice thrice double triple dozen
"""
NUMBER_WORDS = frozenset(_SPOKEN.split())
"""Not "one", which is mostly no number ("one of them"), and "one apple" is "an apple"."""
_SIGNS = "+*/^=<>-"
_WORDS = table(string.ascii_lowercase + string.digits, others=False)
_FIGURES = table(string.digits + _SIGNS, others=False)
_NO_BLANKS = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])"
SHINGLE = 3
"""Words in a row that make a shingle; of a shorter text all of them."""
_STEPS = tuple(np.uint64(odd) for odd in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9))
"""Odd 64-bit constants (the first is 2^64 / golden ratio, the others are primes of xxHash)."""


def words(texts: pa.Array | Sequence[str]) -> pa.Array:
    """Every text's words with single blanks between them (large_string); "" where there are none."""
    return cleaned(texts, _WORDS, _other_words)


def figures(texts: pa.Array | Sequence[str]) -> pa.Array:
    """Every text's numbers and signs (large_string), numbers with single blanks between them."""
    kept = cleaned(texts, _FIGURES, _other_figures)
    kept = pc.replace_substring_regex(kept, r" ?-+( |$)", r"\1")
    kept = pc.replace_substring_regex(kept, r" *([+*/^=<>-]) *", r"\1")
    return pc.utf8_trim(kept, " ")


def _other_words(texts: pa.Array) -> pa.Array:
    # Python's Unicode, not Arrow's: the NFC of pyarrow 25 is a decomposition.
    small = pa.array(map(normalise, texts.to_pylist()), pa.large_string())
    return _spaced(pc.replace_substring_regex(small, _NO_BLANKS, r" \1 "), r"[^\p{L}\p{M}\p{N}]+")


def _other_figures(texts: pa.Array) -> pa.Array:
    return _spaced(pc.replace_substring(texts, "\u2212", "-"), r"[^\p{N}+*/^=<>-]+")


def _spaced(texts: pa.Array, unwanted: str) -> pa.Array:
    return pc.utf8_trim(pc.replace_substring_regex(texts, unwanted, " "), " ")


class Shingled:
    """The shingles of some texts, as numbers, and what else must be equal in near copies.

    Shingles are compared as 64-bit hashes of the words' codes: two different ones of a text pair meet with a
    probability of about 10^-16.
    """

    def __init__(self, texts: Sequence[str]):
        split = pc.split_pattern(words(texts), " ")
        encoded = pc.dictionary_encode(split.flatten())
        codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        offsets = split.offsets.to_numpy().astype(np.int64)
        codes, counts = _without_empty(codes, np.diff(offsets), encoded.dictionary)
        self.offsets, self.shingles = _shingles(codes, counts)
        """(n + 1,) and (s,): the distinct shingles of text i are shingles[offsets[i] : offsets[i + 1]], ascending."""
        self.figures = pc.dictionary_encode(figures(texts)).indices.to_numpy(zero_copy_only=False)
        """(n,) equal where the figures are."""
        spoken = np.isin(codes, _numbers(encoded.dictionary))
        self.spoken = _sequences(np.where(spoken, codes, -1), counts)
        """(n,) equal where the number words are."""

    def similarity(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
        """Jaccard similarity |A and B| / |A or B| of the shingles of texts left[i] and right[i].

        0 where neither has any, and where the figures or the number words differ.
        """
        sizes = np.diff(self.offsets)
        shared = self._shared(left, right)
        union = sizes[left] + sizes[right] - shared
        same = (self.figures[left] == self.figures[right]) & (self.spoken[left] == self.spoken[right])
        found: NDArray[np.float64] = np.where(same, shared / np.maximum(union, 1), 0.0)
        return found

    def _shared(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many shingles two texts share: those that stand twice among the two sets laid together."""
        both = np.concatenate([left, right])
        sizes = np.diff(self.offsets)[both]
        pair = np.repeat(np.tile(np.arange(len(left)), 2), sizes)
        inside = np.arange(len(pair)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        keys = (pair << 32) | self.shingles[np.repeat(self.offsets[both], sizes) + inside]
        keys.sort()
        twice = keys[1:][keys[1:] == keys[:-1]] >> 32
        return np.bincount(twice, minlength=len(left))


def distinct(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The values, ascending, each once: what `np.unique` does, by sorting, five times as fast as its hash table."""
    ordered = np.sort(values)
    first = np.ones(len(ordered), np.bool_)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first]


def _without_empty(
    codes: NDArray[np.int64], counts: NDArray[np.int64], names: pa.Array
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Codes without those of "", which stands for a text without words."""
    empty = pc.index(names, "").as_py()
    if empty < 0:
        return codes, counts
    gone = codes == empty
    row = np.repeat(np.arange(len(counts)), counts)
    return codes[~gone], counts - np.bincount(row[gone], minlength=len(counts))


def _numbers(names: pa.Array) -> NDArray[np.int64]:
    return np.flatnonzero(pc.is_in(names, pa.array(sorted(NUMBER_WORDS), names.type)).to_numpy(zero_copy_only=False))


def _shingles(codes: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Offsets and the distinct shingles of every text, numbered from 0 (less than 2^32)."""
    number = np.where(counts, np.maximum(counts - SHINGLE + 1, 1), 0)
    row = np.repeat(np.arange(len(counts)), number)
    place = np.arange(len(row)) - np.repeat(np.cumsum(number) - number, number)
    starts = np.repeat(np.cumsum(counts) - counts, number)
    lengths = np.repeat(counts, number)
    hashed = np.zeros(len(row), np.uint64)
    for step, odd in enumerate(_STEPS):
        inside = place + step < lengths
        code = codes[np.where(inside, starts + place + step, 0)] + 1
        hashed += np.where(inside, code, 0).astype(np.uint64) * odd
    _, numbered = np.unique(hashed, return_inverse=True)
    keys = distinct((row << 32) | numbered)
    return np.searchsorted(keys >> 32, np.arange(len(counts) + 1)), keys & 0xFFFFFFFF


def _sequences(codes: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.uint64]:
    """(n,) a 64-bit hash of each text's codes in order, those of -1 left out."""
    row = np.repeat(np.arange(len(counts)), counts)[codes >= 0]
    codes = codes[codes >= 0]
    sizes = np.bincount(row, minlength=len(counts))
    rank = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    powers = np.cumprod(np.full(int(sizes.max(initial=0)) + 1, _STEPS[0]), dtype=np.uint64)
    sums = np.concatenate(
        [np.zeros(1, np.uint64), np.cumsum((codes + 1).astype(np.uint64) * powers[rank], dtype=np.uint64)]
    )
    ends = np.cumsum(sizes)
    found: NDArray[np.uint64] = sums[ends] - sums[ends - sizes]
    return found
