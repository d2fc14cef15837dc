"""The curves of what the arms train: a line an arm, the mean over its seeds, in a band of their spread."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import altair as alt

from openklear.ablation.definition import Study
from openklear.ablation.looks import Look, looks
from openklear.ablation.scores import Curve, RunScores, StudyScores
from openklear.reporting.charts import Panel, fitted, table
from openklear.reporting.curves import NUMBER, round_places
from openklear.reporting.texts import short

Point = dict[str, float]
"""{x, y, low, high} of a line."""
Training = Mapping[str, Curve]
"""Metric, and "at" -> values."""

_ACTS = (("high_positive", "A > 0, above"), ("low_negative", "A < 0, below"))
_DOES_NOT = (("low_positive", "A > 0, below"), ("high_negative", "A < 0, above"))
PANELS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("Reward of rollouts", ("reward",), NUMBER),
    ("Accuracy of rollouts", ("accuracy",), "%"),
    ("Entropy, nats per token", ("entropy",), NUMBER),
    ("Clip rate: both cells that act", tuple(f"clip_fraction_{cell}" for cell, _ in _ACTS), ".2~%"),
    ("Tokens per rollout, mean", ("length_mean",), NUMBER),
    ("Loss per response token", ("loss",), NUMBER),
    ("Gradient norm, before clipping", ("grad_norm",), NUMBER),
    ("KL to the policy before the updates, k3", ("kl_k3",), NUMBER),
    ("Groups whose rewards are all equal", ("zero_advantage",), "%"),
    ("Updates per iteration", ("updates",), NUMBER),
    *((f"Clip fraction, {where} (acts)", (f"clip_fraction_{cell}",), ".2~%") for cell, where in _ACTS),
    *((f"Clip fraction, {where}", (f"clip_fraction_{cell}",), ".2~%") for cell, where in _DOES_NOT),
    *((f"Gradient share, {where} (acts)", (f"gradient_share_{cell}",), ".2~%") for cell, where in _ACTS),
    *((f"Gradient share, {where}", (f"gradient_share_{cell}",), ".2~%") for cell, where in _DOES_NOT),
)
"""(title, metrics that are added, number format). A is the advantage; the ratio lies above or below the band."""


@dataclass(frozen=True, slots=True)
class Trainees:
    """Arms whose stage was trained alike, seed by seed, and so are one line."""

    label: str
    look: Look
    trainings: Sequence[Training]
    """Runs that share a training have one between them."""

    @property
    def last(self) -> float:
        """The last iteration or step that any of them came to."""
        return max(max(_places(training)) for training in self.trainings)


@dataclass(frozen=True, slots=True)
class StageCurves:
    """What is drawn of a stage."""

    name: str
    text: str
    legend: Sequence[tuple[str, Look]]
    panels: Sequence[Panel]
    zero: Sequence[str]
    """Titles of panels in which all is zero."""


def stage_curves(study: Study, scores: StudyScores) -> list[StageCurves]:
    """The stages that the arms trained, in order, and what was logged of them; not one that all runs share."""
    if not study.curves:
        return []
    shared = shared_stages(scores)
    return [_stage(name, trainees(study, scores.runs, name)) for name in _trained(scores) if name not in shared]


def shared_stages(scores: StudyScores) -> list[str]:
    """The stages that were trained once for several runs, all there are: their curves say nothing of the arms."""
    made: dict[str, set[str]] = {}
    for name in _trained(scores):
        made[name] = {_made(run, name) for run in scores.runs}
    return [name for name, some in made.items() if len(some) == 1 < len(scores.runs)]


def trainees(study: Study, runs: Sequence[RunScores], stage: str) -> list[Trainees]:
    """The lines of a stage, in the order of the arms; arms that share all its trainings are one line."""
    by_arm: dict[str, dict[str, Training]] = {}
    for run in runs:
        if _places(run.curves.get(stage, {})):
            by_arm.setdefault(run.arm, {}).setdefault(_made(run, stage), run.curves[stage])
    alike: dict[frozenset[str], list[str]] = {}
    for name in (arm.name for arm in study.arm if arm.name in by_arm):
        alike.setdefault(frozenset(by_arm[name]), []).append(name)
    titles, look = {arm.name: arm.title for arm in study.arm}, looks(study)
    return [
        Trainees(", ".join(map(titles.__getitem__, names)), look[names[0]], list(by_arm[names[0]].values()))
        for names in alike.values()
    ]


def band(line: Trainees, metrics: Sequence[str], *, share: bool = False) -> list[Point]:
    """The mean over the trainings at each place that any of them has, and one standard deviation to both sides of it.

    A band goes no further than the least and the greatest training. Metrics are added; a place where a training lacks
    one of them is not counted for it. With `share` places are per cent of the line's own last one.
    """
    found: dict[float, list[float]] = {}
    for training in line.trainings:
        for place, *values in zip(training["at"], *(training.get(name, ()) for name in metrics), strict=False):
            if place is not None and all(value is not None and math.isfinite(value) for value in values):
                found.setdefault(place, []).append(math.fsum(values))
    scale = 100 / (line.last or 1.0) if share else 1.0
    points = []
    for place, ys in sorted(found.items()):
        mean, spread = fmean(ys), stdev(ys) if len(ys) > 1 else 0.0
        low, high = max(min(ys), mean - spread), min(max(ys), mean + spread)
        points.append({"x": scale * place, "y": mean, "low": low, "high": high})
    return points


def _trained(scores: StudyScores) -> list[str]:
    names: dict[str, None] = {}
    for run in scores.runs:
        names |= dict.fromkeys(name for name, curves in run.curves.items() if _places(curves))
    return list(names)


def _made(run: RunScores, stage: str) -> str:
    """What tells a training from another: its fingerprint, or else the run."""
    return run.stages.get(stage) or f"{run.arm} {run.seed}"


def _places(training: Training) -> list[float]:
    return [place for place in training.get("at", ()) if place is not None]


def _stage(name: str, lines: Sequence[Trainees]) -> StageCurves:
    unit = "iteration" if name.startswith("rl-") else "step"
    share = len({line.last for line in lines}) > 1
    text = (
        "Lines are means over the seeds. Bands: one standard deviation over the seeds to both sides, "
        "no further than the least and the greatest of them."
    )
    if share:
        text += f" Each line is drawn over its own training: {_lengths(lines, unit)}."
    panels, zero = [], []
    for title, metrics, form in PANELS:
        drawn = [(line, band(line, metrics, share=share)) for line in lines]
        known = [(line, points) for line, points in drawn if points]
        if not known:
            continue
        if any(_moves(points) for _, points in known):
            missing = [line.label for line, points in drawn if not points]
            note = f"Not logged by {', '.join(missing)}." if missing else ""
            across = "% of the training" if share else unit
            panels.append(Panel(title, _drawn(known, across, form), note=note))
        else:
            zero.append(title)
    return StageCurves(name, text, [(line.label, line.look) for line in lines], panels, zero)


def _lengths(lines: Sequence[Trainees], unit: str) -> str:
    """How far each line came: `to iteration 12; GPPO to iteration 24`. What most have in common needs no names."""
    named: dict[float, list[str]] = {}
    for line in lines:
        named.setdefault(line.last, []).append(line.label)
    common = max(named, key=lambda last: len(named[last]))
    others = [f"{', '.join(names)} to {unit} {last:,g}" for last, names in named.items() if last != common]
    return "; ".join([f"to {unit} {common:,g}", *others])


def _moves(points: Sequence[Point]) -> bool:
    return any(point["low"] or point["high"] for point in points)


def _drawn(known: Sequence[tuple[Trainees, Sequence[Point]]], across: str, form: str) -> str:
    """Bands below, lines above; the axis begins at zero, or below it where values do."""
    values: list[dict[str, Any]] = []
    for place, (_, points) in enumerate(known):
        values += [{**point, "line": place} for point in points]
    places, looked = list(range(len(known))), [line.look for line, _ in known]
    low, high = min(one["x"] for one in values), max(one["x"] for one in values)
    low, high = (low - 1, high + 1) if low == high else (low, high)
    ticks = alt.Axis(values=round_places(math.ceil(low), math.floor(high)), format=",d", labelOverlap=True)
    x = alt.X("x:Q", title=across, scale=alt.Scale(domain=[low, high], nice=False), axis=ticks)
    axis, up = alt.Axis(format=form, tickCount=5), alt.Scale(zero=True)
    colours = alt.Scale(domain=places, range=[look.colour for look in looked])
    dashes = alt.Scale(domain=places, range=[list(look.dash) for look in looked])
    base = table(values).encode(x=x, color=alt.Color("line:N", scale=colours, legend=None))
    area = base.mark_area(opacity=0.1).encode(y=alt.Y("low:Q", title=None, axis=axis, scale=up), y2="high:Q")
    line = base.mark_line(strokeWidth=1.8, point=alt.OverlayMarkDef(size=12) if _few(known) else False).encode(
        y=alt.Y("y:Q", title=None, axis=axis, scale=up),
        strokeDash=alt.StrokeDash("line:N", scale=dashes, legend=None),
    )
    return fitted(area + line)


def _few(known: Sequence[tuple[Trainees, Sequence[Point]]]) -> bool:
    """Whether there are so few places that each is marked."""
    return max(len(points) for _, points in known) < 4


def legend_of(lines: Sequence[tuple[str, Look]]) -> Iterator[dict[str, str]]:
    """{label, colour, kind} of each, as the page shows them."""
    for label, look in lines:
        yield {"label": short(label, 120), "colour": look.colour, "kind": look.kind}
