"""Which results are held against which: a model of an arm, seed by seed, on the same problems as every other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from openklear.ablation.definition import Contrast, Measure, Study
from openklear.ablation.scores import RunScores, SeriesScores, StudyScores
from openklear.errors import DataError

BySeed = Mapping[int, SeriesScores]
"""Seed -> the results of a side on a measure, in the study's order of seeds."""


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison: a model of an arm."""

    arm: str
    model: str


def sides(comparison: Contrast, measure: Measure) -> tuple[Side, Side]:
    """Before and after: each names an arm, or ARM:MODEL for another model than the measure's."""
    before, after = (_side(text, measure) for text in (comparison.before, comparison.after))
    return before, after


def _side(text: str, measure: Measure) -> Side:
    arm, _, model = text.partition(":")
    return Side(arm, model or measure.model)


def measured(study: Study, measure: Measure) -> list[Side]:
    """Every arm with the measure's model; then the other models that comparisons in this measure name."""
    found = [Side(arm.name, measure.model) for arm in study.arm]
    for comparison in study.comparisons:
        if study.measure_named(comparison.measure) == measure:
            found += sides(comparison, measure)
    return list(dict.fromkeys(found))


def results_of(study: Study, scores: StudyScores, side: Side, measure: Measure) -> BySeed:
    """What the finished runs of an arm say of its model; without the seeds that say nothing of it."""
    runs = {run.seed: run for run in scores.runs if run.arm == side.arm}
    found = {seed: result_of(runs[seed], side.model, measure) for seed in study.seeds.values if seed in runs}
    return {seed: series for seed, series in found.items() if series is not None}


def result_of(run: RunScores, model: str, measure: Measure) -> SeriesScores | None:
    """What a run says of a model in a measure."""
    if measure.kind == "loss":
        return run.loss_of(model, measure.name)
    return run.of(model, measure.domain, measure.benchmark)


def require_same_problems(study: Study, scores: StudyScores, measure: Measure) -> None:
    """DataError, naming two runs, where not all models that are held against each other were asked the same."""
    first: tuple[str, SeriesScores] | None = None
    for side in measured(study, measure):
        for seed, series in results_of(study, scores, side, measure).items():
            name = f"arm {side.arm}, seed {seed} ({side.model})"
            if len(series.correct) != len(series.scorable):
                counts = f"{len(series.correct)} counts of correct samples and {len(series.scorable)} of scorable ones"
                raise DataError(f"{name}: has {counts} in {measure.domain}; remove its scores, and run it again")
            first = first or (name, series)
            if _asked(series) != _asked(first[1]):
                raise DataError(
                    f"{first[0]} and {name} were asked different problems in {measure.domain} "
                    f"({first[1].number} of {first[1].benchmark}, {series.number} of {series.benchmark}): "
                    "their scores cannot be compared problem by problem. Keep what chooses held-out problems out of "
                    "the arms' changes and of seeds.vary, or remove the scores that are left of an older study, and "
                    "run it again"
                )


def _asked(series: SeriesScores) -> tuple[str, int]:
    return series.problems, series.number


def values(some: Sequence[SeriesScores]) -> NDArray[np.float64]:
    """(S, N) share correct, or loss, by seed and problem; nan where nothing could be judged."""
    return np.array([one.values for one in some]) if some else np.zeros((0, 0))


def exact_differences(before: Sequence[SeriesScores], after: Sequence[SeriesScores]) -> list[Fraction]:
    """The mean difference of each seed over the problems that both could judge with every seed; [] where none is."""
    missing = np.isnan(values([*before, *after]))  # (2 S, N)
    known = np.flatnonzero(~missing.any(axis=0)) if missing.size else np.zeros(0, dtype=int)
    if not known.size:
        return []
    pairs = zip(before, after, strict=True)
    return [(_total(last, known) - _total(first, known)) / len(known) for first, last in pairs]


def _total(series: SeriesScores, problems: Sequence[int] | NDArray[np.int64]) -> Fraction:
    """The exact sum of the shares correct of these problems, or of their losses."""
    if series.losses:
        return sum((Fraction(series.losses[place]) for place in problems), Fraction(0))
    by_count: dict[int, int] = {}  # few numbers of samples, so few fractions
    for place in problems:
        of = series.scorable[place]
        by_count[of] = by_count.get(of, 0) + series.correct[place]
    return sum((Fraction(right, of) for of, right in by_count.items()), Fraction(0))
