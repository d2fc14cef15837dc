"""What each stage gained on each benchmark, problem by problem: the headline of a run.

Every model of a run is asked the same problems with the same draws, so the difference of two models is taken within
each problem; its interval is two to seven times narrower than one from two separate scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np

from openklear.evaluation.results import ProblemResult, Series
from openklear.evaluation.statistics import difference_interval


def gains(evaluated: Mapping[str, Sequence[ProblemResult]]) -> list[dict[str, Any]]:
    """Rows {benchmark, domain, from, to, gain, low, high, problems} of the models `evaluated`, in the order given.

    From each model to the next, then from base and from sft to the last, where that is another pair. `gain` is the
    mean over the problems that both could be scored on of the difference in the share of correct completions, `low`
    and `high` its 95 % interval; a pair without such a problem has no row.
    """
    series = list(dict.fromkeys(one.series for one in chain.from_iterable(evaluated.values())))
    rows: list[dict[str, Any]] = []
    for benchmark, domain in series:
        for before, after in pairs(list(evaluated)):
            shares = [shares_of(evaluated[name], (benchmark, domain)) for name in (before, after)]
            estimate = difference_interval(np.array([b - a for a, b in _paired(*shares)], dtype=np.float64))
            if estimate.problems:
                place = {"benchmark": benchmark, "domain": domain, "from": before, "to": after}
                numbers = {"gain": estimate.value, "low": estimate.low, "high": estimate.high}
                rows.append({**place, **numbers, "problems": estimate.problems})
    return rows


def pairs(stages: Sequence[str]) -> list[tuple[str, str]]:
    """Each stage with the one before it; then the last with base and with sft."""
    found = list(pairwise(stages))
    found += [(first, stages[-1]) for first in ("base", "sft") if first in stages[:-1]]
    return list(dict.fromkeys(found))


def shares_of(results: Sequence[ProblemResult], series: Series) -> dict[str, float | None]:
    """Problem id -> share of its scorable completions that are correct."""
    return {one.id: one.share for one in results if one.series == series}


def _paired(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> Iterator[tuple[float, float]]:
    for name, first in before.items():
        last = after.get(name)
        if first is not None and last is not None:
            yield first, last
