"""avg@k, pass@k and their intervals; differences of two models on the same problems.

Problems are the unit of chance everywhere: completions of one problem are not independent of one another, so intervals
are over problems, never over completions. Which intervals hold what they promise was measured on synthetic benchmarks;
the percentile bootstrap does not on small or nearly solved ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np
from numpy.typing import NDArray

from openklear.types import Outcome, Rollout, RolloutGroup

__all__ = [
    "Estimate",
    "avg_at_k",
    "correctness",
    "holm",
    "mean_interval",
    "paired_difference",
    "pass_at_k",
    "sign_flip",
]

LEVEL = 0.95
PSEUDO = 0.25
"""Of a pseudo-problem, at either end of a score."""
PSEUDO_PAIR = 0.25
"""What the two halves of the pseudo-pair differ by, up and down."""

Table = NDArray[np.float64]
"""(problems, samples): 1.0 correct, 0.0 incorrect, nan unscorable."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over problems with its 95 % interval."""

    value: float
    low: float
    high: float
    problems: int


_NOTHING = Estimate(math.nan, math.nan, math.nan, 0)


def correctness(groups: Sequence[RolloutGroup]) -> Table:
    """Verdicts as a table; unscorable rollouts are nan: nobody's fault, and in no mean."""
    rows = [list(map(_correct, group.rollouts)) for group in groups]
    return np.array(rows, dtype=np.float64) if rows else np.zeros((0, 0))


def _correct(rollout: Rollout) -> float:
    return np.nan if rollout.verdict.outcome is Outcome.UNSCORABLE else float(rollout.verdict.correct)


def avg_at_k(table: Table) -> Estimate:
    """Mean over problems of the share of correct samples, with an interval over problems."""
    return mean_interval(_problem_means(table), table.shape[1] if table.size else None)


def pass_at_k(table: Table, k: int) -> Estimate:
    """Mean over problems of 1 - C(n - c, k) / C(n, k): the unbiased estimator of Chen et al. (arXiv 2107.03374, Eq. 1).

    Problems with fewer than k scorable samples are left out. Raises ValueError when k exceeds the samples taken.
    """
    if not 1 <= k <= table.shape[1]:
        raise ValueError(f"pass@{k} needs at least {k} samples per problem; there are {table.shape[1]}")
    scorable = (~np.isnan(table)).sum(axis=1)  # (problems,)
    right = np.nansum(table, axis=1)  # (problems,)
    rows = [_pass_one(int(n), int(c), k) for n, c in zip(scorable, right, strict=True) if n >= k]
    return mean_interval(np.array(rows), table.shape[1])


def _pass_one(samples: int, correct: int, k: int) -> float:
    if samples - correct < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(samples - correct + 1, samples + 1)))


def paired_difference(before: Table, after: Table) -> Estimate:
    """Mean over the same problems of (after - before) in share correct, with an interval over problems.

    `value` is the plain mean of the differences. The interval is Student's t on the differences and one pseudo-pair,
    half of it at +1/4 and half at -1/4: where every pair agrees it still has a width, and on synthetic pairs it held
    the true difference in 95.5 to 99 % (worst: 89.5 %, where 2 % of the problems are lost and nothing else moves).
    Problems that could not be scored on one side are left out. ValueError: the tables differ in their problems.
    """
    if before.shape[0] != after.shape[0]:
        raise ValueError(f"paired tables hold the same problems; got {before.shape[0]} and {after.shape[0]}")
    return difference_interval(_problem_means(after) - _problem_means(before))


def difference_interval(differences: NDArray[np.float64]) -> Estimate:
    """The same from the differences themselves, each in [-1, 1]; nan are left out."""
    differences = differences[~np.isnan(differences)]
    count = len(differences)
    if count == 0:
        return _NOTHING
    value = float(differences.mean())
    n = count + 1.0
    mean = float(differences.sum()) / n
    variance = (float(np.square(differences).sum()) + PSEUDO_PAIR**2 - n * mean**2) / (n - 1)
    half = student_quantile(n - 1) * math.sqrt(variance / n)
    return Estimate(value, max(-1.0, min(value, mean - half)), min(1.0, max(value, mean + half)), count)


