"""avg@k, pass@k and their intervals; differences of two models on the same problems.

Problems are the unit of chance everywhere: completions of one problem are not independent of one another, so intervals
resample problems, never completions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openklear.types import Outcome, Rollout, RolloutGroup

__all__ = ["Estimate", "avg_at_k", "correctness", "mean_interval", "paired_difference", "pass_at_k"]

LEVEL = 0.95
RESAMPLES = 10_000

Table = NDArray[np.float64]
"""(problems, samples): 1.0 correct, 0.0 incorrect, nan unscorable."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over problems with its 95 % interval."""

    value: float
    low: float
    high: float
    problems: int


def correctness(groups: Sequence[RolloutGroup]) -> Table:
    """Verdicts as a table; unscorable rollouts are nan: nobody's fault, and in no mean."""
    rows = [list(map(_correct, group.rollouts)) for group in groups]
    return np.array(rows, dtype=np.float64) if rows else np.zeros((0, 0))


def _correct(rollout: Rollout) -> float:
    return np.nan if rollout.verdict.outcome is Outcome.UNSCORABLE else float(rollout.verdict.correct)


def avg_at_k(table: Table) -> Estimate:
    """Mean over problems of the share of correct samples, with an interval over problems."""
    return mean_interval(_problem_means(table))


def pass_at_k(table: Table, k: int) -> Estimate:
    """Mean over problems of 1 - C(n - c, k) / C(n, k): the unbiased estimator of Chen et al. (arXiv 2107.03374, Eq. 1).

    Problems with fewer than k scorable samples are left out. Raises ValueError when k exceeds the samples taken.
    """
    if not 1 <= k <= table.shape[1]:
        raise ValueError(f"pass@{k} needs at least {k} samples per problem; there are {table.shape[1]}")
    scorable = (~np.isnan(table)).sum(axis=1)  # (problems,)
    right = np.nansum(table, axis=1)  # (problems,)
    rows = [_pass_one(int(n), int(c), k) for n, c in zip(scorable, right, strict=True) if n >= k]
    return mean_interval(np.array(rows))


def _pass_one(samples: int, correct: int, k: int) -> float:
    if samples - correct < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(samples - correct + 1, samples + 1)))


def paired_difference(before: Table, after: Table) -> Estimate:
    """Mean over the same problems of (after - before) in share correct, with an interval over problems."""
    if before.shape[0] != after.shape[0]:
        raise ValueError(f"paired tables hold the same problems; got {before.shape[0]} and {after.shape[0]}")
    return mean_interval(_problem_means(after) - _problem_means(before), bounds=(-1.0, 1.0))


def mean_interval(values: NDArray[np.float64], bounds: tuple[float, float] = (0.0, 1.0)) -> Estimate:
    """Mean and bootstrap percentile interval (10,000 resamples of problems, fixed seed; nan are left out).

    When every problem has the same extreme value the bootstrap has no width; the bound is then the exact binomial
    one for n problems (Clopper-Pearson: 1 - 0.025 ** (1 / n) away from the value), scaled to `bounds`.
    """
    values = values[~np.isnan(values)]
    count = len(values)
    if count == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    mean = float(values.mean())
    low, high = _bootstrap(values)
    if low == high:
        reach = (bounds[1] - bounds[0]) * (1.0 - ((1.0 - LEVEL) / 2) ** (1.0 / count))
        low, high = max(bounds[0], mean - reach), min(bounds[1], mean + reach)
    return Estimate(mean, low, high, count)


def _bootstrap(values: NDArray[np.float64]) -> tuple[float, float]:
    generator = np.random.Generator(np.random.PCG64(20250811))
    means = np.empty(RESAMPLES)
    for start in range(0, RESAMPLES, 500):  # in parts, so that memory stays small for large benchmarks
        picks = generator.integers(0, len(values), size=(500, len(values)))  # (resamples, problems)
        means[start : start + 500] = values[picks].mean(axis=1)
    tail = (1.0 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return float(low), float(high)


def _problem_means(table: Table) -> NDArray[np.float64]:
    """(problems,) the share of correct samples; nan where none could be scored."""
    counts = (~np.isnan(table)).sum(axis=1)
    sums = np.nansum(table, axis=1)
    means: NDArray[np.float64] = np.divide(sums, counts, out=np.full(len(table), np.nan), where=counts > 0)
    return means
