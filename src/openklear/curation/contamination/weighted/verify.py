"""Whether a row really holds an item, given that some runs of their words agree.

The item is aligned with the stretch of the row where the runs lie (align.py). The score is the share of the item's
weight that its aligned words have. What is not aligned are edits: words missing, added or changed. The row holds the
item if

- the score is at least what an item of its length needs (`needed`), and an item of fewer than FEW words has at most one
  edit: in a short text any word may be the one that matters;
- the aligned words are at least DENSITY of the stretch of the row that they span: shared words scattered over a long
  text are no copy;
- what they share is more than a template: some run that both hold is in fewer than TEMPLATE texts, or less than twice
  as frequent as the rarest run of the item that the row lacks. "The letters of the word ELLIPSE" and "... TOOT" are two
  problems where many rows ask for the letters of a word, and one with a changed word where no other row does. A missing
  'of' or 'the' never makes another problem;
- numbers, signs and LaTeX commands agree. One that differs (or a tenth of the item's) makes it "a number differs", if
  the item has FEW words or more and nearly all other words match: for every FEW words after the first FEW one may not.
  Otherwise it is another problem: the numbers of a short item are what it asks for.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from openklear.curation.contamination.items import NEAR, NUMBERS, WHOLE
from openklear.curation.contamination.weighted.align import common, in_runs
from openklear.curation.contamination.weighted.index import FEW, NEVER, SEED, IndexedItem
from openklear.curation.contamination.weighted.words import FUNCTION_WORDS
from openklear.curation.text.cut import Codes, Places

Flags = NDArray[np.bool_]

MANY = 40
"""Words from which on LEAST of the weight is enough."""
MOST, LEAST = 0.85, 0.6
"""Share of the weight that an item of FEW and of MANY words needs; in between on a straight line."""
SHORT_SHARE = 0.5
"""Share of the weight that a shorter one needs, besides having at most one edit."""
DENSITY = 0.5
TEMPLATE = 6
TENTH = 10
SLACK = 8
"""Words looked at on either side of where the item should lie; half the item's words if that is more."""


Holding = tuple[float, str, int, int]
"""(score, kind, first, last): the words first .. last, counted in the row, hold the item."""


def needed(size: int) -> float:
    """Share of the weight that an item of `size` words needs."""
    if size < FEW:
        return SHORT_SHARE
    return MOST - (MOST - LEAST) * min(1.0, (size - FEW) / (MANY - FEW))


def holding(item: IndexedItem, row: Codes, exact: Flags, diagonal: int) -> Holding | None:
    """How the row holds the item, if it does; `diagonal` is the word of the row where the item's first word should be.

    `row` are the codes of all of the row's words and `exact` says which are numbers or signs.
    """
    size = len(item.codes)
    slack = max(SLACK, size // 2)
    begin, end = max(0, diagonal - slack), min(len(row), diagonal + size + slack)
    near = row[begin:end].tolist()
    start = diagonal - begin
    if start >= 0 and tuple(near[start : start + size]) == item.codes:
        return 1.0, WHOLE, diagonal, diagonal + size - 1
    pairs = in_runs(common(item.codes, near, least=size - 1 if size < FEW else SEED))
    if not pairs:
        return None
    places, words = np.array(pairs).T  # (pairs,) words of the item and of row[begin:end] that are aligned
    score = float(item.weights[places].sum() / item.weights.sum())
    first, last = pairs[0][1], pairs[-1][1]
    if score < needed(size) or len(pairs) < DENSITY * (last - first + 1):
        return None
    kind = _kind(size, item.exact, exact[begin:end], places, words)
    if kind is None or _template(item, places):
        return None
    return score, kind, begin + first, begin + last


def _kind(size: int, item: Flags, row: Flags, places: Places, words: Places) -> str | None:
    """What the edits make of a row that holds enough of an item of `size` words."""
    added = int(words[-1] - words[0]) + 1 - len(words)
    edits = max(size - len(places), added)
    if size < FEW and edits > 1:
        return None
    different = differing(item, row, places, words)
    if not different:
        return NEAR
    allowed = max(1, int(item.sum()) // TENTH)
    return NUMBERS if different <= allowed and edits - different <= size // FEW - 1 else None


def differing(item: Flags, row: Flags, places: Places, words: Places) -> int:
    """Numbers and signs that differ; `item` and `row` say which words are such, `places` and `words` which are aligned.

    Between the first and the last aligned word a number for another is one missing and one added, side by side or, with
    equal numbers between them ("2 - 2x" for "4 - 2x"), apart. Outside, as many words of the row count as the item has
    there: a row that ends before the item does leaves out, it does not differ.
    """
    missing = item[places[0] : places[-1] + 1].sum() - item[places].sum()
    added = row[words[0] : words[-1] + 1].sum() - row[words].sum()
    front, behind = int(places[0]), len(item) - 1 - int(places[-1])
    before = row[max(0, words[0] - front) : words[0]].sum()
    after = row[words[-1] + 1 : words[-1] + 1 + behind].sum()
    outside = min(item[:front].sum(), before) + min(item[len(item) - behind :].sum(), after)
    return int(max(missing, added) + outside)


def _template(item: IndexedItem, places: Places) -> bool:
    """Whether all that row and item share is a template, which other texts fill otherwise."""
    aligned = np.zeros(len(item.codes), np.bool_)
    aligned[places] = True
    lacking = np.flatnonzero(~aligned).tolist()
    if all(item.codes[place] in FUNCTION_WORDS for place in lacking):
        return False
    return all(_common(aligned, size, frequency) for size, frequency in item.frequency.items())


def _common(aligned: Flags, size: int, frequency: Places) -> bool:
    """Whether every shared run of `size` words is as frequent as a template is."""
    windows = sliding_window_view(aligned, size)  # (L,) -> (L - size + 1, size)
    shared = np.asarray(windows.all(axis=1), np.bool_)
    frequency = frequency[: len(shared)]
    rare = int(frequency[~shared].min(initial=NEVER))
    return int(frequency[shared].min(initial=NEVER)) >= max(TEMPLATE, 2 * rare if rare < NEVER else 0)
