"""Whether a row really holds an item, given that some runs of their words agree.

The item is aligned with the stretch of the row where the runs lie (align.py). The score is the share of the item's
weight that its aligned words have. What is not aligned are edits: words missing, added or changed. The row holds the
item if

- the score is at least what an item of its length needs (`needed`), and an item of fewer than FEW words has one edit
  at most: of a short text every word may be the one that matters;
- the aligned words are at least DENSITY of the row's stretch that they span: shared words strewn over a long text are
  no copy;
- what they share is more than a template: some run that both hold is rarer than TEMPLATE texts or less than twice as
  frequent as the item's words that the row lacks. "The letters of the word ELLIPSE" is another problem than "... TOOT"
  where many rows ask for the letters of a word, and nothing but a changed word where none does. A lacking 'of' or 'the'
  never makes another problem;
- numbers, signs and LaTeX commands agree. One that differs (or a tenth of the item's) makes it "a number differs", if
  the item has FEW words or more and nearly all other words match: one word in FEW may not, of the first FEW none.
  Otherwise it is another problem: the numbers of a short item are what it asks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openklear.curation.contamination.items import NEAR, NUMBERS, WHOLE
from openklear.curation.contamination.weighted.align import Gap, Pair, common, gaps, in_runs
from openklear.curation.contamination.weighted.index import FEW, NEVER, SEED, IndexedItem
from openklear.curation.contamination.weighted.words import FUNCTION_WORDS
from openklear.curation.text.cut import Codes, Places

MANY = 40
"""Words from which on LEAST of the weight is enough."""
MOST, LEAST = 0.85, 0.6
"""Share of the weight that an item of FEW and of MANY words needs; between them on a line."""
SHORT_SHARE = 0.5
"""Share of the weight that a shorter one needs, beside having one edit at most."""
DENSITY = 0.5
TEMPLATE = 6
TENTH = 10
SLACK = 8
"""Words looked at on either side of where the item should lie; half the item's words if that is more."""


@dataclass(frozen=True, slots=True)
class Holding:
    """A row's words first .. last, counted in the row, hold an item."""

    score: float
    kind: str
    first: int
    last: int


def needed(size: int) -> float:
    """Share of the weight that an item of `size` words needs."""
    if size < FEW:
        return SHORT_SHARE
    return MOST - (MOST - LEAST) * min(1.0, (size - FEW) / (MANY - FEW))


def holding(item: IndexedItem, row: Codes, exact: NDArray[np.bool_], diagonal: int) -> Holding | None:
    """How the row holds the item, if it does; `diagonal` is the word of the row where the item's first word should be.

    `row` are the codes of all of the row's words and `exact` says which are numbers or signs.
    """
    size = len(item.codes)
    slack = max(SLACK, size // 2)
    begin, end = max(0, diagonal - slack), min(len(row), diagonal + size + slack)
    near = row[begin:end].tolist()
    start = diagonal - begin
    if start >= 0 and tuple(near[start : start + size]) == item.codes:
        return Holding(1.0, WHOLE, diagonal, diagonal + size - 1)
    least = size - 1 if size < FEW else SEED
    pairs = in_runs(common(item.where, size, near, least))
    if not pairs:
        return None
    aligned = np.zeros(size, np.bool_)
    aligned[[place for place, _ in pairs]] = True
    score = float(item.weights[aligned].sum() / item.weights.sum())
    first, last = pairs[0][1], pairs[-1][1]
    if score < needed(size) or len(pairs) < DENSITY * (last - first + 1):
        return None
    apart = gaps(pairs, size, end - begin)
    kind = _kind(item, exact[begin:end], pairs, apart)
    if kind is None or _template(item, aligned):
        return None
    return Holding(score, kind, begin + first, begin + last)


def _kind(item: IndexedItem, exact: NDArray[np.bool_], pairs: list[Pair], apart: list[Gap]) -> str | None:
    """What the edits make of a row that holds enough of the item."""
    size = len(item.codes)
    added = pairs[-1][1] - pairs[0][1] + 1 - len(pairs)
    edits = max(size - len(pairs), added)
    if size < FEW and edits > 1:
        return None
    different = _different(apart, item.exact, exact)
    if not different:
        return NEAR
    allowed = max(1, int(item.exact.sum()) // TENTH)
    return NUMBERS if different <= allowed and edits - different <= size // FEW - 1 else None


def _different(apart: list[Gap], item: NDArray[np.bool_], row: NDArray[np.bool_]) -> int:
    """Numbers and signs that differ. A row that ends before the item does leaves out, it does not differ.

    Between the runs a number for another is one missing and one added, in the same gap or, with equal numbers beside
    it ("2 - 2x" for "4 - 2x"), in two.
    """
    missing = added = outer = 0
    for gap in apart:
        lacks, has = int(item[slice(*gap.item)].sum()), int(row[slice(*gap.row)].sum())
        if gap.inner:
            missing, added = missing + lacks, added + has
        else:
            outer += min(lacks, has)
    return max(missing, added) + outer


def _template(item: IndexedItem, aligned: NDArray[np.bool_]) -> bool:
    """Whether all that row and item share is a template, which other texts fill otherwise; aligned (L,)."""
    lacking = np.flatnonzero(~aligned).tolist()
    if all(item.codes[place] in FUNCTION_WORDS for place in lacking):
        return False
    return all(_common(aligned, size, frequency) for size, frequency in item.frequency.items())


def _common(aligned: NDArray[np.bool_], size: int, frequency: Places) -> bool:
    """Whether every shared run of `size` words is as frequent as a template is."""
    windows = np.lib.stride_tricks.sliding_window_view(aligned, size)  # (L,) -> (L - size + 1, size)
    shared = np.asarray(windows.all(axis=1), np.bool_)
    frequency = frequency[: len(shared)]
    rare = int(frequency[~shared].min(initial=NEVER))
    return int(frequency[shared].min(initial=NEVER)) >= max(TEMPLATE, 2 * rare if rare < NEVER else 0)