def mean_interval(values: NDArray[np.float64], samples: int | None = None) -> Estimate:
    """Mean over problems of values in [0, 1] (nan are left out), with an interval for the mean of problems like these.

    The interval is Wilson's score interval with an effective number of trials, so that values between 0 and 1 count
    for what they vary; with Student's t; and with a quarter of a pseudo-problem at 0 and at 1. It has a width where
    every value is the same, and reaches 0 or 1 where the mean does. `samples` of each problem bound the effective
    number of trials. On synthetic benchmarks of 30 problems it held the true mean in 93 % or more (96 % in the mean
    over 11 distributions of difficulty), where resampling problems fell to 26 %. Nothing is drawn: equal values give
    equal bits.
    """
    values = values[~np.isnan(values)]
    count = len(values)
    if count == 0:
        return _NOTHING
    value = float(values.mean())
    if count == 1:
        return Estimate(value, 0.0, 1.0, 1)  # one problem says nothing of problems like it
    n = count + 2 * PSEUDO
    mean = (float(values.sum()) + PSEUDO) / n
    variance = (float(np.square(values).sum()) + PSEUDO - n * mean**2) / (n - 1)
    most = math.inf if samples is None else float(count * samples)
    trials = min(max(mean * (1 - mean) * n / variance, 1.0), most)
    q = student_quantile(n - 1)
    shrink = 1 + q**2 / trials
    centre = (mean + q**2 / (2 * trials)) / shrink
    half = q / shrink * math.sqrt(mean * (1 - mean) / trials + q**2 / (4 * trials**2))
    low, high = max(0.0, min(value, centre - half)), min(1.0, max(value, centre + half))
    return Estimate(value, 0.0 if value == 0.0 else low, 1.0 if value == 1.0 else high, count)


def sign_flip(differences: Sequence[Fraction]) -> float:
    """The p-value of "neither model is better": how often a mean as far from 0 comes up when every difference may as
    well have had the other sign, over all 2^n choices of signs (Fisher 1935, section 21). 1 where nothing differs.

    Exact: shares are fractions, so sums of them lie on a grid, and the choices are counted on it. Where the grid has
    more than 200,000 places, as with many unlike numbers of samples, differences are rounded to a coarser one.
    """
    moved = [abs(one) for one in differences if one]
    if not moved:
        return 1.0
    unit = Fraction(1, math.lcm(*(one.denominator for one in moved)))
    unit = max(unit, sum(moved, Fraction(0)) / _GRID)
    steps = [round(one / unit) for one in moved]
    reach = sum(steps)
    chances = np.zeros(2 * reach + 1)  # of the sum being place - reach
    chances[reach] = 1.0
    for step in steps:
        chances = (np.roll(chances, step) + np.roll(chances, -step)) / 2
    found = abs(sum(round(one / unit) for one in differences))
    places = np.abs(np.arange(-reach, reach + 1))
    return min(1.0, float(chances[places >= found].sum()))


_GRID = 200_000


def holm(chances: Sequence[float]) -> list[float]:
    """p-values adjusted for being several, in their order (Holm 1979): with those at most 0.05 taken for real, the
    chance that any of these is none is at most 0.05.
    """
    adjusted, least = [1.0] * len(chances), 0.0
    for rank, place in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        least = max(least, min(1.0, (len(chances) - rank) * chances[place]))
        adjusted[place] = least
    return adjusted


@cache
def student_quantile(freedom: float) -> float:
    """Student's t at 0.975, for at least one degree of freedom: 95 % of the distribution lie within +- this.

    With t = sqrt(freedom) tan(angle) the density is a power of a cosine, which 64 Gauss-Legendre points integrate to
    1e-12; the angle is found by halving.
    """
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) * 2 / math.sqrt(math.pi)
    nodes, weights = np.polynomial.legendre.leggauss(64)

    def within(angle: float) -> float:
        heights = np.cos(angle * (nodes + 1) / 2) ** (freedom - 1)
        return scale * angle / 2 * float(weights @ heights)

    low, high = 0.0, min(math.pi / 2, 16 / math.sqrt(freedom))
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle) < LEVEL else (low, middle)
    return math.sqrt(freedom) * math.tan((low + high) / 2)


def _problem_means(table: Table) -> NDArray[np.float64]:
    """(problems,) the share of correct samples; nan where none could be scored."""
    counts = (~np.isnan(table)).sum(axis=1)
    sums = np.nansum(table, axis=1)
    means: NDArray[np.float64] = np.divide(sums, counts, out=np.full(len(table), np.nan), where=counts > 0)
    return means
