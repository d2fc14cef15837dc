"""Pairs in an order in which connected ones stand together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def components(left: NDArray[np.int64], right: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """(count,) the smallest place that each place is connected to through the pairs (left[i], right[i]).

    In each round every tree that a pair leads out of is put under a smaller root, then every place directly under its
    root (Shiloach and Vishkin, An O(log n) parallel connectivity algorithm, 1982); a few rounds do in practice.
    """
    root = np.arange(count)
    while len(left):
        one, other = root[left], root[right]  # (pairs,)
        apart = one != other
        left, right = left[apart], right[apart]
        root[np.maximum(one, other)[apart]] = np.minimum(one, other)[apart]
        while (root[root] != root).any():  # (count,) until every place points to a root
            root = root[root]
    return root


def together(pairs: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Packed pairs (smaller << 32 | larger) ordered by their component, and ascending in it.

    So the texts of a family of copies are needed once, not in as many blocks as the family has pairs.
    """
    root = components(pairs >> 32, pairs & 0xFFFFFFFF, count)
    return pairs[np.argsort(root[pairs >> 32], kind="stable")]
