"""How many problems, samples or seeds an evaluation needs to see a difference, before it is paid for.

A score varies for two reasons, a study for three, and each has its own remedy (Miller 2024, arXiv 2411.00640, section
on power; Cameron, Gelbach and Miller 2011 for seeds x problems):

    between problems   some are harder: only more problems help
    within a problem   p (1 - p) of one sample, divided by k: more samples help
    between seeds      another training gives another model: only more seeds help

With n problems, k samples and S seeds in each of two arms,

    one score          V = (between + within / k) / n
    two models         V = (moved + (within_A + within_B) / k) / n, `moved` the variance of the true differences
    a study            V = 2 seed^2 / S + moved / n + (within_A + within_B) / (S n k),
                       and on these problems the same without moved / n

and a difference is seen when the 95 % interval that `evaluation.statistics` gives it lies above 0. How often that is,
follows from the noncentral t distribution; for many problems it is Miller's n = (1.96 + z)^2 V_1 / difference^2, with
V_1 = n V and z = .84 for 80 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openklear.errors import UsageError
from openklear.evaluation.evaluated import open_evaluated
from openklear.evaluation.results import Series
from openklear.evaluation.statistics import student_quantile
from openklear.evaluation.statistics.intervals import LEVEL, gauss_legendre, score_bounds
from openklear.evaluation.statistics.paired import PSEUDO_PAIR
from openklear.evaluation.statistics.two_way import satterthwaite
from openklear.evaluation.stored import SAMPLES, read_samples
from openklear.types import Outcome

Counts = Mapping[str, tuple[int, int]]
"""Problem id -> how many of its samples are correct, and how many could be scored (1 at least)."""
MOST = 10**7
"""More problems, samples or seeds than this are nobody's."""


@dataclass(frozen=True, slots=True)
class Variation:
    """Of one model on problems of a kind: how likely one sample is correct, and how that varies."""

    mean: float
    between: float
    """The variance over problems of p, how likely a sample of the problem is correct."""
    within: float
    """The mean over problems of p (1 - p): the variance of one sample within its problem."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Of two models on the same problems."""

    moved: float
    """The variance over problems of the true differences."""
    within: float
    """Of one sample of either model within a problem, added up."""


@dataclass(frozen=True, slots=True)
class TwoArms:
    """Of two arms that are trained with several seeds each."""

    pair: Pair
    seed: float
    """The standard deviation of an arm's score from one seed to the next, sampling aside."""


@dataclass(frozen=True, slots=True)
class Needed:
    """What would be enough, one thing changed at a time; None: no number of these suffices."""

    now: float
    """What the design as it stands reaches: a half-width, or how often the difference is seen."""
    problems: int | None
    samples: int | None
    least_problems: int | None
    """With samples, and in a study seeds, without end: fewer never do."""
    seeds: int | None = None
    """Of each arm of a study."""
    least_seeds: int | None = None
    """With samples and problems without end."""


def counts_of(path: Path) -> dict[Series, dict[str, tuple[int, int]]]:
    """(benchmark, domain) -> `Counts` of the evaluation that lies in a directory, from its samples.jsonl or, where
    there is none, its problems.jsonl; of a run, its last model. UsageError where there is no evaluation."""
    found: dict[Series, dict[str, tuple[int, int]]] = {}
    if (path / SAMPLES).is_file():
        for sample in read_samples(path / SAMPLES):
            if sample.outcome is not Outcome.UNSCORABLE:
                series = found.setdefault((sample.benchmark, sample.domain), {})
                right, of = series.get(sample.problem, (0, 0))
                series[sample.problem] = (right + sample.correct, of + 1)
        return found
    for one in open_evaluated(path).results:
        if one.scorable:
            found.setdefault(one.series, {})[one.id] = (one.correct, one.scorable)
    return found


def variation(counts: Counts) -> Variation:
    """From an evaluation: p (1 - p) is estimated without bias within each problem, and what that explains of the
    variance between observed shares is taken off. Problems with one scorable sample are left out. UsageError where
    fewer than two problems have more.
    """
    return _variation(_table(counts, [name for name in counts if counts[name][1] > 1]))


