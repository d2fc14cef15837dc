"""Many texts cut into words at once, each word a 64-bit code.

A word is a run of letters, a run of digits or one of the signs `+ < >`, so that `2x` is two words and `x + 5` is not
`x - 5`. Everything else (punctuation, dollar signs, braces, hyphens, white space) only separates, and case is ignored.
Every Chinese, Japanese or Korean letter is a word. LaTeX layout (`\\left`, `\\frac`) is left out, commands that say the
same are one (`\\leq` and `\\le`), and `1,000` is `1000`. A figure's code (Asymptote, TikZ) is one number, made of
its letters and digits: many figures are mostly the same code, and copies often lack it.

A word's code is the polynomial of its bytes b over the integers modulo 2^64, sum of T[b_i] P^i, with a fixed random
table T and an odd P. All words of a buffer take a multiplication a byte and one segmented sum (numpy's reduceat): byte
i is weighted with P^i counted from the start of the block, and P^-start, which exists since P is odd, takes that away
again. Two different words share a code about once in 2^64, so that codes stand for words below.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from openklear.curation.contamination.vocabulary import FUNCTION, LAYOUT, NUMBERS, SYNONYMS

Codes = NDArray[np.uint64]
Places = NDArray[np.int64]

LETTERS, DIGITS, SIGNS, COMMAND = 1, 2, 3, 4
"""What a word is made of; a command is letters behind a backslash."""

_BLOCK = 1 << 17
"""Bytes weighted at once: their 64-bit values stay in the second-level cache. A longer word counts by its start."""

_ODD = 0x9E3779B97F4A7C15
"""P: 2^64 over the golden ratio, made odd (Knuth, The Art of Computer Programming 3, section 6.4)."""


def _powers(base: int, count: int) -> Codes:
    values = np.full(count, base, np.uint64)
    values[0] = 1
    return np.multiply.accumulate(values)


def _lower() -> NDArray[np.uint8]:
    table = np.arange(256, dtype=np.uint8)
    table[ord("A") : ord("Z") + 1] += 32
    return table


def _kinds() -> NDArray[np.uint8]:
    table = np.zeros(256, np.uint8)
    table[ord("a") : ord("z") + 1] = LETTERS
    table[ord("A") : ord("Z") + 1] = LETTERS
    table[128:] = LETTERS
    table[ord("0") : ord("9") + 1] = DIGITS
    table[list(b"+<>")] = SIGNS
    return table


def byte_values(counts: NDArray[np.bool_]) -> Codes:
    """(256,) T: what each byte adds to its run; 0 where it is no part of one. Capital letters are small ones."""
    return np.where(counts, _VALUES, np.uint64(0))


_KINDS = _kinds()
_VALUES: Codes = np.random.default_rng(20240531).integers(1, 2**64, 256, np.uint64)[_lower()]
_UP = _powers(_ODD, _BLOCK)
_DOWN = _powers(pow(_ODD, -1, 1 << 64), _BLOCK)

FIGURE = re.compile(r"\[asy\].*?\[/asy\]|\\begin\{tikzpicture\}.*?\\end\{tikzpicture\}", re.DOTALL | re.IGNORECASE)
_NOT_CODE = re.compile(r"[\W_]+")
_OTHER_MARKS = re.compile(r"[^\x00-\x7f\w]")
_SCRIPT_WITHOUT_BLANKS = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])")


@dataclass(frozen=True, slots=True)
class Words:
    """The words of R texts, W in all, in order."""

    codes: Codes
    """(W,) one code a word."""
    starts: Places
    """(W,) first byte of the word in `data`."""
    ends: Places
    """(W,) the byte behind it."""
    kinds: NDArray[np.uint8]
    """(W,) LETTERS, DIGITS, SIGNS or COMMAND."""
    rows: Places
    """(R + 1,) text r holds the words rows[r] .. rows[r + 1]."""
    data: NDArray[np.uint8]
    """The texts' bytes, one behind the other."""
    offsets: Places
    """(R + 1,) text r holds the bytes offsets[r] .. offsets[r + 1]."""

    def row_of(self, words: Places) -> Places:
        """The text that each of these words lies in."""
        return np.searchsorted(self.rows, words, side="right") - 1

    def text(self, first: int, last: int) -> str:
        """The text from word `first` to word `last`, that one included."""
        return bytes(self.data[self.starts[first] : self.ends[last]]).decode("utf-8", "replace")

    def between(self, row: int, word: int) -> bytes:
        """What stands in front of `word` in its text: back to the word before it, or to the text's edge."""
        begin = self.ends[word - 1] if word > self.rows[row] else self.offsets[row]
        end = self.starts[word] if word < self.rows[row + 1] else self.offsets[row + 1]
        return bytes(self.data[begin:end])


