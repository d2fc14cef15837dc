"""Curves over the steps or iterations of a stage, and the histogram of its ratios."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle, pairwise
from typing import Any

import altair as alt

from openklear.evaluation.scores import Row
from openklear.reporting.charts import PALETTE, Panel, fitted, table

POINTS = 240
"""Of a curve; a longer one is drawn as means of neighbours in a band from their least to their greatest."""

NUMBER = ",~r"
"""Plain digits, without zeros at the end."""


def lines(title: str, rows: Sequence[Row], keys: Mapping[str, str], x: str, form: str = NUMBER) -> Panel | None:
    """One panel of curves: `keys` maps a metric to its label. None where no row has any of them.

    The axis begins at zero (below it where values do), so that no small change looks like a large one; where all is
    zero it ends at one.
    """
    curves = {label: _values(rows, key, x) for key, label in keys.items()}
    curves = {label: values for label, values in curves.items() if values}
    if not curves:
        return None
    size = max(map(len, curves.values()))
    step = math.ceil(size / POINTS)
    drawn: list[dict[str, Any]] = []
    for label, values in curves.items():
        drawn += [{**point, "series": label} for point in thinned(values, step)]
    names = list(curves)
    note = f"Each point is the mean of {step} {x}s; the band is from the least to the greatest." if step > 1 else ""
    legend = tuple(zip(names, PALETTE, strict=False)) if len(keys) > 1 else ()
    places = [int(row[x]) for row in rows if x in row]
    return Panel(title, _curves(drawn, names, _across(x, min(places), max(places)), form), legend, note)


def _across(x: str, low: int, high: int) -> alt.X:
    """The axis of all that the stage did, whatever a curve is told of; never without a width."""
    if low == high:
        low, high = low - 1, high + 1
    axis = alt.Axis(values=round_places(low, high), format=",d", labelOverlap=True)
    return alt.X("x:Q", title=x, scale=alt.Scale(domain=[low, high], nice=False), axis=axis)


def round_places(low: int, high: int, most: int = 6) -> list[int]:
    """Whole numbers from low to high, at most `most` and two: every one, or all multiples of 2, 5, 10, 20, 50 .."""
    step, factors = 1, cycle((2, 2.5, 2))
    while (high - low) / step > most:
        step = int(step * next(factors))
    return list(range(-(-low // step) * step, high + 1, step))


def _values(rows: Sequence[Row], key: str, x: str) -> list[tuple[float, float]]:
    """(place, value) of the rows that have a number."""
    told = [(row[x], row[key]) for row in rows if isinstance(row.get(key), int | float)]
    return [(place, value) for place, value in told if math.isfinite(value)]


def thinned(values: Sequence[tuple[float, float]], step: int) -> list[dict[str, float]]:
    """{x, y, low, high} of each `step` neighbours: the mean, and from the least to the greatest."""
    points = []
    for start in range(0, len(values), step):
        some = values[start : start + step]
        ys = [y for _, y in some]
        points.append({"x": some[-1][0], "y": sum(ys) / len(ys), "low": min(ys), "high": max(ys)})
    return points


def _curves(drawn: list[dict[str, Any]], names: Sequence[str], across: alt.X, form: str) -> str:
    ends = [0.0, *(one["low"] for one in drawn), *(one["high"] for one in drawn)]
    up = alt.Scale(domain=[0, 1]) if min(ends) == max(ends) else alt.Scale(zero=True)
    colour = alt.Color("series:N", scale=alt.Scale(domain=list(names), range=PALETTE), legend=None)
    base = table(drawn).encode(x=across, color=colour)
    axis = alt.Axis(format=form, tickCount=5)
    line = base.mark_line(strokeWidth=1.6, point=len({one["x"] for one in drawn}) < 12).encode(
        y=alt.Y("y:Q", title=None, axis=axis, scale=up),
        strokeDash=alt.StrokeDash("series:N", scale=alt.Scale(domain=list(names), range=_DASHES), legend=None),
    )
    band = base.mark_area(opacity=0.18).encode(y=alt.Y("low:Q", title=None, axis=axis, scale=up), y2="high:Q")
    wide = any(one["low"] < one["high"] for one in drawn)
    return fitted(band + line if wide else line)


_DASHES = [[1, 0], [5, 3], [2, 2], [8, 3], [1, 3], [8, 2, 2, 2]]
"""Curves that lie on one another are both seen."""


def histogram(title: str, edges: Sequence[float], counts: Mapping[str, Sequence[float]]) -> Panel:
    """Counts by bin and series, bins in their order from the first that holds anything to the last.

    The axis of counts is logarithmic (linear near zero), so that the tails can be seen.
    """
    totals = [sum(column) for column in zip(*counts.values(), strict=True)]
    used = [number for number, total in enumerate(totals) if total]
    bins = [f"{low:.2f} - {high:.2f}" for low, high in pairwise(edges)][used[0] : used[-1] + 1]
    values: list[dict[str, Any]] = []
    for label, column in counts.items():
        some = zip(bins, column[used[0] : used[-1] + 1], strict=True)
        values += [{"bin": name, "count": count, "series": label} for name, count in some]
    names = list(counts)
    ticks = [0, *(10**power for power in range(1 + int(math.log10(max(totals)))))]
    chart = table(values).encode(
        x=alt.X("bin:N", sort=bins, title="ratio", axis=alt.Axis(labelAngle=-60, labelOverlap=False)),
        xOffset=alt.XOffset("series:N", sort=names),
        y=alt.Y(
            "count:Q",
            scale=alt.Scale(type="symlog", domainMin=0),
            title="tokens, logarithmic",
            axis=alt.Axis(labelExpr="format(datum.value, '~s')", values=ticks),
        ),
        color=alt.Color("series:N", sort=names, scale=alt.Scale(domain=names, range=PALETTE), legend=None),
    )
    return Panel(title, fitted(chart.mark_bar(), 1060, 260), tuple(zip(names, PALETTE, strict=False)), wide=True)
