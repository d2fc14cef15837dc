"""The report's rule (section 2.1): a row goes if it shares n = 9 tokens in a row with an evaluation prompt.

Tokens are lower-cased words (letters, digits, `_`) and single punctuation marks. A prompt of fewer than n tokens has
no n-gram; it is compared whole, with rows of fewer than n. Punctuation alone (a line of dashes, the edge of a table) is
no n-gram either: it says nothing of a problem. Equal normalised prompts are caught whatever n is, 0 (no
n-grams) too. Tokens and their n-grams are compared as 64-bit codes: with 10^9 n-grams against 10^5, one is taken for
another in about one of 10^5 runs.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from openklear.curation.contamination.items import WORDS_IN_A_ROW, BenchmarkItem, Match, excerpt
from openklear.curation.contamination.whole import WholePrompts
from openklear.curation.text.cut import Cutter, Words, byte_kinds, chunks
from openklear.curation.text.grams import LONGEST, CodeSet, grams, within_texts
from openklear.data.rows import normalise
from openklear.errors import DataError

_TOKEN = re.compile(r"\w+|[^\w\s]")


def tokens(text: str) -> list[str]:
    """Lower-cased words and single punctuation marks, in order."""
    return _TOKEN.findall(normalise(text))


def is_word(token: str) -> bool:
    """Whether a token holds a letter or a digit; a line of dashes or underscores is none, however long."""
    return any(map(str.isalnum, token))


# White space separates, and what is neither blank nor part of a word is a token of its own.
_MARKS = "".join(mark for mark in map(chr, range(128)) if not (mark.isalnum() or mark.isspace() or mark == "_"))
_CUT = Cutter(byte_kinds(f"{string.ascii_letters}{string.digits}_", _MARKS), _MARKS.encode())


def cut_tokens(texts: Sequence[str]) -> Words:
    """The texts' tokens as codes.

    Outside ASCII, where a byte does not say what it is part of, the regular expression sets the tokens apart first.
    """
    return _CUT([text if text.isascii() else " ".join(tokens(text)) for text in texts])


@dataclass(frozen=True, slots=True, eq=False)
class NgramRule:
    """Rows that share n tokens in a row with an item."""

    n: int
    known: CodeSet
    """The items' n-grams."""
    grams: tuple[tuple[str, str], ...]
    """For each n-gram, by rank, the first item that has it, and its tokens."""
    whole: WholePrompts
    """Items of fewer than n tokens by their tokens, and all items by their text."""

    @classmethod
    def build(cls, items: Iterable[BenchmarkItem], n: int = 9) -> NgramRule:
        """Index the items; n = 0 compares whole prompts only."""
        if not 0 <= n <= LONGEST:
            raise DataError(f"decontamination: n = {n} words in a row; choose 0 (whole prompts) to {LONGEST}")
        items = list(items)
        cut = cut_tokens([item.text for item in items])
        here = grams(cut.codes, n) if n else cut.codes[:0]
        inside, row = within_texts(np.arange(len(here)), n, cut.rows)
        unique, first = np.unique(here[inside], return_index=True)  # (n-grams,) the first place of each
        at = np.flatnonzero(inside)[first]
        split = [tokens(item.text) for item in items]
        shown, counts = [], np.zeros(len(unique), np.bool_)  # (n-grams,) those that hold a word
        for place, (start, number) in enumerate(zip((at - cut.rows[row[at]]).tolist(), row[at].tolist(), strict=True)):
            gram = split[number][start : start + n]
            if any(map(is_word, gram)):
                counts[place] = True
                shown.append((items[number].id, " ".join(gram)))
        whole = WholePrompts.build(items, cut, np.diff(cut.rows) < n)
        return cls(n, CodeSet.build(unique[counts]), tuple(shown), whole)

    def match(self, texts: Sequence[str]) -> list[Match | None]:
        """For each text the item that it equals, or the first that it shares n tokens in a row with."""
        found: list[Match | None] = []
        for part in chunks(texts):
            found += self._match(part)
        return found

    def _match(self, texts: Sequence[str]) -> list[Match | None]:
        cut = cut_tokens(texts)
        found: list[Match | None] = [None] * len(texts)
        if self.n:
            at, rank = self.known.find(grams(cut.codes, self.n))
            inside, row = within_texts(at, self.n, cut.rows)
            hit, first = np.unique(row[inside], return_index=True)  # (rows that match,) the first n-gram of each
            for number, known in zip(hit.tolist(), rank[inside][first].tolist(), strict=True):
                item, text = self.grams[known]
                found[number] = Match(item, 1.0, excerpt(text), WORDS_IN_A_ROW)
        for number, whole in self.whole.find(texts, cut):
            found[number] = whole
        return found