def _figure(found: re.Match[str]) -> str:
    content = _NOT_CODE.sub("", found[0].lower())
    return f" [{int.from_bytes(blake2b(content.encode(), digest_size=8).digest(), 'big')}] "


def without_figures(text: str) -> str:
    """The text with a number for each figure's code."""
    if "[asy]" in text or "{tikzpicture}" in text or "[ASY]" in text or "{TIKZPICTURE}" in text:
        return FIGURE.sub(_figure, text)
    return text


def _prepare(text: str) -> str:
    """Text whose bytes say which are letters: marks outside ASCII become blanks, figures numbers."""
    text = without_figures(text)
    if text.isascii():
        return text
    text = unicodedata.normalize("NFC", text).lower().encode("utf-8", "replace").decode()
    return _SCRIPT_WITHOUT_BLANKS.sub(r" \1 ", _OTHER_MARKS.sub(" ", text))


def buffer_of(texts: Sequence[str]) -> tuple[NDArray[np.uint8], Places]:
    """The texts' UTF-8 bytes, one behind the other, and where each begins: (bytes, (R + 1,) offsets)."""
    array = pa.array(texts, pa.large_string())
    _, places, data = array.buffers()
    offsets = np.frombuffer(places, np.int64, len(texts) + 1) if len(texts) else np.zeros(1, np.int64)
    return np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8), offsets


def hash_runs(values: Codes, data: NDArray[np.uint8], starts: Places, ends: Places) -> Codes:
    """The polynomial of each run's bytes; between the runs `values` is 0, or nothing lies there."""
    codes = np.empty(len(starts), np.uint64)
    at = 0
    while at < len(starts):
        stop = max(at + 1, int(np.searchsorted(ends, starts[at] + _BLOCK, side="right")))
        begin, end = int(starts[at]), int(min(ends[stop - 1], starts[at] + _BLOCK))
        part = values[data[begin:end]]
        part *= _UP[: end - begin]
        relative = starts[at:stop] - begin
        codes[at:stop] = np.add.reduceat(part, relative) * _DOWN[relative]
        at = stop
    return codes


def cut(texts: Sequence[str]) -> Words:
    """The words of `texts`."""
    data, offsets = buffer_of([_prepare(text) for text in texts])
    kinds = _KINDS[data]
    change = np.empty(len(data) + 1, bool)
    change[:1] = change[-1:] = True
    np.not_equal(kinds[1:], kinds[:-1], out=change[1:-1])
    change[1:-1] |= kinds[1:] == SIGNS
    change[offsets] = True
    edges = np.flatnonzero(change)
    inside = kinds[edges[:-1]] > 0
    starts, ends = edges[:-1][inside], edges[1:][inside]
    words = Words(
        codes=hash_runs(_SEPARATED, data, starts, ends),
        starts=starts,
        ends=ends,
        kinds=kinds[starts],
        rows=np.searchsorted(starts, offsets),
        data=data,
        offsets=offsets,
    )
    return _tidy(words)


