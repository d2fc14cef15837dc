"""The report's rule (section 2.1): a row goes if it shares n = 9 tokens in a row with an evaluation prompt.

Tokens are lower-cased words (letters, digits, `_`) and single punctuation marks. A prompt of fewer than n tokens has
no n-gram; it is compared whole, with rows of fewer than n. Equal normalised prompts are caught whatever n is, 0 (no
n-grams) too. Tokens and their n-grams are compared as 64-bit codes: 10^9 n-grams against 10^5 take one
for another in about one of 10^5 runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from openklear.curation.contamination.grams import LONGEST, Table, grams, within_texts
from openklear.curation.contamination.items import EQUAL, SAME_WORDS, WORDS_IN_A_ROW, Item, Match, excerpt
from openklear.curation.contamination.words import Codes, Places, buffer_of, byte_values, chunks, hash_runs, sums
from openklear.data.rows import normalise
from openklear.errors import DataError

_TOKEN = re.compile(r"\w+|[^\w\s]")


def tokens(text: str) -> list[str]:
    """Lower-cased words and single punctuation marks, in order."""
    return _TOKEN.findall(normalise(text))


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
    grams: tuple[tuple[str, str], ...]
    """For each run of the table the first item that has it, and its tokens."""
    short: dict[tuple[str, ...], str]
    """All tokens of an item of fewer than n."""
    prompts: dict[str, str]
    """Whole normalised prompts."""
    sums: Codes
    """Sorted sums of the items' token codes: a row with another sum is no item."""

    @property
    def reason(self) -> str:
        """What the funnel counts under."""
        return f"shares {self.n} words in a row with a benchmark" if self.n else "evaluation prompt"

    @classmethod
    def build(cls, items: Iterable[Item], n: int = 9) -> NgramRule:
        """Index the items; n = 0 compares whole prompts only."""
        if not 0 <= n <= LONGEST:
            raise DataError(f"decontamination: n = {n} words in a row; choose 0 (whole prompts) to {LONGEST}")
        items = list(items)
        prompts: dict[str, str] = {}
        short: dict[tuple[str, ...], str] = {}
        split = [tokens(item.text) for item in items]
        for item, words in zip(items, split, strict=True):
            prompts.setdefault(normalise(item.text), item.id)
            if len(words) < n:
                short.setdefault(tuple(words), item.id)
        codes, rows = token_codes([item.text for item in items])
        here = grams(codes, n) if n else codes[:0]
        inside, row = within_texts(np.arange(len(here)), n, rows)
        unique, first = np.unique(here[inside], return_index=True)
        at = np.flatnonzero(inside)[first]
        known = []
        for place, item_number in zip(at.tolist(), row[at].tolist(), strict=True):
            start = place - int(rows[item_number])
            known.append((items[item_number].id, " ".join(split[item_number][start : start + n])))
        return cls(n, Table.build(unique), tuple(known), short, prompts, np.unique(sums(codes, rows)))

    def match(self, texts: Sequence[str]) -> list[Match | None]:
        """For each text the item that it equals, or the first that it shares n tokens in a row with."""
        found: list[Match | None] = [None] * len(texts)
        begin = 0
        for part in chunks(texts):
            self._match(part, found, begin)
            begin += len(part)
        return found

    def _match(self, texts: Sequence[str], found: list[Match | None], begin: int) -> None:
        codes, rows = token_codes(texts)
        if self.n:
            at, run = self.table.find(grams(codes, self.n))
            inside, row = within_texts(at, self.n, rows)
            hit, first = np.unique(row[inside], return_index=True)
            for number, rank in zip(hit.tolist(), run[inside][first].tolist(), strict=True):
                item, text = self.grams[rank]
                found[begin + number] = Match(item, 1.0, excerpt(text), WORDS_IN_A_ROW)
        for number in np.flatnonzero(np.isin(sums(codes, rows), self.sums)).tolist():
            whole = self._whole(texts[number])
            if whole is not None:
                found[begin + number] = whole

    def _whole(self, text: str) -> Match | None:
        """The item that a text is, from end to end."""
        same = self.prompts.get(normalise(text))
        if same is not None:
            return Match(same, 1.0, excerpt(text), EQUAL)
        same = self.short.get(tuple(tokens(text)))
        return None if same is None else Match(same, 1.0, excerpt(text), SAME_WORDS)
