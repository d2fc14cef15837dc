"""What a study found: every arm's score with its interval, every comparison with what could have been seen.

A comparison answers "would another training, asked other problems like these, show the difference?": its interval is
`statistics.two_way`, which held the truth in 93 to 96 % of synthetic studies, with two seeds in 89 to 93 %. p_t is of
the same error and the same Student's t, so it is right to that degree; Holm's correction over the comparisons in a
measure guards against finding something because much was looked at. The sign-flip test over seeds stands beside it: it
takes nothing for granted but that either sign is as likely, and with few seeds it cannot become small (8 seeds: 0.0078,
4 seeds: 0.125).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from openklear.ablation import sentences
from openklear.ablation.definition import Contrast, Measure, Study
from openklear.ablation.pairing import (
    Side,
    exact_differences,
    measured,
    require_same_problems,
    results_of,
    sides,
    values,
)
from openklear.ablation.scores import SeriesScores, StudyScores
from openklear.ablation.units import MeasureUnit
from openklear.evaluation.power import least_effect
from openklear.evaluation.statistics import (
    Effect,
    arm_mean,
    holm,
    mean_interval,
    over_seeds,
    sign_flip,
    student_quantile,
    student_tail,
    two_way,
)

REFUSED = 0.05
"""A difference is seen where its p after Holm's correction is at most this."""


@dataclass(frozen=True, slots=True)
class ArmScore:
    """What a model of an arm scores in a measure."""

    arm: str
    model: str
    measure: str
    by_seed: tuple[tuple[int, float], ...]
    """(seed, avg@k or mean loss), over the problems that could be judged with every seed; () where no run is
    finished."""
    mean: float
    """Of the seeds; nan without any."""
    low: float
    """The 95 % interval for another training, asked problems like these. With one seed it is over problems alone, and
    says nothing of another training."""
    high: float
    freedom: float
    """Degrees of freedom behind the interval; nan where it says nothing of another training."""
    seeds: int
    problems: int


@dataclass(frozen=True, slots=True)
class ComparedArms:
    """Two arms, or two models of an arm, with the same seeds on the same problems."""

    comparison: Contrast
    measure: Measure
    label_before: str
    """The arm's title; with the model, where the two sides are of different models."""
    label_after: str
    effect: Effect
    """After - before, on problems like these (`two_way`)."""
    these: Effect
    """On these problems (`over_seeds`)."""
    by_seed: tuple[tuple[int, float], ...]
    """(seed, mean difference over problems), of the seeds that both sides have."""
    p: float
    """Of the sign-flip test over seeds."""
    p_t: float
    """Two-sided, of `effect`; that of the sign-flip test where nothing varies; nan where nothing tells how it does."""
    p_holm: float
    """p_t after Holm's correction for all comparisons in this measure, those counted that cannot be made yet."""
    smallest: float
    """The smallest true difference that a study of this error sees in 80 % of repetitions, after the correction; nan
    where there is no error."""
    seen: bool
    """p_holm <= 0.05."""
    sentence: str


@dataclass(frozen=True, slots=True)
class Findings:
    """All that a study found."""

    scores: tuple[ArmScore, ...]
    """Measure by measure: every arm with the measure's model, then the other models that are compared."""
    compared: tuple[ComparedArms, ...]
    """In the study's order."""
    headline: str
    """One sentence of the comparisons in the first measure that has any."""
    warnings: tuple[str, ...]
    """Runs that are missing or failed, seeds and problems left out."""


def findings(study: Study, scores: StudyScores) -> Findings:
    """What the finished runs of a study say. DataError where runs that are compared were asked different problems."""
    for measure in study.measure:
        require_same_problems(study, scores, measure)
    armed: list[ArmScore] = []
    for measure in study.measure:
        armed += [_arm_score(study, scores, side, measure) for side in measured(study, measure)]
    several = len(study.measure) > 1
    compared: list[ComparedArms] = [_compared(study, scores, one) for one in study.comparisons]
    by_measure: list[list[ComparedArms]] = []
    for measure in study.measure:
        places = [place for place, one in enumerate(compared) if one.measure == measure]
        corrected = _corrected([compared[place] for place in places], several)
        for place, one in zip(places, corrected, strict=True):
            compared[place] = one
        by_measure.append(corrected)
    first = next(some for some in by_measure if some)
    headline = sentences.headline([_told(one, len(first), several) for one in first])
    warnings = dict.fromkeys(_warnings(study, scores, compared))
    return Findings(tuple(armed), tuple(compared), headline, tuple(warnings))


def _arm_score(study: Study, scores: StudyScores, side: Side, measure: Measure) -> ArmScore:
    results = results_of(study, scores, side, measure)
    table = values(list(results.values()))
    table = table[:, ~np.isnan(table).any(axis=0)]
    found = _unbounded(arm_mean(table), measure.unit)
    low, high = found.low, found.high
    if len(results) == 1:
        low, high = _over_problems(table[0], next(iter(results.values())))
    means = map(float, table.mean(axis=1)) if table.size else ()
    by_seed = tuple(zip(results, means, strict=False))
    return ArmScore(
        side.arm,
        side.model,
        measure.name,
        by_seed=by_seed,
        mean=found.value,
        low=low,
        high=high,
        freedom=found.freedom,
        seeds=len(by_seed),
        problems=found.problems,
    )


def _over_problems(row: NDArray[np.float64], of: SeriesScores) -> tuple[float, float]:
    """The 95 % interval of one seed's mean over its problems (N,); of losses it is Student's t."""
    if not of.losses:
        alone = mean_interval(row, of.samples)
        return alone.low, alone.high
    if len(row) < 2:
        return math.nan, math.nan
    half = student_quantile(len(row) - 1) * float(row.std(ddof=1)) / math.sqrt(len(row))
    return float(row.mean()) - half, float(row.mean()) + half


