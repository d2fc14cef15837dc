"""The mean over problems with its interval, the error of sampling beside it, and Student's t.

Problems are the unit of chance everywhere: completions of one problem are not independent of one another, so intervals
are over problems, never over completions. Which intervals hold what they promise was measured on synthetic benchmarks;
the percentile bootstrap does not on small or nearly solved ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from openklear.types import Outcome, Rollout, RolloutGroup

LEVEL = 0.95
PSEUDO = 0.25
"""Of a pseudo-problem, at either end of a score."""
NORMAL_QUANTILE = 1.959963984540054
"""95 % of the normal distribution lie within +- this."""

Table = NDArray[np.float64]
"""(problems, samples): 1.0 correct, 0.0 incorrect, nan unscorable."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over problems with its 95 % interval."""

    value: float
    low: float
    high: float
    problems: int


NOTHING = Estimate(math.nan, math.nan, math.nan, 0)
"""Over no problem at all."""


@dataclass(frozen=True, slots=True)
class SamplingError:
    """How far a score moves when the same problems are sampled anew: its standard error, and the 95 % interval of it.

    It says nothing of other problems; that is what the interval of an `Estimate` is for.
    """

    error: float
    low: float
    high: float


def correctness(groups: Sequence[RolloutGroup]) -> Table:
    """Verdicts as a table; unscorable rollouts are nan: nobody's fault, and in no mean."""
    rows = [list(map(_correct, group.rollouts)) for group in groups]
    return np.array(rows, dtype=np.float64) if rows else np.zeros((0, 0))


def _correct(rollout: Rollout) -> float:
    return np.nan if rollout.verdict.outcome is Outcome.UNSCORABLE else float(rollout.verdict.correct)


def avg_at_k(table: Table) -> Estimate:
    """Mean over problems of the share of correct samples, with an interval over problems."""
    return mean_interval(problem_means(table), table.shape[1] if table.size else None)


def sampling_error(table: Table) -> SamplingError:
    """The error of avg@k that comes from sampling alone, on these problems: SE^2 = sum p_i (1 - p_i) / (k_i - 1) / n^2.

    p_i is the share correct of problem i's k_i scorable samples, n the number of problems with any; the interval is
    avg@k +- 1.96 SE, cut at 0 and 1. Where a problem has one scorable sample only, as all have for k = 1, nothing says
    how it varies: all three are nan, as they are without problems. It is the number to hold against "I ran it again
    and got something else"; on synthetic benchmarks it held the mean of these problems in 92 to 97 %, in
    91 % of 8 samples of problems that are all solved 99 times in 100.
    """
    counts = (~np.isnan(table)).sum(axis=1)
    counts = counts[counts > 0]
    if counts.size == 0 or counts.min() < 2:
        return SamplingError(math.nan, math.nan, math.nan)
    means = problem_means(table)
    means = means[~np.isnan(means)]
    error = math.sqrt(float((means * (1 - means) / (counts - 1)).sum())) / len(means)
    value, half = float(means.mean()), NORMAL_QUANTILE * error
    return SamplingError(error, max(0.0, value - half), min(1.0, value + half))


def mean_interval(values: NDArray[np.float64], samples: int | None = None) -> Estimate:
    """Mean over problems of values in [0, 1] (nan are left out), with an interval for the mean of problems like these.

    The interval is Wilson's score interval with an effective number of trials, so that values between 0 and 1 count
    for what they vary; with Student's t; and with a quarter of a pseudo-problem at 0 and at 1. It has a width where
    every value is the same, and reaches 0 or 1 where the mean does. `samples` of each problem bound the effective
    number of trials. On synthetic benchmarks of 30 problems it held the true mean of avg@k in 93 % or more (96 % in the
    mean over 14 distributions of difficulty), where resampling problems fell to 26 %. A true pass@k within 0.001 of 1
    it may miss, by less than 0.001 (88 % of 30 problems, 78 % of 200 held it). Nothing is drawn: equal values give
    equal bits.
    """
    values = values[~np.isnan(values)]
    count = len(values)
    if count == 0:
        return NOTHING
    value = float(values.mean())
    if count == 1:
        return Estimate(value, 0.0, 1.0, 1)  # one problem says nothing of problems like it
    low, high = score_bounds(float(values.sum()), float(np.square(values).sum()), count, samples)
    low, high = min(value, low), max(value, high)
    return Estimate(value, 0.0 if value == 0.0 else low, 1.0 if value == 1.0 else high, count)


def score_bounds(total: float, squares: float, count: int, samples: float | None = None) -> tuple[float, float]:
    """The bounds of `mean_interval` from what they depend on: the sum of `count` values (2 or more), and of squares."""
    n = count + 2 * PSEUDO
    mean = (total + PSEUDO) / n
    variance = (squares + PSEUDO - n * mean**2) / (n - 1)
    most = math.inf if samples is None else float(count * samples)
    trials = min(max(mean * (1 - mean) * n / variance, 1.0), most)
    q = student_quantile(n - 1)
    shrink = 1 + q**2 / trials
    centre = (mean + q**2 / (2 * trials)) / shrink
    half = q / shrink * math.sqrt(mean * (1 - mean) / trials + q**2 / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)


@cache
def student_quantile(freedom: float, level: float = LEVEL) -> float:
    """Student's t for at least one degree of freedom: `level` of the distribution lie within +- this.

    The angle of `student_tail` is found by halving.
    """
    low, high = 0.0, _widest(freedom)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < level else (low, middle)
    return math.sqrt(freedom) * math.tan((low + high) / 2)


def student_tail(value: float, freedom: float) -> float:
    """How often Student's t, of at least one degree of freedom, is as far from 0 as `value`, to either side: the
    two-sided p of an effect that many standard errors from 0. Off by less than 1e-5, from 2 degrees on than 1e-8.

    With t = sqrt(freedom) tan(angle) the density is a power of a cosine, which 64 Gauss-Legendre points integrate.
    """
    angle = math.atan(abs(value) / math.sqrt(freedom))
    return max(0.0, 1.0 - _within(min(angle, _widest(freedom)), freedom))


def _within(angle: float, freedom: float) -> float:
    """The share of Student's t within +- sqrt(freedom) tan(angle)."""
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) * 2 / math.sqrt(math.pi)
    nodes, weights = gauss_legendre(64)
    heights = np.cos(angle * (nodes + 1) / 2) ** (freedom - 1)
    return scale * angle / 2 * float(weights @ heights)


def _widest(freedom: float) -> float:
    """An angle beyond which nothing of Student's t lies; for many degrees of freedom all lies near 0."""
    return min(math.pi / 2, 16 / math.sqrt(freedom))


@cache
def gauss_legendre(points: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes in (-1, 1) and weights of an integral over it; finding them takes longer than using them."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    return nodes, weights


def problem_means(table: Table) -> NDArray[np.float64]:
    """(problems,) of a table (problems, samples): the share of correct samples; nan where none could be scored."""
    counts = (~np.isnan(table)).sum(axis=1)
    sums = np.nansum(table, axis=1)
    means: NDArray[np.float64] = np.divide(sums, counts, out=np.full(len(table), np.nan), where=counts > 0)
    return means