def variation_of(mean: float, between: float) -> Variation:
    """From a mean and the share of mean (1 - mean) that lies between problems: 0 where all are equally hard, 1 where
    each is always solved or never; on contests a strong model has some .4, Beta(1.2, .3) for a mean of .8."""
    if not (0 < mean < 1 and 0 <= between <= 1):
        raise UsageError(f"mean {mean}, between {between}: a mean is above 0 and below 1, between from 0 to 1")
    whole = mean * (1 - mean)
    return Variation(mean, between * whole, (1 - between) * whole)


def pair(before: Counts, after: Counts) -> Pair:
    """From two evaluations, over the problems of which both could score two samples. UsageError for fewer than two."""
    both = [name for name in before if min(before[name][1], after.get(name, (0, 0))[1]) > 1]
    first, last = _table(before, both), _table(after, both)
    within = _variation(first).within + _variation(last).within
    differences = last[:, 0] / last[:, 1] - first[:, 0] / first[:, 1]
    moved = float(differences.var(ddof=1)) - _mean_sampling(first) - _mean_sampling(last)
    return Pair(max(0.0, moved), within)


def pair_of(one: Variation, correlation: float) -> Pair:
    """From one model, the other varying as much and correlating with it over problems: 1 where a gain is the same on
    every problem (Miller's 2 between (1 - correlation))."""
    if not -1 <= correlation <= 1:
        raise UsageError(f"a correlation of {correlation}: it lies from -1 to 1")
    return Pair(2 * one.between * (1 - correlation), 2 * one.within)


def half_width(one: Variation, problems: float, samples: float) -> float:
    """Half the 95 % interval of a score, where the data have just this mean and variance; 2 problems or more."""
    variance = one.between + one.within / samples
    squares = (problems - 1) * variance + problems * one.mean**2
    low, high = score_bounds(problems * one.mean, squares, int(problems), samples)
    return (high - low) / 2


def seen_in_pairs(two: Pair, difference: float, problems: float, samples: float) -> float:
    """How often a true mean difference above 0 is seen by the interval of `statistics.difference_interval`."""
    variance = two.moved + two.within / samples
    n = problems + 1.0  # with the pseudo-pair
    mean, deviation = problems * difference / n, math.sqrt(problems * variance) / n
    squares = (problems - 1) * variance + problems * difference**2 + PSEUDO_PAIR**2
    error = math.sqrt((squares - n * mean**2) / problems / n)
    if deviation == 0.0:
        return float(mean > student_quantile(n - 1) * error)
    return exceeds(student_quantile(n - 1) * error / deviation, n - 1, mean / deviation)


def seen_in_study(
    study: TwoArms,
    difference: float,
    seeds: int,
    problems: float,
    samples: float,
    *,
    these: bool = False,
    tests: int = 1,
) -> float:
    """How often a true difference above 0 is seen by `statistics.two_way`; with `these`, on these problems, by
    `statistics.over_seeds`. Seeds are those of either arm, 2 or more. Of several `tests` it is the least that is seen
    after Holm's correction, as `least_effect` has it."""
    seed, cell = 2 * study.seed**2, study.pair.within / samples
    if these:
        variance, freedom = (seed + cell / problems) / seeds, seeds - 1.0
    else:
        moved, cells = study.pair.moved, seeds * problems
        variance = seed / seeds + moved / problems + cell / cells
        parts = (seed + cell / problems) / seeds, (moved + cell / seeds) / problems, (seed + moved + cell) / cells
        freedom = satterthwaite(parts, variance, seeds, int(problems))
    if variance == 0.0:
        return float(difference > 0)
    return exceeds(student_quantile(freedom, _level(tests)), freedom, difference / math.sqrt(variance))


def least_effect(error: float, freedom: float, tests: int = 1, power: float = 0.8) -> float:
    """The smallest true difference that is seen in `power` of repetitions of a study whose difference has this standard
    error, above 0, and these degrees of freedom.

    Seen is what has p <= 0.05 after Holm's correction for so many tests. How much it corrects depends on the others, at
    most by their number (Bonferroni's correction): the difference given is seen at least so often.
    """
    quantile = student_quantile(freedom, _level(tests))
    low, high = 0.0, quantile
    while exceeds(quantile, freedom, high) < power:
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if exceeds(quantile, freedom, middle) < power else (low, middle)
    return error * high


