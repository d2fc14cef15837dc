"""The panels of one benchmark: its scores through the stages, what each stage gained, pass@k, levels, and form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from openklear.evaluation.lines import points
from openklear.evaluation.scores import Row
from openklear.reporting.charts import BETTER, INK, MUTED, PALETTE, WORSE, Panel, fitted, shades, table
from openklear.reporting.texts import short, sorted_values
from openklear.think import OPEN

MOST_LEVELS = 8
_SHARE = alt.Axis(format="%", tickCount=5, title=None)


def panels(scores: Sequence[Row], gains: Sequence[Row], asked: Sequence[Row]) -> list[Panel]:
    """Each panel that nothing is known for is left out."""
    told = [row for row in scores if row["value"] is not None]
    found = [accuracy(told), gained(gains), passes(told), by_level(told), stopped(asked), tokens(asked)]
    return [panel for panel in found if panel is not None]


def accuracy(scores: Sequence[Row]) -> Panel | None:
    """avg@k of each stage with its 95 % interval."""
    rows = [dict(row) for row in scores if row["metric"] == "avg" and row["level"] is None]
    if not rows:
        return None
    base = table(rows).encode(x=_stages(rows))
    y = alt.Y("value:Q", scale=alt.Scale(domain=[0, 1]), axis=_SHARE)
    rule = base.mark_rule(strokeWidth=2, color=PALETTE[0]).encode(y=alt.Y("low:Q", axis=_SHARE), y2="high:Q")
    line = base.mark_line(strokeWidth=1, opacity=0.5, color=PALETTE[0]).encode(y=y)
    dot = base.mark_point(filled=True, size=60, opacity=1, color=PALETTE[0]).encode(y=y)
    text = base.mark_text(align="left", dx=8, dy=-7, fontSize=11, color=INK).encode(
        y=y, text=alt.Text("value:Q", format=".1%")
    )
    note = "Bars are 95 % intervals over problems."
    return Panel(f"Accuracy: avg@{rows[0]['k']}", fitted(rule + line + dot + text), note=note)


def gained(gains: Sequence[Row]) -> Panel | None:
    """The paired gain of each stage with its interval, on an axis through zero."""
    if not gains:
        return None
    rows = [
        {
            "step": f"{row['from']} → {row['to']}",
            "low": 100 * row["low"],
            "high": 100 * row["high"],
            "gain": 100 * row["gain"],
            "label": points(row["gain"]),
            "sign": direction(row),
        }
        for row in gains
    ]
    colours = alt.Scale(domain=["better", "worse", "open"], range=[BETTER, WORSE, MUTED])
    order = [row["step"] for row in rows]
    y = alt.Y("step:N", sort=order, title=None, axis=alt.Axis(labelLimit=150, ticks=False, labelColor=INK))
    base = table(rows).encode(y=y, color=alt.Color("sign:N", scale=colours, legend=None))
    x = alt.X("gain:Q", title="points, with 95 % intervals", scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=5))
    rule = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title="points, with 95 % intervals"), x2="high:Q")
    dot = base.mark_point(filled=True, size=60, opacity=1).encode(x=x)
    text = base.mark_text(dy=-10, fontSize=11).encode(x=x, text="label:N")
    zero = table([{"at": 0}]).mark_rule(color=INK, strokeDash=[3, 3]).encode(x="at:Q")
    note = "Paired over problems. Grey: the interval holds zero."
    return Panel("Gain of each stage", fitted(zero + rule + dot + text), note=note)


def direction(row: Row) -> str:
    """Whether a gain's interval lies above zero, below it, or holds it."""
    return "better" if row["low"] > 0 else "worse" if row["high"] < 0 else "open"


def passes(scores: Sequence[Row]) -> Panel | None:
    """pass@k of each stage over k, with 95 % intervals; None where each problem has one sample."""
    rows = [dict(row) for row in scores if row["metric"] == "pass" and row["level"] is None]
    if len({row["k"] for row in rows}) < 2:
        return None
    stages = _names(rows)
    ks = sorted({row["k"] for row in rows})
    colours = shades(len(stages))
    base = table(rows).encode(
        x=alt.X("k:O", sort=ks, title="k", axis=alt.Axis(labelAngle=0), scale=alt.Scale(padding=0.3)),
        color=alt.Color("stage:N", scale=alt.Scale(domain=stages, range=colours), legend=None),
    )
    y = alt.Y("value:Q", scale=alt.Scale(domain=[0, 1]), axis=_SHARE)
    band = base.mark_area(opacity=0.25).encode(y=alt.Y("low:Q", axis=_SHARE), y2="high:Q")
    line = base.mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=40)).encode(y=y)
    note = "At least one of k completions is right; bands are 95 % intervals."
    return Panel("pass@k", fitted(band + line), tuple(zip(stages, colours, strict=True)), note)


