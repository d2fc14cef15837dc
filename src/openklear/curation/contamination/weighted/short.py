"""Items too short for runs of words ("Compute $\\sin 60^\\circ$."), of which MATH-500 has some dozens.

Such an item is found

- as a row of the same words, if the marks that words.py does not keep (- ^ * ! | /) are the same too;
- as a sentence of its own in a longer row, if it has at least three words: the end of a sentence, a line or the text
  stands before it and after it;
- in a row of at most one word more or less, if they differ in one plain word added, left out or changed ("Find" for
  "Compute"). Numbers, signs, single letters and LaTeX commands are not plain words: sin 60 is not cos 60.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from openklear.curation.contamination.items import NEAR, SAME_WORDS, WHOLE
from openklear.curation.contamination.weighted.index import SHORTEST
from openklear.curation.contamination.weighted.words import SIGNS, exact
from openklear.curation.text.cut import Words
from openklear.curation.text.grams import CodeSet, grams, sums, within_texts

LEAST = 3
"""Words that an item has at least to be found as a sentence, or with another word in it."""
_NOT_MARKS = bytes(set(range(256)) - set(b"-^*!|/"))
_END = re.compile(rb"[.?!:;\n]")


@dataclass(frozen=True, slots=True)
class Found:
    """Words first .. last of the batch, which lie in `row`, hold the item with this number."""

    row: int
    item: int
    score: float
    kind: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class ShortItem:
    """An item of few words."""

    number: int
    codes: tuple[int, ...]
    plain: tuple[bool, ...]
    """Words of two letters or more that are no number and no LaTeX command."""
    marks: bytes
    """The marks between its words."""


@dataclass(frozen=True, slots=True, eq=False)
class ShortItems:
    """Items of fewer than SHORTEST words."""

    similar: dict[tuple[int, ...], tuple[ShortItem, ...]]
    """All words of an item, or all but one -> items."""
    known: CodeSet
    """Codes of all words of an item in a row."""
    whole: tuple[tuple[ShortItem, ...], ...]
    """By rank in `known`: the items."""
    longest: int
    """Words of the longest item."""


def build(words: Words) -> ShortItems:
    """The short ones of the items that have these words."""
    sizes = np.diff(words.rows)
    plain = _plain(words)
    said = sums((words.kinds != SIGNS).astype(np.uint64), words.rows) > 0  # (items,) not signs alone
    items = [_read(words, plain, number) for number in np.flatnonzero((sizes < SHORTEST) & said).tolist()]
    similar: dict[tuple[int, ...], list[ShortItem]] = {}
    whole: dict[int, list[ShortItem]] = {}
    for item in items:
        for codes in _all_but_one(item.codes):
            similar.setdefault(codes, []).append(item)
        if len(item.codes) >= LEAST:
            own = np.array(item.codes, np.uint64)
            whole.setdefault(int(grams(own, len(own))[0]), []).append(item)
    known = CodeSet.build(np.array([*whole], np.uint64))
    return ShortItems(
        {codes: tuple(dict.fromkeys(found)) for codes, found in similar.items()},
        known,
        tuple(tuple(whole[code]) for code in known.codes.tolist()),
        max((len(item.codes) for item in items), default=0),
    )


def _read(words: Words, plain: NDArray[np.bool_], row: int) -> ShortItem:
    first, behind = int(words.rows[row]), int(words.rows[row + 1])
    return ShortItem(row, words.codes_of(row), tuple(plain[first:behind].tolist()), _marks(words, first, behind - 1))


def _plain(words: Words) -> NDArray[np.bool_]:
    return (words.ends - words.starts >= 2) & ~exact(words)


def _marks(words: Words, first: int, last: int) -> bytes:
    return bytes(words.data[words.starts[first] : words.ends[last]]).translate(None, _NOT_MARKS)


def _all_but_one(codes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    yield codes
    for place in range(len(codes)):
        yield codes[:place] + codes[place + 1 :]


def find(short: ShortItems, words: Words) -> Iterator[Found]:
    """Every short item that one of the texts is, or holds as a sentence."""
    if not short.similar:
        return
    sizes = np.diff(words.rows)
    few = np.flatnonzero((sizes <= short.longest + 1) & (sizes > 0)).tolist()
    plain = _plain(words) if few else np.zeros(0, np.bool_)
    for row in few:
        yield from _similar(short, _read(words, plain, row), int(words.rows[row]))
    for size in range(LEAST, short.longest + 1):
        at, rank = short.known.find(grams(words.codes, size))
        inside, row_of = within_texts(at, size, words.rows)
        found = at[inside].tolist(), row_of[inside].tolist(), rank[inside].tolist()
        for first, row, known in zip(*found, strict=True):
            yield from _sentence(short.whole[known], words, row, first, first + size - 1)


def _similar(short: ShortItems, row: ShortItem, first: int) -> Iterator[Found]:
    """The items that a row of few words is, apart from one plain word; `first` is its first word in the batch."""
    met: dict[ShortItem, None] = {}
    for codes in _all_but_one(row.codes):
        met.update(dict.fromkeys(short.similar.get(codes, ())))
    for item in met:
        if row.marks == item.marks and (row.codes == item.codes or _one_word_apart(row, item)):
            kind = SAME_WORDS if row.codes == item.codes else NEAR
            yield Found(row.number, item.number, 1.0, kind, first, first + len(row.codes) - 1)


def _one_word_apart(row: ShortItem, item: ShortItem) -> bool:
    """Whether they differ in at most one plain word."""
    head = _alike(row.codes, item.codes)
    tail = min(_alike(row.codes[::-1], item.codes[::-1]), min(len(row.codes), len(item.codes)) - head)
    added, missing = row.plain[head : len(row.codes) - tail], item.plain[head : len(item.codes) - tail]
    return len(item.codes) >= LEAST and max(len(added), len(missing)) <= 1 and all(added + missing)


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    """How many words at the beginning are the same."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _sentence(items: Sequence[ShortItem], words: Words, row: int, first: int, last: int) -> Iterator[Found]:
    """The items that the words first .. last of the batch are, if they are a sentence."""
    if edge(words, row, first, front=True) and edge(words, row, last + 1, front=False):
        marks = _marks(words, first, last)
        for item in items:
            if item.marks == marks:
                yield Found(row, item.number, 1.0, WHOLE, first, last)


def edge(words: Words, row: int, word: int, *, front: bool) -> bool:
    """Whether in a row a sentence begins at `word` (front) or ends before it."""
    if word == words.rows[row if front else row + 1]:
        return True
    return _END.search(words.between(row, word)) is not None
