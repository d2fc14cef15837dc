"""What the figures of all pages share. They are SVG text, drawn by Altair and vl-convert: no script in the page, so a
report opens anywhere, offline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import vl_convert

from openklear.verifiers.domains import DOMAINS

INK = "#1f2933"
MUTED = "#7b8794"
PALETTE = ["#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2"]
BETTER, WORSE = "#059669", "#dc2626"
WIDTH, HEIGHT = 350, 200
"""Of a panel, axes included: a third of a wide page, the whole width of a narrow one."""

DIGITS = 9
"""Far more than a figure shows."""

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


_PADDING = {"left": 12, "right": 20, "top": 6, "bottom": 4}


@dataclass(frozen=True, slots=True)
class Panel:
    """A figure with what the page writes around it: text of the page never runs into the drawing."""

    title: str
    svg: str
    legend: tuple[tuple[str, str], ...] = ()
    """(label, colour)."""
    note: str = ""
    wide: bool = False
    """As wide as the page; a narrow page scrolls it."""


def domain_colour(name: str) -> str:
    """A domain's colour, the same in all figures: by its place in the table of domains."""
    return PALETTE[list(DOMAINS).index(name) % len(PALETTE)] if name in DOMAINS else MUTED


def svg(chart: alt.TopLevelMixin) -> str:
    """The chart as one `<svg>` element."""
    spec = rounded(chart.to_dict(validate=False))
    return vl_convert.vegalite_to_svg({**spec, "config": _CONFIG})


def rounded(value: Any) -> Any:
    """The same with every number to `DIGITS` digits: the last bits of a mean are not the same on every processor, and
    a figure's text would show them."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list | tuple) else value


def fitted(chart: alt.Chart | alt.LayerChart, width: int = WIDTH, height: int = HEIGHT) -> str:
    """The same, with its axes inside the size."""
    fit = alt.AutoSizeParams(type="fit", contains="padding")
    return svg(chart.properties(width=width, height=height, autosize=fit, padding=_PADDING))


def table(rows: Sequence[dict[str, Any]]) -> alt.Chart:
    """A chart of these rows, which stand in the specification itself."""
    return alt.Chart(alt.InlineData(values=list(rows)))


def shades(count: int) -> list[str]:
    """From pale to dark, for what has an order; more than six repeat the darkest."""
    found = ["#cbd5e1", "#93c5fd", "#3b82f6", "#1d4ed8", "#1e3a8a", "#172554"]
    return [found[min(i, len(found) - 1)] for i in range(count)]