def by_level(scores: Sequence[Row]) -> Panel | None:
    """avg@k by difficulty level with 95 % intervals; None where no level is stated."""
    rows = [dict(row) for row in scores if row["metric"] == "avg" and row["level"] is not None]
    if not rows:
        return None
    levels = sorted_values({row["level"]: row["problems"] for row in rows})
    shown = levels[:MOST_LEVELS]
    counts = {row["level"]: row["problems"] for row in rows}
    names = {level: f"{short(level, 12)}|n = {counts[level]:,}" for level in shown}
    rows = [{**row, "name": names[row["level"]]} for row in rows if row["level"] in names]
    stages = _names(rows)
    colours = shades(len(stages))
    axis = alt.Axis(labelAngle=0, labelExpr="split(datum.label, '|')", labelOverlap=False)
    base = table(rows).encode(
        x=alt.X("name:N", sort=list(names.values()), title=None, axis=axis),
        xOffset=alt.XOffset("stage:N", sort=stages),
    )
    bars = base.mark_bar().encode(
        y=alt.Y("value:Q", scale=alt.Scale(domain=[0, 1]), axis=_SHARE),
        color=alt.Color("stage:N", scale=alt.Scale(domain=stages, range=colours), legend=None),
    )
    rules = base.mark_rule(color=INK, opacity=0.6).encode(y=alt.Y("low:Q", axis=_SHARE), y2="high:Q")
    note = "Lines are 95 % intervals; n: problems of the level."
    if len(levels) > len(shown):
        note += f" The first {len(shown)} of {len(levels)} levels."
    return Panel("Accuracy by level", fitted(bars + rules), tuple(zip(stages, colours, strict=True)), note)


def stopped(asked: Sequence[Row]) -> Panel | None:
    """Which shares of the completions have a fault of form, by stage."""
    values = list(_faults([row for row in asked if row["completions"]]))
    if not values:
        return None
    kinds = list(dict.fromkeys(value["what"] for value in values))
    colours = PALETTE[: len(kinds)]
    chart = table(values).encode(
        x=_stages(values),
        xOffset=alt.XOffset("what:N", sort=kinds),
        y=alt.Y("share:Q", scale=alt.Scale(domain=[0, 1]), axis=_SHARE),
        color=alt.Color("what:N", scale=alt.Scale(domain=kinds, range=colours), legend=None),
    )
    text = chart.mark_text(dy=-6, fontSize=9.5, color=INK).encode(text=alt.Text("share:Q", format=".0%"))
    note = f"Well formed: reasoning inside one {OPEN}, an answer after it."
    legend = tuple(zip(kinds, colours, strict=True))
    return Panel("Form of the completions", fitted(chart.mark_bar() + text), legend, note)


def _faults(asked: Sequence[Row]) -> Iterator[dict[str, Any]]:
    kinds = {"stopped_by_length": "stopped by length", "well_formed": "well formed", "unscorable": "unscorable"}
    for key, what in kinds.items():
        if key != "unscorable" or any(row[key] for row in asked):
            for row in asked:
                yield {"stage": row["stage"], "what": what, "share": row[key]}


def tokens(asked: Sequence[Row]) -> Panel | None:
    """Mean tokens of a completion, by stage."""
    rows = [{"stage": row["stage"], "tokens": row["mean_tokens"]} for row in asked if row["completions"]]
    if not rows:
        return None
    base = table(rows).encode(x=_stages(rows), y=alt.Y("tokens:Q", title=None, axis=alt.Axis(tickCount=5, format="~s")))
    text = base.mark_text(dy=-6, fontSize=11, color=INK).encode(text=alt.Text("tokens:Q", format=",.0f"))
    return Panel("Tokens of a completion, mean", fitted(base.mark_bar(color="#94a3b8", width={"band": 0.5}) + text))


def _stages(rows: Sequence[Row]) -> alt.X:
    """The stages in their order, names turned where they would run into one another."""
    names = _names(rows)
    angle = -30 if len(names) * max(map(len, names)) > 36 else 0
    return alt.X("stage:N", sort=names, title=None, axis=alt.Axis(labelAngle=angle, labelColor=INK, labelLimit=110))


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["stage"] for row in rows))
