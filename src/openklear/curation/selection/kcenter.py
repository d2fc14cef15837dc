"""K-Center Greedy: the points that cover a set best, farthest first.

Sener and Savarese 2018 (arXiv 1708.00489), algorithm 1; the traversal and its bound are Gonzalez's (1985): after k
centres no point is farther from its nearest centre than twice the least radius that any k centres can reach. The
report takes 31,600 demonstrations a setting with it (Tables 2, 4 and 5).

The plain way compares every point with every new centre at once: one pass over all vectors per centre. Here distances
are computed late. A point keeps the smallest distance to the centres that it was compared with, and how many those
were. More centres can only bring it nearer, so that is an upper bound, and the farthest point is certain as soon as the
largest bound of all is up to date. A round brings the largest bounds up to date by matrix products and takes centres
from those that are still the largest until another point may be farther. Points whose bound never gets among the
largest are never compared again, and the order is exactly that of the plain way.

Exactly, because nothing is rounded on the way: coordinates are first put on a grid of 1 / 2048, so that every product,
partial sum and squared distance is a whole number of 2^-22 up to 2^24, which fp32 holds. The order therefore depends on
no block size, thread count or machine. A coordinate moves by at most 2^-12, which changes a distance between points of
128 coordinates by some 2 * 10^-4 (at most 6 * 10^-3); a random projection to 128 coordinates is off by some 10^-1.

The matrix products run on the threads of numpy's BLAS (OPENBLAS_NUM_THREADS or OMP_NUM_THREADS in the environment). The
threads of a product wait for each other: on two free cores two took 3.9 s where one took 5.3, on busy cores small
products took up to 50 times as long with two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openklear.errors import DataError

GRID = 2048.0
"""Steps of a coordinate in 1. Squared distances, in steps^2, are at most 4 * 2048^2 = 2^24; those of opposite points
that the grid made a little longer than 1 are rounded to even numbers, everywhere alike."""
LONGEST = 1.01
"""No vector may be longer."""
WIDTH = 8192
"""Largest bounds that a round brings up to date."""
CENTRES = 2048
"""Centres that a block of points is compared with at once."""
BLOCK_ROWS = 2048
"""Points read at once."""


class Coverage(NamedTuple):
    """How near the centres come to all points, beside as many drawn at random. Euclidean distances, 0..2."""

    centres: int
    points: int
    radius: float
    """Largest distance of a point to its nearest centre."""
    mean: float
    """Mean of that distance over all points."""
    random_radius: float
    random_mean: float


def k_center_greedy(
    vectors: NDArray[np.float32], count: int, *, progress: Callable[[int], object] = lambda new: None
) -> NDArray[np.int64]:
    """(count,) rows of the centres among n points in the order in which they are taken; all rows if there are fewer.

    `progress` is called with the number of new centres.

    vectors (n, d) of length at most 1, an array or a memory map; they are read in blocks of BLOCK_ROWS, and beside
    them about 24 bytes per point and 4 (d + 1) bytes per centre are held. The first centre is the point nearest to the
    mean of all; each next one is the point farthest from its nearest centre; the smallest row among equals. Raises
    DataError on vectors that are not finite or longer than 1, and on count < 1.
    """
    points = _Points(vectors)
    if count < 1:
        raise DataError(f"selection: a budget of {count} rows; ask for at least 1")
    cover = _Cover(points, min(count, points.count))
    progress(cover.taken)
    while cover.taken < len(cover.order):
        before = cover.taken
        cover.round()
        progress(cover.taken - before)
    return cover.order


def coverage(vectors: NDArray[np.float32], order: NDArray[np.int64], *, seed: int = 0) -> Coverage:
    """The distances of all points to their nearest of the rows in `order`, and to their nearest of as many random rows.

    vectors as for `k_center_greedy`; `seed` draws the random rows, without repetition. Compares every point with every
    centre: 2 n d count multiplications each.
    """
    points = _Points(vectors)
    state = blake2b(f"kcenter.coverage {seed}".encode(), digest_size=16).digest()
    drawn = np.random.default_rng(int.from_bytes(state, "little")).choice(points.count, len(order), replace=False)
    radius, mean = _distances(points, np.asarray(order))
    random_radius, random_mean = _distances(points, np.sort(drawn))
    return Coverage(len(order), points.count, radius, mean, random_radius, random_mean)


def _distances(points: _Points, centre_rows: NDArray[np.int64]) -> tuple[float, float]:
    """Largest and mean distance to the nearest of these rows."""
    centres = _as_centres(points.rows(centre_rows))
    largest, total = 0.0, 0.0
    for some in _blocks(np.arange(points.count)):
        found = np.sqrt(_nearest(points.rows(some), centres), dtype=np.float64)
        largest, total = max(largest, float(found.max())), total + float(found.sum())
    return largest / GRID, total / points.count / GRID


class _Cover:
    """The centres so far, and what is known of every point's distance to them. Distances are squared, in steps^2."""

    def __init__(self, points: _Points, wanted: int):
        self.points = points
        self.order = np.zeros(wanted, np.int64)
        self.taken = 0
        self.centres = np.empty((wanted, points.width + 1), np.float32)
        self.bound = np.full(points.count, np.inf, np.float32)
        """(n,) distance to the nearest of the first `seen` centres; -1 for a centre."""
        self.seen = np.zeros(points.count, np.int32)
        first = points.nearest_to_mean()
        self._take(first)
        self._refresh(np.arange(points.count))
        self.bound[first] = -1.0

    def round(self) -> None:
        """Bring the largest bounds up to date, and take what is certainly the farthest, again and again."""
        candidates = _largest(self.bound, WIDTH)
        self._refresh(candidates[self.seen[candidates] < self.taken])
        others = self.bound.copy()
        others[candidates] = -np.inf
        rival = int(others.argmax())
        self._traverse(candidates[self.bound[candidates] >= others[rival]], others[rival], rival)

    def _traverse(self, live: NDArray[np.int64], level: np.float32, rival: int) -> None:
        """Farthest-first among the rows `live` (ascending) until one outside may be farther: row `rival`, at `level`.

        Takes none where the largest bounds were out of date; now they are smaller.
        """
        rows = self.points.rows(live)
        squares, with_one = _squares(rows), _with_one(rows)
        best = self.bound[live]
        while self.taken < len(self.order) and len(live):
            place = int(best.argmax())
            if best[place] < level or (best[place] == level and live[place] > rival):
                break
            self._take(live[place])
            np.minimum(best, with_one @ self.centres[self.taken - 1] + squares, out=best)
            best[place] = -1.0
        self.bound[live] = best
        self.seen[live] = self.taken

    def _take(self, row: int) -> None:
        """Note a new centre."""
        self.order[self.taken] = row
        self.centres[self.taken] = _as_centres(self.points.rows(np.array([row])))[0]
        self.taken += 1

    def _refresh(self, rows: NDArray[np.int64]) -> None:
        """Compare rows with the centres that they were not compared with; a few are twice, which changes nothing."""
        for some in _blocks(rows[np.argsort(self.seen[rows], kind="stable")]):
            nearest = _nearest(self.points.rows(some), self.centres[self.seen[some[0]] : self.taken])
            self.bound[some] = np.minimum(self.bound[some], nearest)
            self.seen[some] = self.taken


