"""The report's rule (section 2.1): a row goes if it shares n = 9 tokens in a row with an evaluation prompt.

Tokens are lower-cased words (letters, digits, `_`) and single punctuation marks. A prompt of fewer than n tokens has
no n-gram; it is compared whole, with rows of fewer than n. Equal normalised prompts are caught whatever n is, 0 (no
n-grams) too. Rows that may match are found by 64-bit codes, all at once, and then looked at token by token, so that no
collision of codes drops a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from openklear.data.contamination.grams import LONGEST, Table, grams, within_texts
from openklear.data.contamination.items import EQUAL, SAME_WORDS, WORDS_IN_A_ROW, Item, Match, excerpt
from openklear.data.contamination.words import Codes, Places, buffer_of, byte_values, hash_runs
from openklear.data.rows import normalise
from openklear.errors import DataError

_TOKEN = re.compile(r"\w+|[^\w\s]")

Gram = tuple[str, ...]


def tokens(text: str) -> list[str]:
    """Lower-cased words and single punctuation marks, in order."""
    return _TOKEN.findall(normalise(text))


def _runs(words: Sequence[str], n: int) -> Iterator[Gram]:
    return zip(*(words[start:] for start in range(n)), strict=False)


def _kinds() -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """0 white space, 1 part of a word, 2 a token of its own."""
    table = np.full(256, 2, np.uint8)
    for byte in range(256):
        if byte >= 128 or chr(byte).isalnum() or byte == ord("_"):
            table[byte] = 1
        elif chr(byte).isspace():
            table[byte] = 0
    return table


_KINDS = _kinds()
_VALUES = byte_values(_KINDS > 0)


def token_codes(texts: Sequence[str]) -> tuple[Codes, Places]:
    """Codes of the texts' tokens, and the (R + 1,) places where each text's begin.

    Outside ASCII, where a byte does not say what it is part of, the regular expression sets the tokens apart first.
    """
    data, offsets = buffer_of([text if text.isascii() else " ".join(tokens(text)) for text in texts])
    kinds = _KINDS[data]
    change = np.empty(len(data) + 1, bool)
    change[:1] = change[-1:] = True
    np.not_equal(kinds[1:], kinds[:-1], out=change[1:-1])
    change[1:-1] |= kinds[1:] == 2
    change[offsets] = True
    edges = np.flatnonzero(change)
    inside = kinds[edges[:-1]] > 0
    starts, ends = edges[:-1][inside], edges[1:][inside]
    return hash_runs(_VALUES, data, starts, ends), np.searchsorted(starts, offsets)


@dataclass(frozen=True, slots=True, eq=False)
class NgramRule:
    """Rows that share n tokens in a row with an item."""

    n: int
    table: Table
    grams: dict[Gram, str]
    """n tokens in a row, or all of a shorter item's; the first item that has them."""
    prompts: dict[str, str]
    """Whole normalised prompts."""

    @property
    def reason(self) -> str:
        """What the funnel counts under."""
        return f"shares {self.n} words in a row with a benchmark" if self.n else "evaluation prompt"

    @classmethod
    def build(cls, items: Iterable[Item], n: int = 9) -> NgramRule:
        """Index the items; n = 0 compares whole prompts only."""
        if not 0 <= n <= LONGEST:
            raise DataError(f"decontamination: n = {n} words in a row; choose 0 (whole prompts) to {LONGEST}")
        known: dict[Gram, str] = {}
        prompts: dict[str, str] = {}
        texts: list[str] = []
        for item in items:
            texts.append(item.text)
            prompts.setdefault(normalise(item.text), item.id)
            words = tokens(item.text) if n else []
            for gram in _runs(words, n) if len(words) >= n > 0 else [tuple(words)] if n else []:
                known.setdefault(gram, item.id)
        codes, rows = token_codes(texts)
        here = grams(codes, n) if n else codes[:0]
        inside, _ = within_texts(np.arange(len(here)), n, rows)
        return cls(n, Table.build(here[inside]), known, prompts)

    def match(self, texts: Sequence[str]) -> list[Match | None]:
        """For each text the item that it shares n tokens in a row with, or that it equals."""
        found: list[Match | None] = [None] * len(texts)
        for row in self._candidates(texts):
            found[row] = self._look(texts[row])
        return found

    def _candidates(self, texts: Sequence[str]) -> list[int]:
        if not self.n:
            return list(range(len(texts)))
        codes, rows = token_codes(texts)
        at, _ = self.table.find(grams(codes, self.n))
        inside, row = within_texts(at, self.n, rows)
        maybe = np.diff(rows) < self.n
        maybe[row[inside]] = True
        return np.flatnonzero(maybe).tolist()

    def _look(self, text: str) -> Match | None:
        same = self.prompts.get(normalise(text))
        if same is not None:
            return Match(same, 1.0, excerpt(text), EQUAL)
        if not self.n:
            return None
        words = tokens(text)
        if len(words) < self.n:
            same = self.grams.get(tuple(words))
            return None if same is None else Match(same, 1.0, excerpt(text), SAME_WORDS)
        for gram in _runs(words, self.n):
            if gram in self.grams:
                return Match(self.grams[gram], 1.0, excerpt(" ".join(gram)), WORDS_IN_A_ROW)
        return None
