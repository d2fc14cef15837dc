"""Which rank trains which sequences of a step: as many tokens on each, the same every time."""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def dealt(lengths: Sequence[int], ranks: int) -> list[list[int]]:
    """The indices of each rank's sequences, upwards; the longest are dealt first, each to the rank with fewest tokens.

    A rank is left without only where there are fewer sequences than ranks. By Graham's rule of the longest first (1969)
    no rank has more than 4/3 of what the fairest division gives the fullest.
    """
    held = [(0, 0, rank) for rank in range(ranks)]
    shares: list[list[int]] = [[] for _ in range(ranks)]
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        tokens, number, rank = heapq.heappop(held)
        shares[rank].append(index)
        heapq.heappush(held, (tokens + lengths[index], number + 1, rank))
    return [sorted(share) for share in shares]