def _unbounded(effect: Effect, unit: MeasureUnit) -> Effect:
    """With the interval of its own error where the unit has no bounds: the statistics cut theirs at those of shares."""
    if unit.possible <= 1:
        return effect
    half = math.nan if math.isnan(effect.error) else student_quantile(effect.freedom) * effect.error
    return replace(effect, low=effect.value - half, high=effect.value + half)


def _compared(study: Study, scores: StudyScores, comparison: Contrast) -> ComparedArms:
    """Before the correction for other comparisons, which needs them all."""
    measure = study.measure_named(comparison.measure)
    pair = sides(comparison, measure)
    first, last = (results_of(study, scores, side, measure) for side in pair)
    both = [seed for seed in first if seed in last]
    before = [first[seed] for seed in both]
    after = [last[seed] for seed in both]
    effect = _unbounded(two_way(values(before), values(after)), measure.unit)
    exact = exact_differences(before, after)
    p = sign_flip(exact)
    titles = [study.arm_named(side.arm).title for side in pair]
    if pair[0].model != pair[1].model:
        titles = [f"{title} ({side.model})" for title, side in zip(titles, pair, strict=True)]
    return ComparedArms(
        comparison,
        measure,
        label_before=titles[0],
        label_after=titles[1],
        effect=effect,
        these=_unbounded(over_seeds(values(before), values(after)), measure.unit),
        by_seed=tuple(zip(both, map(float, exact), strict=False)),
        p=p,
        p_t=_chance(effect, p),
        p_holm=math.nan,
        smallest=math.nan,
        seen=False,
        sentence="",
    )


def _chance(effect: Effect, flipped: float) -> float:
    """p of Student's t. Where nothing varies there is no t: the exact test over seeds stands in for it."""
    if math.isnan(effect.error):
        return math.nan
    return flipped if sentences.is_nothing(effect.error) else student_tail(effect.value / effect.error, effect.freedom)


def _corrected(some: list[ComparedArms], several: bool) -> list[ComparedArms]:
    """All comparisons in one measure, each in sight of the others. One that cannot be made yet counts as one of them,
    so that what is seen does not change because others end later."""
    tests = len(some)
    found: list[ComparedArms] = []
    for one, p in zip(some, holm([1.0 if math.isnan(one.p_t) else one.p_t for one in some]), strict=True):
        effect = one.effect
        known = not math.isnan(effect.error) and not sentences.is_nothing(effect.error)
        one = replace(
            one,
            p_holm=math.nan if math.isnan(one.p_t) else p,
            smallest=least_effect(effect.error, effect.freedom, tests) if known else math.nan,
            seen=not math.isnan(one.p_t) and p <= REFUSED,
        )
        found.append(replace(one, sentence=sentences.sentence(_told(one, tests, several))))
    return found


def _told(one: ComparedArms, tests: int, several: bool) -> sentences.Told:
    return sentences.Told(
        before=one.label_before,
        after=one.label_after,
        effect=one.effect,
        seeds=tuple(seed for seed, _ in one.by_seed),
        p_t=one.p_t,
        p_holm=one.p_holm,
        smallest=one.smallest,
        seen=one.seen,
        tests=tests,
        measure=one.measure.title if several else None,
        unit=one.measure.unit,
    )


def _warnings(study: Study, scores: StudyScores, compared: list[ComparedArms]) -> Iterator[str]:
    """What is not in the numbers though the study asks for it."""
    failed = {(one.arm, one.seed): one.reason for one in scores.failed}
    ran = {(run.arm, run.seed) for run in scores.runs}
    for arm in study.arm:
        for seed in study.seeds.values:
            if (arm.name, seed) in failed:
                yield f"{arm.title} failed with seed {seed}: {failed[arm.name, seed]}"
        missing = [seed for seed in study.seeds.values if (arm.name, seed) not in ran | failed.keys()]
        if missing:
            yield f"{arm.title} was not run yet with {sentences.seeds(missing)}"
    for measure in study.measure:
        for side in measured(study, measure):
            found = results_of(study, scores, side, measure)
            silent = [seed for seed in study.seeds.values if (side.arm, seed) in ran and seed not in found]
            if silent:
                title = study.arm_named(side.arm).title
                text = f"{title} has no results of {side.model} in {measure.domain} with {sentences.seeds(silent)}"
                yield f"{text}: does the recipe hold out such problems, and evaluate that model?"
    for one in compared:
        yield from _left_out(study, scores, one)


def _left_out(study: Study, scores: StudyScores, one: ComparedArms) -> Iterator[str]:
    """Seeds that one side alone has, and problems that could not be judged everywhere."""
    pair = sides(one.comparison, one.measure)
    before, after = (results_of(study, scores, side, one.measure) for side in pair)
    named = f"{one.label_before} and {one.label_after} are compared without"
    for label, mine, other in ((one.label_before, before, after), (one.label_after, after, before)):
        alone = [seed for seed in mine if seed not in other]
        if alone and one.by_seed:
            yield f"{named} {sentences.seeds(alone)}, which only {label} has"
    if one.effect.seeds == 2:
        held = "an interval of 95 % held the truth in 89 to 93 % of synthetic studies"
        yield f"{one.label_before} and {one.label_after} are compared with two seeds: with so few, {held}; add seeds"
    asked = {series.number for series in before.values()}
    lost = max(asked, default=0) - one.effect.problems
    if one.effect.seeds and lost:
        where = f"in {one.measure.title}, {lost:,} of {max(asked):,} problems"
        yield f"{named} some problems: {where} could not be judged with every seed on both sides"
