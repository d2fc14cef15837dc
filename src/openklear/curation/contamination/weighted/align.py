"""How much of a benchmark item a stretch of a row holds: longest common subsequence, then runs.

The subsequence is found with one addition of a whole column at a time, the columns being bits of a Python integer
(H. Hyyrö, "Bit-parallel LCS-length computation revisited", 2004): a window of M words against an item of L takes M
steps of L / 64 machine words each, whatever the words are. Walking back through the M columns gives the pairs.
A pair alone proves little ("the", "of"), so that only pairs close to another one count.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    kept: dict[Pair, None] = {}
    for one, other in pairwise(pairs):
        if max(other[0] - one[0], other[1] - one[1]) <= 2:
            kept.update({one: None, other: None})
    return [*kept]
