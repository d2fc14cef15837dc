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

from openklear.curation.contamination.align import Gap, Pair, common, gaps, in_runs
from openklear.curation.contamination.index import FEW, NEVER, SEED, Entry
from openklear.curation.contamination.items import NEAR, NUMBERS, WHOLE
from openklear.curation.contamination.words import FUNCTION_WORDS, Codes, Places

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


def window(size: int, diagonal: int, row: int) -> tuple[int, int]:
    """The words of a row of `row` where an item of `size` should lie, given where its first word should."""
    slack = max(SLACK, size // 2)
    return max(0, diagonal - slack), min(row, diagonal + size + slack)


def needed(size: int) -> float:
    """Share of the weight that an item of `size` words needs."""
    if size < FEW:
        return SHORT_SHARE
    return MOST - (MOST - LEAST) * min(1.0, (size - FEW) / (MANY - FEW))


def holding(entry: Entry, row: Codes, exact: NDArray[np.bool_], diagonal: int) -> Holding | None:
    """How the row holds the item, if it does; `diagonal` is the word of the row where the item's first word should be.

    `row` are the codes of all of the row's words and `exact` says which are numbers or signs.
    """
    size = len(entry.codes)
    begin, end = window(size, diagonal, len(row))
    near = row[begin:end].tolist()
    start = diagonal - begin
    if start >= 0 and tuple(near[start : start + size]) == entry.codes:
        return Holding(1.0, WHOLE, diagonal, diagonal + size - 1)
    least = size - 1 if size < FEW else SEED
    pairs = in_runs(common(entry.where, size, near, least))
    if not pairs:
        return None
    score = float(entry.weights[[place for place, _ in pairs]].sum() / entry.weights.sum())
    first, last = pairs[0][1], pairs[-1][1]
    if score < needed(size) or len(pairs) < DENSITY * (last - first + 1):
        return None
    apart = gaps(pairs, size, end - begin)
    kind = _kind(entry, exact[begin:end], pairs, apart)
    if kind is None or _template(entry, [place for place, _ in pairs], apart):
        return None
    return Holding(score, kind, begin + first, begin + last)


def _kind(entry: Entry, exact: NDArray[np.bool_], pairs: list[Pair], apart: list[Gap]) -> str | None:
    """What the edits make of a row that holds enough of the item."""
    size = len(entry.codes)
    added = pairs[-1][1] - pairs[0][1] + 1 - len(pairs)
    edits = max(size - len(pairs), added)
    if size < FEW and edits > 1:
        return None
    different = _different(apart, entry.exact, exact)
    if not different:
        return NEAR
    allowed = max(1, int(entry.exact.sum()) // TENTH)
    return NUMBERS if different <= allowed and edits - different <= size // FEW - 1 else None


def _different(apart: list[Gap], item: NDArray[np.bool_], row: NDArray[np.bool_]) -> int:
    """Numbers and signs that differ. A row that ends before the item does leaves out, it does not differ.

    Between the runs a number for another is one missing and one added, in the same gap or, with equal numbers beside
    it ("2 - 2x" for "4 - 2x"), in two.
    """
    missing = [int(item[slice(*gap.item)].sum()) for gap in apart]
    added = [int(row[slice(*gap.row)].sum()) for gap in apart]
    inner = [(m, a) for gap, m, a in zip(apart, missing, added, strict=True) if gap.inner]
    outer = [min(m, a) for gap, m, a in zip(apart, missing, added, strict=True) if not gap.inner]
    return max(sum(m for m, _ in inner), sum(a for _, a in inner)) + sum(outer)


def _template(entry: Entry, places: list[int], apart: list[Gap]) -> bool:
    """Whether all that row and item share is a template, which other texts fill otherwise."""
    lacking = [place for gap in apart for place in range(*gap.item)]
    if all(entry.codes[place] in FUNCTION_WORDS for place in lacking):
        return False
    aligned = np.zeros(len(entry.codes), bool)
    aligned[places] = True
    runs = ((SEED, entry.spread), (2, entry.pairs))
    return all(_common(aligned, lacking, size, spread) for size, spread in runs)


def _common(aligned: NDArray[np.bool_], lacking: list[int], size: int, spread: Places) -> bool:
    """Whether every shared run of `size` words is as frequent as a template is."""
    if not len(spread):
        return True
    whole = np.lib.stride_tricks.sliding_window_view(aligned, size).all(axis=1)
    touched = [at for place in lacking for at in range(max(0, place - size + 1), min(place + 1, len(spread)))]
    rare = int(spread[touched].min(initial=NEVER))
    return int(spread[whole].min(initial=NEVER)) >= max(TEMPLATE, 2 * rare if rare < NEVER else 0)
