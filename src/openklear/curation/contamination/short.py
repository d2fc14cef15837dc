"""Items too short for runs of words ("Compute $\\sin 60^\\circ$."), of which MATH-500 has some dozens.

Such an item is found

- as a row of the same words, and signs that words.py does not keep (- ^ * ! | /) the same too;
- as a sentence of its own in a longer row, if it has at least three words: what stands in front of it and behind it
  holds the end of a sentence, a line or the text;
- in a row of at most one word more or less, if they differ in one plain word put in, left out or changed ("Find" for
  "Compute"). Numbers, signs, single letters and LaTeX commands are no plain words: sin 60 is not cos 60.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from openklear.curation.contamination.grams import Table, grams
from openklear.curation.contamination.items import NEAR, SAME_WORDS, WHOLE
from openklear.curation.contamination.words import Places, Words, cut, exact

RUN = 3
"""Words in a row that start a search for a sentence."""
_MARKS = b"-^*!|/"
_END = re.compile(rb"[.?!:;\n]")


@dataclass(frozen=True, slots=True)
class Found:
    """Words first .. last of a row, counted in the batch, are item `item`."""

    row: int
    item: int
    kind: str
    first: int
    last: int


@dataclass(frozen=True, slots=True, eq=False)
class Short:
    """Short items among B."""

    items: dict[int, tuple[int, ...]]
    """Item -> codes of its words."""
    marks: dict[int, tuple[bytes, ...]]
    """Item -> the marks in front of each of its words but the first."""
    whole: dict[tuple[int, ...], tuple[int, ...]]
    """All words of an item, or all but one -> items."""
    plain: dict[int, tuple[bool, ...]]
    table: Table
    starts: tuple[tuple[tuple[int, int], ...], ...]
    """For each run of the table: (item, place of the run in it)."""
    longest: int
    """Words of the longest item."""


def build(texts: Sequence[str], shortest: int) -> Short:
    """The items of `texts` that have fewer words than `shortest`."""
    words = cut(texts)
    sizes = np.diff(words.rows)
    chosen = np.flatnonzero((sizes < shortest) & (sizes > 0)).tolist()
    plain = _plain(words)
    items, marks, plains = {}, {}, {}
    whole: dict[tuple[int, ...], list[int]] = {}
    for item in chosen:
        first, last = int(words.rows[item]), int(words.rows[item + 1])
        items[item] = tuple(words.codes[first:last].tolist())
        marks[item] = tuple(_marks(words, item, word) for word in range(first + 1, last))
        plains[item] = tuple(plain[first:last].tolist())
        for key in _all_but_one(items[item]):
            whole.setdefault(key, []).append(item)
    table, starts = _seeds(words, items)
    return Short(
        items,
        marks,
        {key: tuple(dict.fromkeys(found)) for key, found in whole.items()},
        plains,
        table,
        starts,
        max(map(len, items.values()), default=0),
    )


def _seeds(words: Words, items: dict[int, tuple[int, ...]]) -> tuple[Table, tuple[tuple[tuple[int, int], ...], ...]]:
    """For each item of RUN words or more its rarest run among all items, the last one of several."""
    runs = grams(words.codes, RUN)
    unique, counts = np.unique(runs, return_counts=True)
    chosen: dict[int, list[tuple[int, int]]] = {}
    for item, codes in items.items():
        if len(codes) >= RUN:
            first = int(words.rows[item])
            own = runs[first : first + len(codes) - RUN + 1]
            often = counts[np.searchsorted(unique, own)]
            place = len(own) - 1 - int(np.argmin(often[::-1]))
            chosen.setdefault(int(own[place]), []).append((item, place))
    table = Table.build(np.array(sorted(chosen), np.uint64))
    return table, tuple(tuple(chosen[code]) for code in table.codes.tolist())


def _plain(words: Words) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Words of two letters or more that are no number and no LaTeX command."""
    return (words.ends - words.starts >= 2) & ~exact(words)


def _marks(words: Words, row: int, word: int) -> bytes:
    return bytes(byte for byte in words.between(row, word) if byte in _MARKS)


def _all_but_one(codes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    yield codes
    for place in range(len(codes)):
        yield codes[:place] + codes[place + 1 :]


def find(short: Short, words: Words) -> Iterator[Found]:
    """Every short item that one of the texts is, or holds as a sentence."""
    if not short.items:
        return
    sizes = np.diff(words.rows)
    few = np.flatnonzero((sizes <= short.longest + 1) & (sizes > 0))
    if len(few):
        plain = _plain(words)
        for row in few.tolist():
            yield from _same(short, words, plain, row)
    at, run = short.table.find(grams(words.codes, RUN))
    yield from _sentences(short, words, at, run)


def _same(short: Short, words: Words, plain: np.ndarray[tuple[int], np.dtype[np.bool_]], row: int) -> Iterator[Found]:
    """The items that a row of few words is, one plain word aside."""
    first, last = int(words.rows[row]), int(words.rows[row + 1])
    codes = tuple(words.codes[first:last].tolist())
    seen: set[int] = set()
    for key in _all_but_one(codes):
        for item in short.whole.get(key, ()):
            if item in seen:
                continue
            seen.add(item)
            kind = _one_word_apart(short, item, codes, tuple(plain[first:last].tolist()))
            marks = b"".join(_marks(words, row, word) for word in range(first + 1, last))
            if kind and marks == b"".join(short.marks[item]):
                yield Found(row, item, kind, first, last - 1)


def _one_word_apart(short: Short, item: int, codes: tuple[int, ...], plain: tuple[bool, ...]) -> str | None:
    """The kind of match of two word lists that differ in at most one plain word."""
    mine, theirs = codes, short.items[item]
    if mine == theirs:
        return SAME_WORDS
    head = 0
    while head < min(len(mine), len(theirs)) and mine[head] == theirs[head]:
        head += 1
    tail = 0
    while tail < min(len(mine), len(theirs)) - head and mine[-1 - tail] == theirs[-1 - tail]:
        tail += 1
    added, missing = plain[head : len(mine) - tail], short.plain[item][head : len(theirs) - tail]
    if max(len(added), len(missing)) > 1 or not all(added + missing) or len(theirs) < RUN:
        return None
    return NEAR


def _sentences(short: Short, words: Words, at: Places, run: Places) -> Iterator[Found]:
    rows = words.row_of(at).tolist()
    for start, row, rank in zip(at.tolist(), rows, run.tolist(), strict=True):
        for item, place in short.starts[rank]:
            codes = short.items[item]
            first, behind = start - place, start - place + len(codes)
            if first < words.rows[row] or behind > words.rows[row + 1]:
                continue
            if tuple(words.codes[first:behind].tolist()) != codes:
                continue
            if not (edge(words, row, first, front=True) and edge(words, row, behind, front=False)):
                continue
            if tuple(_marks(words, row, word) for word in range(first + 1, behind)) == short.marks[item]:
                yield Found(row, item, WHOLE, first, behind - 1)


def edge(words: Words, row: int, word: int, *, front: bool) -> bool:
    """Whether in a row a sentence begins at `word` (front) or ended before it."""
    if word == words.rows[row if front else row + 1]:
        return True
    return _END.search(words.between(row, word)) is not None
