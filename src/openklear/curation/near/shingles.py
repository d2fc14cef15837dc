"""What near deduplication looks at: a prompt's words, and its figures.

Words: NFC, small letters, everything but letters, marks and numbers away, single blanks. A character of a script that
is written without blanks (Han, kana, Thai, Lao, Khmer, Burmese) is a word, so such texts have shingles too.

Figures: the numbers of a text in their order and the signs + * / ^ = < > between them, and a minus where a digit
follows at once ("x-1", not "two-digit", nor the dash of "3 - 5"). Two prompts made from one template differ in nothing
else, and are two problems; so are "x + 1 = 2" and "x * 1 = 2", whose words are the same. Near copies therefore need
equal figures, and equal number words (NUMBER_WORDS, English). "1,000" and "1000" count as different: one copy too many
is the smaller loss. What the rule does not see: that two prompts differ in a variable's name, in one word that matters
(maximum, minimum), or in a figure and a number word that have changed places ("two boxes of 7", "7 boxes of two").
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from openklear.curation.text.cut import Codes, Cutter, Places
from openklear.curation.text.grams import MULTIPLIERS, among, mixed, sums
from openklear.curation.text.vocabulary import NUMBERS
from openklear.data.rows import normalise

NUMBER_WORDS = frozenset(f"{NUMBERS} zero billion trillion dozen".split())
"""Decontamination does without the last four: with them its matches would change."""
_NO_BLANKS = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])"
SHINGLE = 3
"""Words in a row that make a shingle; of a shorter text all of them."""


def words(texts: Sequence[str]) -> pa.Array:
    """Every text's words with single blanks between them (large_string); "" where there are none."""
    # Python's Unicode, not Arrow's: the NFC of pyarrow 25 is a decomposition.
    small = pa.array(map(normalise, texts), pa.large_string())
    return _spaced(pc.replace_substring_regex(small, _NO_BLANKS, r" \1 "), r"[^\p{L}\p{M}\p{N}]+")


def figures(texts: Sequence[str]) -> pa.Array:
    """Every text's numbers and signs (large_string), numbers with single blanks between them."""
    hyphens = pc.replace_substring(pa.array(texts, pa.large_string()), "\u2212", "-")  # the minus sign is one too
    kept = _spaced(hyphens, r"[^\p{N}+*/^=<>-]+")
    kept = pc.replace_substring_regex(kept, r" ?-+( |$)", r"\1")
    kept = pc.replace_substring_regex(kept, r" *([+*/^=<>-]) *", r"\1")
    return pc.utf8_trim(kept, " ")


def _spaced(texts: pa.Array, unwanted: str) -> pa.Array:
    return pc.utf8_trim(pc.replace_substring_regex(texts, unwanted, " "), " ")


_CUT = Cutter((np.arange(256) != ord(" ")).astype(np.uint8))  # `words` leaves nothing but words and blanks
_NUMBER_CODES = np.sort(_CUT(sorted(NUMBER_WORDS)).codes)


class Shingled:
    """The shingles of some texts, as numbers, and what else must be equal in near copies.

    Shingles are compared as 64-bit codes: two different ones in a pair of texts share one with a probability of about
    10^-16.
    """

    def __init__(self, texts: Sequence[str]):
        cut = _CUT(words(texts))
        self.offsets, self.shingles = _shingles(cut.codes, cut.rows)
        """(n + 1,) and (s,): the distinct shingles of text i are shingles[offsets[i] : offsets[i + 1]], ascending."""
        self.figures = pc.dictionary_encode(figures(texts)).indices.to_numpy(zero_copy_only=False)
        """(n,) equal where the figures are."""
        self.spoken = _spoken(cut.codes, cut.rows)
        """(n,) equal where the number words are."""

    def similarity(self, left: Places, right: Places) -> NDArray[np.float64]:
        """Jaccard similarity |A and B| / |A or B| of the shingles of texts left[i] and right[i].

        0 where neither has any, and where the figures or the number words differ.
        """
        sizes = np.diff(self.offsets)
        shared = self._shared(left, right)
        union = sizes[left] + sizes[right] - shared
        same = (self.figures[left] == self.figures[right]) & (self.spoken[left] == self.spoken[right])
        found: NDArray[np.float64] = np.where(same, shared / np.maximum(union, 1), 0.0)
        return found

    def _shared(self, left: Places, right: Places) -> Places:
        """(pairs,) how many shingles two texts share: those that stand twice among the two sets laid together."""
        both = np.concatenate([left, right])
        sizes = np.diff(self.offsets)[both]
        pair = np.repeat(np.tile(np.arange(len(left)), 2), sizes)  # (2 * pairs,) -> (shingles of all of them,)
        inside = np.arange(len(pair)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # 0, 1, 2 .. in each text
        ordered = (pair << 32) | self.shingles[np.repeat(self.offsets[both], sizes) + inside]
        ordered.sort()
        twice = ordered[1:][ordered[1:] == ordered[:-1]] >> 32
        return np.bincount(twice, minlength=len(left))


def distinct(values: Places) -> Places:
    """The values, ascending, each once: what `np.unique` does, by sorting, five times as fast as its hash table."""
    ordered = np.sort(values)
    first = np.ones(len(ordered), np.bool_)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first]


def _shingles(codes: Codes, rows: Places) -> tuple[Places, Places]:
    """(W,) words of n texts -> (n + 1,) offsets and the distinct shingles of every text, numbered from 0."""
    sizes = np.diff(rows)
    left = np.repeat(rows[1:], sizes) - np.arange(len(codes))  # (W,) words from here to the text's end
    hashed = np.zeros(len(codes), np.uint64)
    for step in range(SHINGLE):
        at = np.flatnonzero(left > step)
        hashed[at] += codes[at + step] * MULTIPLIERS[step]
    starts = left >= SHINGLE
    starts[rows[:-1][sizes > 0]] = True  # a shorter text is one shingle
    _, numbered = np.unique(hashed[starts], return_inverse=True)  # fewer than 2^32
    row = np.repeat(np.arange(len(sizes)), sizes)[starts]
    ordered = distinct((row << 32) | numbered)
    return np.searchsorted(ordered >> 32, np.arange(len(rows))), ordered & 0xFFFFFFFF


def _spoken(codes: Codes, rows: Places) -> Codes:
    """(W,) words of n texts -> (n,) a code of each text's number words in their order."""
    at = np.flatnonzero(among(codes, _NUMBER_CODES))
    rows = np.searchsorted(at, rows)  # (n + 1,) text i's number words are at[rows[i] : rows[i + 1]]
    rank = np.arange(len(at)) - np.repeat(rows[:-1], np.diff(rows))
    return sums(mixed(codes[at] + rank.astype(np.uint64)), rows)
