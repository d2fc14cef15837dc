"""The figures of a study: differences and scores by seed, and the curves of the arms' training with their bands."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

import altair as alt

from openklear.ablation.definition import Measure, Study
from openklear.ablation.findings import ArmScore, ComparedArms, Findings
from openklear.ablation.looks import interval, is_known, levels, looks
from openklear.ablation.units import MeasureUnit
from openklear.reporting.charts import INK, MUTED, WIDTH, Panel, fitted, table
from openklear.reporting.texts import short

LINE = 13
"""Height of a line of text, in pixels."""
_TEXT = 53
"""Characters of a line, its numbers included."""
_BAR = 30
"""Pixels of a row below its label."""
_SPREAD = 7.0
"""Seeds of a row lie in their order from so many pixels above its bar to as many below."""


def forest(study: Study, measure: Measure, found: Findings) -> Panel | None:
    """The differences of a measure: a row a comparison, a point a seed, the two-way interval as a bar, the zero line.

    None where nothing was compared.
    """
    mine = [one for one in found.compared if one.measure == measure and not math.isnan(one.effect.value)]
    if not mine:
        return None
    first = {one.label_before for one in mine}
    before = first.pop() if len(first) == 1 else None
    rows = [_compared_row(study, one, alone=before is not None) for one in mine]
    title = f"Difference from {short(before)}" if before else "Differences"
    note = (
        "Points: one seed each, in their order from top to bottom. Bar and diamond: 95 % two-way interval and mean. "
        "A full diamond: a difference was seen."
    )
    drawn = _rows_drawn(rows, measure.unit.axis, zero=True)
    return Panel(f"{title}, {measure.title}", drawn, note=note)


def scores_by_seed(study: Study, measure: Measure, found: Findings, samples: int) -> Panel | None:
    """The scores of a measure: a row an arm, a point a seed, the arm's interval as a bar. None without scores."""
    mine = [one for one in found.scores if one.measure == measure.name and one.by_seed]
    if not mine:
        return None
    labels = score_labels(study, measure, found)
    rows = [_score_row(study, one, labels[one.arm, one.model], measure.unit) for one in mine]
    note = "Points: one seed each, in their order from top to bottom. Bar and diamond: 95 % interval and mean."
    drawn = _rows_drawn(rows, level_head(measure, samples), zero=False)
    what = "Losses" if measure.kind == "loss" else "Scores"
    return Panel(f"{what}, {measure.title}", drawn, note=note)


def level_head(measure: Measure, samples: int) -> str:
    """What the levels of a measure are: `avg@8, %`."""
    return f"loss, {measure.unit.name}" if measure.kind == "loss" else f"avg@{samples or 'k'}, %"


def score_labels(study: Study, measure: Measure, found: Findings) -> Mapping[tuple[str, str], str]:
    """(arm, model) -> what its row is called: the arm, and its model where the measure has several."""
    mine = [one for one in found.scores if one.measure == measure.name]
    several = len({one.model for one in mine}) > 1
    titles = {arm.name: arm.title for arm in study.arm}
    return {(one.arm, one.model): f"{titles[one.arm]}, {one.model}" if several else titles[one.arm] for one in mine}


def _compared_row(study: Study, one: ComparedArms, *, alone: bool) -> dict[str, Any]:
    known, unit = is_known(one.effect), one.measure.unit
    moved = unit.difference(one.effect.value)
    return {
        "label": one.label_after if alone else f"{one.label_before} → {one.label_after}",
        "text": f"{moved} {interval(one.effect, unit)}" if known else moved,
        "mean": unit.scale * one.effect.value,
        "low": unit.scale * one.effect.low if known else None,
        "high": unit.scale * one.effect.high if known else None,
        "seeds": [unit.scale * value for _, value in one.by_seed],
        "colour": looks(study)[one.comparison.after.partition(":")[0]].colour,
        "full": one.seen,
    }


def _score_row(study: Study, one: ArmScore, label: str, unit: MeasureUnit) -> dict[str, Any]:
    known = not (math.isnan(one.low) or math.isnan(one.high))
    return {
        "label": label,
        "text": f"{unit.level(one.mean)} {levels(one.low, one.high, unit)}" if known else unit.level(one.mean),
        "mean": unit.scale * one.mean,
        "low": unit.scale * one.low if known else None,
        "high": unit.scale * one.high if known else None,
        "seeds": [unit.scale * value for _, value in one.by_seed],
        "colour": looks(study)[one.arm].colour,
        "full": True,
    }


