"""Figures as SVG text, drawn by Altair and vl-convert: no script in the page, so a report opens anywhere, offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import vl_convert

from openklear.evaluation.scores import Row, labels, totals
from openklear.verifiers.domains import DOMAINS

INK = "#1f2933"
MUTED = "#7b8794"
PALETTE = ["#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2"]

_CONFIG: dict[str, Any] = {
    "background": None,
    "padding": {"left": 24, "right": 24, "top": 5, "bottom": 5},  # browsers' fonts are wider than the one measured with
    "font": "ui-sans-serif, system-ui, Helvetica, Arial, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": MUTED,
        "titleColor": MUTED,
        "titleFontWeight": "normal",
        "gridColor": "#e8ecf0",
        "domainColor": "#cbd2d9",
        "tickColor": "#cbd2d9",
    },
    "legend": {"title": None, "orient": "top", "labelColor": INK},
    "title": {"color": INK, "fontSize": 13, "anchor": "start", "fontWeight": 600},
    "range": {"category": PALETTE},
    "header": {"labelColor": INK, "title": None},
}


def domain_colour(name: str) -> str:
    """A domain's colour, the same in all figures: by its place in the table of domains."""
    return PALETTE[list(DOMAINS).index(name) % len(PALETTE)] if name in DOMAINS else MUTED


def svg(chart: alt.TopLevelMixin) -> str:
    """The chart as one `<svg>` element."""
    spec = chart.to_dict(validate=False)
    return vl_convert.vegalite_to_svg({**spec, "config": _CONFIG})


def _inline(rows: Sequence[Row]) -> alt.InlineData:
    return alt.InlineData(values=[dict(row) for row in rows])


def accuracy(scores: Sequence[Row]) -> str:
    """avg@k of every benchmark through the stages, each with its own k and its 95 % interval over problems."""
    rows = _with_series(totals(scores))
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    series = list(dict.fromkeys(row["series"] for row in rows))
    base = alt.Chart(_inline(rows)).encode(
        x=alt.X("stage:N", sort=stages, title=None, axis=alt.Axis(labelAngle=0)),
        xOffset=alt.XOffset("series:N", sort=series, scale=alt.Scale(paddingOuter=1)),
        color=alt.Color("series:N", scale=alt.Scale(domain=series, range=PALETTE), legend=alt.Legend(columns=4)),
    )
    axis = alt.Axis(format="%", title="held-out accuracy")
    bars = base.mark_rule(strokeWidth=2).encode(
        y=alt.Y("low:Q", scale=alt.Scale(domain=[0, 1]), axis=axis), y2=alt.Y2("high:Q")
    )
    line = base.mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=70)).encode(y=alt.Y("value:Q"))
    text = base.mark_text(dx=24, dy=-8, fontSize=11).encode(y="value:Q", text=alt.Text("value:Q", format=".1%"))
    return svg((bars + line + text).properties(width=620, height=280))


def by_level(scores: Sequence[Row]) -> str:
    """avg@k by difficulty level, one panel a benchmark."""
    rows = [r for r in scores if r["metric"] == "avg" and r["level"] is not None and r["value"] is not None]
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    values = _with_series(rows)
    series = list(dict.fromkeys(row["series"] for row in values))
    chart = (
        alt.Chart(_inline(values))
        .mark_bar()
        .encode(
            x=alt.X("level:N", title="level", axis=alt.Axis(labelAngle=0)),
            xOffset=alt.XOffset("stage:N", sort=stages),
            y=alt.Y("value:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", title="accuracy")),
            color=alt.Color("stage:N", sort=stages, scale=alt.Scale(domain=stages, range=_shades(len(stages)))),
        )
        .properties(width=330, height=190)
        .facet(facet=alt.Facet("series:N", sort=series), columns=2)
    )
    return svg(chart)


def _with_series(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows with what their curve is called: the benchmark and its own k."""
    names = labels(rows)
    return [{**row, "series": f"{names[row['benchmark'], row['domain']]}, avg@{row['k']}"} for row in rows]


def _shades(count: int) -> list[str]:
    """From pale to dark, for what has an order; more than six repeat the darkest."""
    shades = ["#cbd5e1", "#93c5fd", "#3b82f6", "#1d4ed8", "#1e3a8a", "#172554"]
    return [shades[min(i, len(shades) - 1)] for i in range(count)]


def lines(title: str, rows: Sequence[Row], keys: Mapping[str, str], x: str, form: str = "~g") -> str | None:
    """One panel of curves: `keys` maps a metric to its label. None where no row has any of them."""
    values: list[dict[str, Any]] = []
    for key, label in keys.items():
        told = [row for row in rows if isinstance(row.get(key), int | float)]
        values += [{"x": row[x], "y": row[key], "series": label} for row in told]
    if not values:
        return None
    several = len({v["series"] for v in values}) > 1
    chart = (
        alt.Chart(_inline(values), title=title)
        .mark_line(strokeWidth=1.6, point=len({v["x"] for v in values}) < 4)
        .encode(
            x=alt.X("x:Q", title=x, axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("y:Q", title=None, axis=alt.Axis(format=form), scale=alt.Scale(zero=False)),
            color=alt.Color("series:N", sort=list(keys.values()), legend=alt.Legend() if several else None),
        )
        .properties(width=270, height=140)
    )
    return svg(chart)


def histogram(title: str, edges: Sequence[float], counts: Mapping[str, Sequence[float]]) -> str:
    """Ratio histograms by sign of the advantage, on a logarithmic count axis so that the tails can be seen."""
    values: list[dict[str, Any]] = []
    for label, column in counts.items():
        for order, (low, high, count) in enumerate(zip(edges, edges[1:], column, strict=False)):
            if count > 0:
                values.append({"bin": f"{low:.2f} - {high:.2f}", "order": order, "count": count, "series": label})
    chart = (
        alt.Chart(_inline(values), title=title)
        .mark_bar()
        .encode(
            x=alt.X("bin:N", sort=alt.SortField("order"), title="ratio", axis=alt.Axis(labelAngle=-60)),
            xOffset="series:N",
            y=alt.Y("count:Q", scale=alt.Scale(type="symlog"), title="tokens", axis=alt.Axis(format="~s")),
            color="series:N",
        )
        .properties(width=620, height=160)
    )
    return svg(chart)


def seconds(values: Mapping[str, float]) -> str:
    """Wall seconds by stage."""
    rows = [{"stage": k, "seconds": v} for k, v in values.items()]
    chart = (
        alt.Chart(_inline(rows))
        .mark_bar(color="#94a3b8")
        .encode(y=alt.Y("stage:N", sort=None, title=None), x=alt.X("seconds:Q", title="wall seconds"))
        .properties(width=560, height=alt.Step(20))
    )
    return svg(chart)
