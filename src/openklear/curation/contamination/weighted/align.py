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


def common(item: Sequence[int], window: Sequence[int], least: int = 1) -> list[Pair]:
    """Pairs (place in the item, place in the window) of a longest common subsequence, in order.

    A subsequence of fewer than `least` pairs is not walked back; the answer is then empty.
    """
    where: dict[int, int] = {}  # word -> the places it stands at in the item, as bits
    for place, word in enumerate(item):
        where[word] = where.get(word, 0) | 1 << place
    size = len(item)
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
    place, at = size, len(window)
    while place and at:
        if columns[at] >> (place - 1) & 1:
            place -= 1
        elif columns[at - 1] >> (place - 1) & 1:
            place, at = place - 1, at - 1
            pairs.append((place, at))
        else:
            at -= 1
    pairs.reverse()
    return pairs


def in_runs(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs that have a neighbour: the next or previous pair stands at most two words away in item and row."""
    kept: dict[Pair, None] = {}
    for one, other in pairwise(pairs):
        if max(other[0] - one[0], other[1] - one[1]) <= 2:
            kept.update({one: None, other: None})
    return [*kept]
