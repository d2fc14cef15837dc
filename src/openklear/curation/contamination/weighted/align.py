"""How much of a benchmark item a stretch of a row holds: longest common subsequence, then runs.

The subsequence is found with one addition of a whole column at a time, the columns being bits of a Python integer
(H. Hyyrö, "Bit-parallel LCS-length computation revisited", 2004): a window of M words against an item of L takes M
steps of L / 64 machine words each, whatever the words are. Walking back through the M columns gives the pairs.
A pair alone proves little ("the", "of"), so that only pairs close to another one count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Pair = tuple[int, int]


def masks(words: Sequence[int]) -> dict[int, int]:
    """For each word the places it stands at, as bits."""
    found: dict[int, int] = {}
    for place, word in enumerate(words):
        found[word] = found.get(word, 0) | 1 << place
    return found


def common(where: dict[int, int], size: int, window: Sequence[int], least: int = 1) -> list[Pair]:
    """Pairs (place in the item, place in the window) of a longest common subsequence, in order.

    `where` and `size` are the item's `masks` and its number of words. A subsequence of fewer than `least` pairs is not
    walked back; the answer is then empty.
    """
    full = (1 << size) - 1
    column = full
    columns = [full]
    for word in window:
        hit = column & where.get(word, 0)
        column = ((column + hit) | (column - hit)) & full
        columns.append(column)
    pairs: list[Pair] = []
    if size - column.bit_count() < least:
        return pairs
    item, row = size, len(window)
    while item and row:
        if columns[row] >> (item - 1) & 1:
            item -= 1
        elif columns[row - 1] >> (item - 1) & 1:
            item, row = item - 1, row - 1
            pairs.append((item, row))
        else:
            row -= 1
    pairs.reverse()
    return pairs


def in_runs(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs that have a neighbour: the next or previous pair stands at most two words away in item and row."""
    near = [_near(one, other) for one, other in pairwise(pairs)]
    beside = zip([False, *near], [*near, False], strict=True)
    return [pair for pair, (before, behind) in zip(pairs, beside, strict=False) if before or behind]


def _near(one: Pair, other: Pair) -> bool:
    return max(other[0] - one[0], other[1] - one[1]) <= 2


@dataclass(frozen=True, slots=True)
class Gap:
    """Words of the item and of the row between two runs: places begin .. end on either side."""

    item: tuple[int, int]
    row: tuple[int, int]
    inner: bool
    """Runs stand on both sides; an outer gap lies in front of the first or behind the last run."""


def gaps(pairs: Sequence[Pair], size: int, width: int) -> list[Gap]:
    """The gaps of an alignment that is not empty: an outer one takes as many words of the row as of the item."""
    first_item, first_row = pairs[0]
    last_item, last_row = pairs[-1]
    missing = size - 1 - last_item
    found = [Gap((0, first_item), (max(0, first_row - first_item), first_row), False)]
    for (item, row), (next_item, next_row) in pairwise(pairs):
        if (next_item, next_row) != (item + 1, row + 1):
            found.append(Gap((item + 1, next_item), (row + 1, next_row), True))
    found.append(Gap((last_item + 1, size), (last_row + 1, min(width, last_row + 1 + missing)), False))
    return [gap for gap in found if gap.item[0] < gap.item[1] or gap.inner]
