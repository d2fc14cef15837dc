"""A mixture of sources by weights: how many rows each gives, and which ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from hashlib import blake2b

import numpy as np

from openklear.curation.text.cut import Codes, Places


def mixture(sources: Mapping[str, int], weights: Mapping[str, float], total: int) -> dict[str, int]:
    """How many rows to take of every source in `weights`, in their order.

    sources: how many rows each has; a name in `weights` alone has none. Shares of `total` are rounded by largest
    remainders (Hamilton): each down, and what is then missing goes one by one to the largest fractions, the first name
    among equals. A source never gives more than it has, and no other makes up for it: the sum is then below `total`.
    """
    # As written: 0.3 is 3/10 here, not the nearest binary fraction, by which 30 of 100 rows would be one too many.
    exact = {name: Fraction(repr(float(weight))) for name, weight in weights.items()}
    whole = sum(exact.values())
    shares = {name: weight / whole for name, weight in exact.items()}
    taken = {name: math.floor(share * total) for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: (taken[name] - shares[name] * total, name))
    for name in by_remainder[: total - sum(taken.values())]:
        taken[name] += 1
    return {name: min(count, sources.get(name, 0)) for name, count in taken.items()}


def draw(rows: Places, digests: Codes, count: int, *, seed: int, source: str) -> Places:
    """The `count` rows (all, if there are fewer) that a draw without repetition keeps, ascending.

    rows (n,) distinct numbers, digests (n, k) of their contents. Rows are ordered by a hash (blake2b) of seed, source
    and digest, and the first stay: the draw depends on no order of the rows, a larger count keeps all that a smaller
    one keeps, and a row that is added or goes changes at most one other. Rows with one digest stand together, by
    number.
    """
    begun = blake2b(f"mixture {seed} {source}".encode(), digest_size=8)
    hashed = np.zeros(len(rows), np.uint64)
    for place, content in enumerate(np.ascontiguousarray(digests, np.dtype("<u8"))):
        one = begun.copy()
        one.update(content)
        hashed[place] = int.from_bytes(one.digest(), "little")
    return np.sort(rows[np.lexsort((rows, hashed))[:count]])