class _Points:
    """The points on the grid, which are read in blocks: whole numbers, as fp32."""

    def __init__(self, vectors: NDArray[np.float32]):
        self.vectors = vectors
        self.count, self.width = vectors.shape
        if not self.count:
            raise DataError("selection: there are no vectors to choose from")

    def rows(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(m, d) some points."""
        found: NDArray[np.float32] = np.rint(np.asarray(self.vectors[rows], np.float32) * np.float32(GRID))
        return found

    def nearest_to_mean(self) -> int:
        """The row nearest to the mean of all points, the smallest among equals; all of them are looked at.

        |x - sum / n|^2 is least where n |x|^2 - 2 x . sum is: whole numbers below 2^53 for up to 10^9 points.
        """
        everything = np.arange(self.count)
        total = np.zeros(self.width)
        for some in _blocks(everything):
            rows = self.rows(some)
            longest = float(_squares(rows).max())
            if not longest <= (LONGEST * GRID) ** 2:  # nor nan
                raise DataError(
                    f"selection: rows {some[0]} to {some[-1]} hold a vector that is not finite or longer than 1; "
                    "divide every vector by its length"
                )
            total += rows.sum(axis=0, dtype=np.float64)
        best, nearest = np.inf, 0
        for some in _blocks(everything):
            rows = self.rows(some).astype(np.float64)
            distance = self.count * _squares(rows) - 2.0 * (rows @ total)
            place = int(distance.argmin())
            if distance[place] < best:
                best, nearest = float(distance[place]), int(some[place])
        return nearest


def _blocks(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Rows, BLOCK_ROWS at a time."""
    for start in range(0, len(rows), BLOCK_ROWS):
        yield rows[start : start + BLOCK_ROWS]


def _squares(rows: NDArray[Any]) -> NDArray[Any]:
    """(m,) squared lengths."""
    found: NDArray[Any] = np.einsum("ij,ij->i", rows, rows)
    return found


def _as_centres(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """(m, d + 1) -2 b and |b|^2: its product with a point's a and 1 is their squared distance less |a|^2."""
    return np.hstack([-2.0 * rows, _squares(rows)[:, None]])


def _with_one(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """(m, d + 1) the points, each with a 1 behind it."""
    return np.hstack([rows, np.ones((len(rows), 1), np.float32)])


def _nearest(rows: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.float32]:
    """(m,) squared distance of each point to the nearest centre; `centres` (c, d + 1) from `_as_centres`."""
    least = np.full(len(rows), np.inf, np.float32)
    transposed = _with_one(rows).T
    for start in range(0, len(centres), CENTRES):
        np.minimum(least, (centres[start : start + CENTRES] @ transposed).min(axis=0), out=least)
    found: NDArray[np.float32] = least + _squares(rows)
    return found


def _largest(bound: NDArray[np.float32], width: int) -> NDArray[np.int64]:
    """The places of the `width` largest, ascending; of equals, those that stand first."""
    if width >= len(bound):
        return np.arange(len(bound))
    level = np.partition(bound, len(bound) - width)[len(bound) - width]
    above = np.flatnonzero(bound > level)
    return np.sort(np.concatenate([above, np.flatnonzero(bound == level)[: width - len(above)]]))
