"""Two evaluations, benchmark by benchmark, over the problems that both have: `openklear compare`.

Every difference is taken within a problem, so that hard and easy ones cancel; its interval is two to seven times
narrower than one from two separate scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain

import numpy as np

from openklear.evaluation.results import ProblemResult, Series
from openklear.evaluation.statistics import Estimate, difference_interval, holm, mean_interval, sign_flip


@dataclass(frozen=True, slots=True)
class Moved:
    """A problem whose share of correct completions is another."""

    id: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class BenchmarkComparison:
    """One benchmark in one domain. Scores and difference are over the same problems: those scored on both sides."""

    benchmark: str
    domain: str
    before: Estimate
    after: Estimate
    difference: Estimate
    p: float
    """Of the sign-flip test; `adjusted` for the number of benchmarks (Holm)."""
    adjusted: float
    only_before: int
    """Problems that the other side lacks, or could not score."""
    only_after: int
    moved: list[Moved]
    """The furthest first."""


def compare(before: Sequence[ProblemResult], after: Sequence[ProblemResult]) -> list[BenchmarkComparison]:
    """A comparison for each benchmark and domain of which both have a problem, in the order of `before`."""
    both = list(_both(before, after))
    chances = [_chance(pairs) for _, pairs, _ in both]
    found = []
    for (series, pairs, alone), p, adjusted in zip(both, chances, holm(chances), strict=True):
        shares = np.array(list(pairs.values()), dtype=np.float64)  # (problems, 2)
        found.append(
            BenchmarkComparison(
                *series,
                before=mean_interval(shares[:, 0], _samples(before, series)),
                after=mean_interval(shares[:, 1], _samples(after, series)),
                difference=difference_interval(shares[:, 1] - shares[:, 0]),
                p=p,
                adjusted=adjusted,
                only_before=alone[0],
                only_after=alone[1],
                moved=_moved(pairs),
            )
        )
    return found


def _chance(pairs: Mapping[str, tuple[Fraction, Fraction]]) -> float:
    return sign_flip([b - a for a, b in pairs.values()])


def _both(
    before: Sequence[ProblemResult], after: Sequence[ProblemResult]
) -> Iterator[tuple[Series, dict[str, tuple[Fraction, Fraction]], tuple[int, int]]]:
    """Series, problem id -> share before and after, and how many problems either side has alone."""
    for series in dict.fromkeys(one.series for one in chain(before, after)):
        first, last = _shares(before, series), _shares(after, series)
        pairs = {name: (first[name], last[name]) for name in first if name in last}
        if pairs:
            yield series, pairs, (len(first) - len(pairs), len(last) - len(pairs))


def _shares(results: Sequence[ProblemResult], series: Series) -> dict[str, Fraction]:
    return {one.id: Fraction(one.correct, one.scorable) for one in results if one.series == series and one.scorable}


def _samples(results: Sequence[ProblemResult], series: Series) -> int:
    return max(one.samples for one in results if one.series == series)


def _moved(pairs: Mapping[str, tuple[Fraction, Fraction]]) -> list[Moved]:
    found = [Moved(name, float(a), float(b)) for name, (a, b) in pairs.items() if a != b]
    return sorted(found, key=lambda one: (-abs(one.after - one.before), one.id))