def _rows_drawn(rows: Sequence[Mapping[str, Any]], title: str, *, zero: bool) -> str:
    """The rows below one another, each with its label over it, so that a narrow page has room for long ones."""
    bars: list[dict[str, Any]] = []
    dots: list[dict[str, Any]] = []
    end = 0.0
    for row in rows:
        most = _TEXT - len(row["text"])
        label = wrap(short(row["label"], 2 * most - 8), most)[:2] or [""]
        top = end + LINE * len(label)
        end = top + _BAR
        y = top + _BAR / 2 - 2
        bars.append(
            {**row, "label": label, "first": top - LINE * (len(label) - 1), "below": top + 3, "y": y, "end": end}
        )
        dots += [{"x": x, "y": y + at, "colour": row["colour"]} for x, at in _spread(row["seeds"])]
    scale = alt.Scale(domain=[end, 0], nice=False)
    down = alt.Y("y:Q", axis=None, scale=scale)
    across = _across([*_ends(rows), *([0.0] if zero else [])], title)
    base = table(bars).encode(y=down, color=alt.Color("colour:N", scale=None))
    bar = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=7, opacity=0.3)
    layers = [
        bar.encode(x=across("low"), x2="high:Q"),
        table(dots).encode(x=across("x"), y=down, color=alt.Color("colour:N", scale=None)).mark_circle(size=18),
        *(_diamond(base, full).encode(x=across("mean")) for full in (True, False)),
        *_texts(base, scale),
    ]
    if zero:
        rule = table([{**bar, "at": 0} for bar in bars]).mark_rule(color=INK, strokeDash=[3, 3])
        layers.insert(0, rule.encode(x=across("at"), y=alt.Y("below:Q", axis=None, scale=scale), y2="end:Q"))
    return fitted(alt.LayerChart(layer=layers), WIDTH, round(end) + 46)


def _spread(values: Sequence[float]) -> list[tuple[float, float]]:
    """(value, pixels from the middle of its row) of each seed that is known."""
    step = 2 * _SPREAD / max(len(values) - 1, 1)
    from_ = -_SPREAD if len(values) > 1 else 0.0
    return [(value, from_ + step * place) for place, value in enumerate(values) if not math.isnan(value)]


def _ends(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    values: list[float | None] = []
    for row in rows:
        values += [*row["seeds"], row["mean"], row["low"], row["high"]]
    return [value for value in values if value is not None and not math.isnan(value)]


def _across(ends: Sequence[float], title: str) -> Callable[[str], alt.X]:
    """The axis that all layers share, for a field of theirs: from the least to the greatest, and a little more."""
    low, high = min(ends), max(ends)
    more = 0.04 * (high - low) or 1.0
    scale = alt.Scale(domain=[low - more, high + more], nice=False, zero=False)
    return lambda name: alt.X(f"{name}:Q", title=title, scale=scale, axis=alt.Axis(tickCount=5))


def _diamond(base: alt.Chart, full: bool) -> alt.Chart:
    """The means: full where a difference was seen, else empty."""
    chosen: alt.Chart = base.transform_filter(f"datum.full == {str(full).lower()}")
    fill: dict[str, Any] = {} if full else {"fill": "#ffffff"}
    drawn: alt.Chart = chosen.mark_point(shape="diamond", size=95, opacity=1, strokeWidth=1.8, filled=full, **fill)
    return drawn


def _texts(base: alt.Chart, scale: alt.Scale) -> Iterator[alt.Chart]:
    """Each row's label at the left, its numbers at the right."""
    at_top = base.encode(y=alt.Y("first:Q", axis=None, scale=scale), color=alt.value(INK))
    line: dict[str, Any] = {"baseline": "alphabetic", "dy": -2, "fontSize": 11}
    halo: dict[str, Any] = {"stroke": "#ffffff", "strokeWidth": 4}  # what runs behind a text must not cross it
    for edge in (halo, {}):
        labels = at_top.mark_text(align="left", lineHeight=LINE, **line, **edge)
        yield labels.encode(x=alt.value(0), text="label:N")
        numbers = at_top.mark_text(align="right", **line, **edge)
        yield numbers.encode(x=alt.value("width"), text="text:N", color=alt.value(MUTED))