_SEPARATED = byte_values(_KINDS > 0)


def sums(codes: Codes, rows: Places) -> Codes:
    """(R,) the sum of each text's codes modulo 2^64, the same for the same words in any order; 0 without words."""
    total = np.zeros(len(rows) - 1, np.uint64)
    filled = np.flatnonzero(np.diff(rows) > 0)
    if len(filled):
        total[filled] = np.add.reduceat(codes, rows[filled])
    return total


CHUNK = 1 << 20
"""Characters of text cut into words at a time, or one text if it is longer: some tens of MB at work."""


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


def codes_of(words: Sequence[str]) -> Codes:
    """Codes of single words, as `cut` gives them."""
    data, offsets = buffer_of([*words])
    return hash_runs(_SEPARATED, data, offsets[:-1], offsets[1:])


_LAYOUT = np.sort(codes_of(LAYOUT.split()))
_ORDER = np.argsort(codes_of([*SYNONYMS]))
_SPOKEN, _HEARD = codes_of([*SYNONYMS])[_ORDER], codes_of([*SYNONYMS.values()])[_ORDER]
_NUMBERS = np.sort(codes_of(NUMBERS.split()))
FUNCTION_WORDS: frozenset[int] = frozenset(codes_of(FUNCTION.split()).tolist())
"""Codes of words that alone do not make another problem."""


def among(codes: Codes, known: Codes) -> NDArray[np.bool_]:
    """Which codes are in `known`, which is sorted and not empty."""
    found: NDArray[np.bool_] = known[np.minimum(np.searchsorted(known, codes), len(known) - 1)] == codes
    return found


def exact(words: Words) -> NDArray[np.bool_]:
    """(W,) what must agree: numbers, in digits or in words, signs and LaTeX commands."""
    return (words.kinds > LETTERS) | among(words.codes, _NUMBERS)


def _tidy(words: Words) -> Words:
    """LaTeX layout left out, `\\dfrac` as `\\frac`, groups of three digits joined."""
    codes = words.codes
    if not len(codes):
        return words
    keep = np.ones(len(codes), bool)
    commands = np.flatnonzero((words.data[words.starts - 1] == ord("\\")) & (words.starts > 0))
    words.kinds[commands] = COMMAND
    keep[commands[among(codes[commands], _LAYOUT)]] = False
    other = commands[among(codes[commands], _SPOKEN)]
    codes[other] = _HEARD[np.searchsorted(_SPOKEN, codes[other])]
    ends = words.ends
    for head, tail in _groups_of_three(words):
        length = int(words.ends[head] - words.starts[head])
        code = int(codes[head])
        for group in range(head + 1, tail + 1):
            code += int(codes[group]) * int(_UP[length])
            length += 3
            keep[group] = False
        codes[head] = code % 2**64
        ends[head] = words.ends[tail]
    if keep.all():
        return words
    shift = np.concatenate(([0], np.cumsum(keep)))
    return Words(
        codes[keep],
        words.starts[keep],
        ends[keep],
        words.kinds[keep],
        shift[words.rows],
        words.data,
        words.offsets,
    )


def _groups_of_three(words: Words) -> list[tuple[int, int]]:
    """(first, last) words of numbers such as 1,000,000."""
    digits = words.kinds == DIGITS
    at = np.flatnonzero(digits[:-1] & digits[1:])
    at = at[(words.starts[at + 1] - words.ends[at] == 1) & (words.data[words.ends[at]] == ord(","))]
    at = at[(words.ends[at + 1] - words.starts[at + 1] == 3) & (words.row_of(at) == words.row_of(at + 1))]
    found: list[tuple[int, int]] = []
    for place in at.tolist():
        if found and found[-1][1] == place:
            found[-1] = (found[-1][0], place + 1)
        elif words.ends[place] - words.starts[place] <= 3 and words.data[words.starts[place]] != ord("0"):
            found.append((place, place + 1))
    return found
