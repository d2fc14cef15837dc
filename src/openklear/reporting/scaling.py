"""How an iteration of RL gets shorter with more GPUs: a figure of a simulation."""

from __future__ import annotations

from typing import Any

import altair as alt

from openklear.reporting.charts import PALETTE, svg, table
from openklear.simulation.summary import Summary


def scaling_svg(summary: Summary) -> str:
    """Seconds of an iteration over GPUs, both logarithmic, a line for each bound on staleness, as one `<svg>`."""
    rows: list[dict[str, Any]] = []
    for best in summary.found:
        if best.outcome is not None:
            rows.append({"gpus": best.gpus, "seconds": best.outcome.seconds, "series": _series(best.staleness)})
    names = list(dict.fromkeys(row["series"] for row in rows))
    sizes = sorted({row["gpus"] for row in rows})
    chart = table(rows).encode(
        x=alt.X("gpus:Q", title="GPUs", scale=alt.Scale(type="log", base=2), axis=alt.Axis(values=sizes, format=",d")),
        y=alt.Y("seconds:Q", title="seconds an iteration", scale=alt.Scale(type="log"), axis=alt.Axis(format=",~r")),
        color=alt.Color("series:N", sort=names, scale=alt.Scale(domain=names, range=PALETTE)),
    )
    lines = chart.mark_line(strokeWidth=1.8, point=True)
    return svg(lines.properties(width=640, height=320))


def _series(staleness: int) -> str:
    return "synchronous" if staleness == 0 else f"staleness at most {staleness}"
