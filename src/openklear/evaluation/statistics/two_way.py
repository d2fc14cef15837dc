"""Two arms of a study, each trained with several seeds and asked the same problems.

Two questions have two answers. Would another training, asked these problems, show the difference? Then chance lies in
the seeds: `over_seeds`. Would another training, asked other problems like these? Then it lies in both: `two_way`.
Intervals that resample the problems alone say nothing of training: on synthetic studies whose seeds differ they held
the true difference in 32 to 61 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openklear.evaluation.statistics.intervals import student_quantile

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Effect:
    """What one arm gained on the other, or of `arm_mean` what it scores: the plain mean difference in share correct, or
    the plain mean of it, with a 95 % interval."""

    value: float
    low: float
    high: float
    error: float
    """The standard error behind the interval."""
    freedom: float
    """Degrees of freedom of Student's t."""
    seeds: int
    problems: int


def over_seeds(before: Array, after: Array) -> Effect:
    """The mean difference (after - before) on these problems: Student's t over the seeds' mean differences.

    Both arms are (S, N), share correct by seed and problem, or (S, N, k), verdicts, whose means are taken without nan.
    Row s of both arms is one pair. A problem that is nan anywhere is left out. One seed alone says nothing of others:
    the interval is [-1, 1] then. Raises ValueError where the arms do not have the same shape.
    """
    cells = _differences(before, after)
    seeds = len(cells)
    if cells.size == 0 or seeds < 2:
        return _unknown(cells)
    variance = float(cells.mean(axis=1).var(ddof=1)) / seeds
    return _effect(cells, variance, seeds - 1.0)


def two_way(before: Array, after: Array) -> Effect:
    """The mean difference (after - before) on problems like these, whatever the seed: arms as `over_seeds` takes them.

    Variance clustered by seed and by problem (Cameron, Gelbach and Miller 2011): V = V_seed + V_problem - V_cell, not
    below V_seed or V_problem, where V_seed and V_problem are the variances of the means by seed and by problem over
    their numbers, and V_cell that of all S N cells over theirs. Student's t with Satterthwaite's degrees of freedom,
    V^2 / (V_seed^2 / (S - 1) + V_problem^2 / (N - 1) + V_cell^2 / (S N - 1)), at least S - 1. On synthetic studies it
    held the true difference in 93 to 96 %. With one seed or one problem the interval is [-1, 1].
    """
    cells = _differences(before, after)
    if min(cells.shape) < 2:
        return _unknown(cells)
    by_cell = float(cells.var(ddof=1)) / cells.size
    return _effect(cells, *_clustered(cells, by_cell))


def arm_mean(shares: Array) -> Effect:
    """What one arm scores on problems like these, whatever the seed: (S, N) share correct, or (S, N, k) verdicts.

    The variance is that of `two_way` but for V_cell, which is here that of what neither seed nor problem explains: an
    arm's problems differ far more than two arms do on them, and with the variance of all cells V would be smaller by
    V_problem / S. The interval is cut at 0 and 1, and [0, 1] with one seed or one problem. A problem that is nan with
    any seed is left out. On synthetic arms of 30 and 200 problems with a mean near 0.73 it held the true mean in 93 to
    95 %. Raises ValueError for another shape.
    """
    if shares.ndim not in (2, 3):
        raise ValueError(f"an arm is (seeds, problems) or (seeds, problems, k); got {shares.shape}")
    cells = _known(_means(shares) if shares.ndim == 3 else shares)
    if min(cells.shape) < 2:
        return _unknown(cells, least=0.0)
    rest = cells - cells.mean(axis=1, keepdims=True) - cells.mean(axis=0) + cells.mean()
    seeds, problems = cells.shape
    by_cell = float(np.square(rest).sum()) / ((seeds - 1) * (problems - 1)) / cells.size
    return _effect(cells, *_clustered(cells, by_cell), least=0.0)


def _clustered(cells: Array, by_cell: float) -> tuple[float, float]:
    """The variance of the mean of (S, N) cells, clustered by seed and by problem, and its degrees of freedom."""
    seeds, problems = cells.shape
    by_seed = float(cells.mean(axis=1).var(ddof=1)) / seeds
    by_problem = float(cells.mean(axis=0).var(ddof=1)) / problems
    variance = max(by_seed + by_problem - by_cell, by_seed, by_problem)
    return variance, satterthwaite((by_seed, by_problem, by_cell), variance, seeds, problems)


def satterthwaite(parts: tuple[float, float, float], variance: float, seeds: int, problems: int) -> float:
    """Degrees of freedom of `variance`, made of the parts by seed, by problem and by cell; at least seeds - 1."""
    freedoms = (seeds - 1, problems - 1, seeds * problems - 1)
    spread = sum(part**2 / freedom for part, freedom in zip(parts, freedoms, strict=True))
    return max(seeds - 1.0, variance**2 / spread if spread else 0.0)


def _effect(cells: Array, variance: float, freedom: float, least: float = -1.0) -> Effect:
    value, error = float(cells.mean()), math.sqrt(variance)
    half = student_quantile(freedom) * error
    return Effect(value, max(least, value - half), min(1.0, value + half), error, freedom, *cells.shape)


def _unknown(cells: Array, least: float = -1.0) -> Effect:
    """A mean of too little to say how it varies; nan of nothing."""
    seeds, problems = cells.shape
    if not cells.size:
        return Effect(math.nan, math.nan, math.nan, math.nan, math.nan, seeds, problems)
    return Effect(float(cells.mean()), least, 1.0, math.nan, math.nan, seeds, problems)


def _differences(before: Array, after: Array) -> Array:
    """(S, N') after - before by seed and problem, over the problems that are known in every seed of both arms."""
    if before.shape != after.shape or before.ndim not in (2, 3):
        raise ValueError(
            f"two arms are both (seeds, problems) or (seeds, problems, k); got {before.shape}, {after.shape}"
        )
    if before.ndim == 3:
        before, after = _means(before), _means(after)
    return _known(after - before)


def _known(cells: Array) -> Array:
    """(S, N') the problems that are known with every seed."""
    return cells[:, ~np.isnan(cells).any(axis=0)]


def _means(verdicts: Array) -> Array:
    """(S, N) of (S, N, k) the share correct of the scorable samples; nan where none is."""
    counts = (~np.isnan(verdicts)).sum(axis=2)
    sums = np.nansum(verdicts, axis=2)
    means: Array = np.divide(sums, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    return means