def _level(tests: int) -> float:
    """Of an interval that excludes 0 where p <= 0.05 / tests."""
    return 1 - (1 - LEVEL) / tests


def needed_for_score(one: Variation, half: float, problems: int, samples: int) -> Needed:
    """What an interval of +-`half` takes."""

    def reaches(n: float, k: float) -> bool:
        return half_width(one, n, k) <= half

    return Needed(
        half_width(one, problems, samples),
        least(lambda n: reaches(n, samples), 2),
        least(lambda k: reaches(problems, k), 1),
        least(lambda n: reaches(n, math.inf), 2),
    )


def needed_for_pair(two: Pair, difference: float, problems: int, samples: int, power: float = 0.8) -> Needed:
    """What seeing a difference of two models on the same problems takes, `power` of the time."""

    def reaches(n: float, k: float) -> bool:
        return seen_in_pairs(two, difference, n, k) >= power

    return Needed(
        seen_in_pairs(two, difference, problems, samples),
        least(lambda n: reaches(n, samples), 2),
        least(lambda k: reaches(problems, k), 1),
        least(lambda n: reaches(n, math.inf), 2),
    )


def needed_for_study(
    study: TwoArms,
    difference: float,
    seeds: int,
    problems: int,
    samples: int,
    power: float = 0.8,
    *,
    these: bool = False,
) -> Needed:
    """What seeing the difference of two arms takes, `power` of the time; `these` as in `seen_in_study`."""

    def reaches(s: float, n: float, k: float) -> bool:
        return seen_in_study(study, difference, int(s), n, k, these=these) >= power

    return Needed(
        seen_in_study(study, difference, seeds, problems, samples, these=these),
        least(lambda n: reaches(seeds, n, samples), 2),
        least(lambda k: reaches(seeds, problems, k), 1),
        least(lambda n: reaches(MOST, n, math.inf), 2),
        least(lambda s: reaches(s, problems, samples), 2),
        least(lambda s: reaches(s, MOST, math.inf), 2),
    )


def least(reaches: Callable[[float], bool], first: int) -> int | None:
    """The least whole number from `first` to `MOST` that reaches what larger ones reach too; None where none does."""
    if not reaches(MOST):
        return None
    low, high = first - 1, first
    while not reaches(high):
        low, high = high, min(2 * high, MOST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high


def exceeds(quantile: float, freedom: float, shift: float) -> float:
    """How often (Z + shift) / s is above `quantile`, Z being normal and s^2 chi^2 / freedom: the upper tail of a
    noncentral t. The mean over s of how often Z is above quantile s - shift, by 128 Gauss-Legendre points."""
    nodes, weights = gauss_legendre(128)
    reach = 9 / math.sqrt(2 * freedom)
    low, high = max(0.0, 1 - reach), 1 + reach
    s = low + (high - low) * (nodes + 1) / 2
    heights = (freedom - 1) * np.log(s) - freedom * (s**2 - 1) / 2
    chances = weights * np.exp(heights - heights.max())
    tails = np.array([math.erfc((quantile * one - shift) / math.sqrt(2)) / 2 for one in s])
    return min(1.0, float(chances @ tails / chances.sum()))


def _table(counts: Counts, names: Sequence[str]) -> NDArray[np.float64]:
    """(problems, 2): how many samples are correct, and how many could be scored."""
    return np.array([counts[name] for name in names], dtype=np.float64).reshape(-1, 2)


def _variation(table: NDArray[np.float64]) -> Variation:
    """`variation` of a `_table`."""
    right, of = table.T
    if len(of) < 2:
        raise UsageError(
            f"{len(of)} problems with 2 scorable samples or more (in both evaluations, where there are two): telling "
            "how problems differ from how samples do takes 2 such problems; evaluate with more samples, or guess"
        )
    shares = right / of
    within = shares * (1 - shares) * of / (of - 1)
    between = float(shares.var(ddof=1)) - _mean_sampling(table)
    return Variation(float(shares.mean()), max(0.0, between), float(within.mean()))


def _mean_sampling(table: NDArray[np.float64]) -> float:
    """The mean over problems of what sampling adds to the variance of an observed share."""
    right, of = table.T
    shares = right / of
    return float((shares * (1 - shares) / (of - 1)).mean())
