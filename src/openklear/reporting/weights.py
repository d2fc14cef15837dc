"""The figure of gradient weights: what each objective does with a token, by its ratio and the sign of its advantage.

Two rows: w in d loss / d log pi = -A w, and w / pi, the push on the token's probability itself, in units of 1 / pi_old
(d loss / d pi = -A w / pi). The second shows which losses keep pushing a token down while it vanishes.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import altair as alt
import torch
import vl_convert

from openklear.errors import UsageError
from openklear.objectives.policy import CATALOG
from openklear.reporting.charts import svg

POINTS = 241
FLOOR = 1e-3
"""Smallest value drawn on the logarithmic axis of w / pi; zeros lie on it."""
TALLEST = 5.0
"""w above this leaves the panel: for A < 0 many losses follow r without end."""
COLOURS = ("#2563eb", "#dc2626", "#d97706", "#059669", "#7c3aed", "#0891b2", "#be185d", "#65a30d", "#64748b", "#92400e")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
FORMATS = (".svg", ".png", ".html")

Chosen = Mapping[str, Mapping[str, Any]]
"""Name of an objective -> its numbers."""


def curves(chosen: Chosen, low: float, high: float) -> list[dict[str, Any]]:
    """Rows of the figure: objective, sign, ratio, w and w / pi at log-spaced ratios from `low` to `high`.

    At a jump of w the rows hold both sides, so that it is drawn upright.
    """
    grid = torch.logspace(torch.tensor(low).log10().item(), torch.tensor(high).log10().item(), POINTS).double()
    rows: list[dict[str, Any]] = []
    for name, numbers in chosen.items():
        for positive in (True, False):
            ratios = _with_jumps(name, numbers, positive, grid)
            weights = CATALOG[name].weight(ratios, torch.full(ratios.shape, positive), **numbers)
            line = {"objective": CATALOG[name].title, "sign": "A > 0" if positive else "A < 0"}
            for i, (r, w) in enumerate(zip(ratios.tolist(), weights.tolist(), strict=True)):
                rows.append({**line, "ratio": r, "w": w, "w_over_pi": max(w / r, FLOOR), "order": i})
    return rows


def figure(chosen: Chosen, low: float, high: float) -> str:
    """The figure as one `<svg>` element."""
    rows = curves(chosen, low, high)
    names = [CATALOG[name].title for name in chosen]
    base = alt.Chart(alt.InlineData(values=rows)).mark_line(strokeWidth=2, opacity=0.9, clip=True)
    ratio = alt.X(
        "ratio:Q",
        title="r = π / π_old",
        scale=alt.Scale(type="log", domain=[low, high], nice=False),
        axis=alt.Axis(values=_ticks(low, high), format="~g"),
    )
    colour = alt.Color("objective:N", sort=names, scale=alt.Scale(domain=names, range=COLOURS))
    dash = alt.StrokeDash("objective:N", sort=names, scale=alt.Scale(domain=names, range=DASHES))
    common = {"x": ratio, "color": colour, "strokeDash": dash, "order": alt.Order("order:Q")}
    weight = alt.Y(
        "w:Q", title="w, the weight on log π", scale=alt.Scale(domain=[0, min(TALLEST, max(r["w"] for r in rows))])
    )
    top = max(row["w_over_pi"] for row in rows)
    push = alt.Y(
        "w_over_pi:Q",
        title="w / π, in 1 / π_old (0: the floor)",
        scale=alt.Scale(type="log", domain=[FLOOR, top]),
        axis=alt.Axis(values=_ticks(FLOOR, top), format="~g"),
    )
    panels = [_panel(base, sign, y, common) for y, sign in product((weight, push), ("A > 0", "A < 0"))]
    return svg(alt.concat(*panels, columns=2).resolve_scale(y="independent"))


def write(path: Path, chosen: Chosen, low: float, high: float) -> None:
    """Draw into an SVG, PNG or HTML file, by the suffix; the page is self-contained and without scripts."""
    if path.suffix not in FORMATS:
        raise UsageError(f"{path}: a figure is {', '.join(FORMATS)}; give a file name that ends in one of these")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path}: the directory {path.absolute().parent} does not exist; create it first")
    drawn = figure(chosen, low, high)
    if path.suffix == ".png":
        path.write_bytes(vl_convert.svg_to_png(drawn, scale=2))
    else:
        path.write_text(drawn if path.suffix == ".svg" else _page(drawn, chosen), encoding="utf-8")


def _panel(base: alt.Chart, sign: str, y: alt.Y, common: Mapping[str, Any]) -> alt.Chart:
    title = f"{sign}: {'reinforced' if sign == 'A > 0' else 'pushed down'}"
    return (
        base.transform_filter(alt.datum.sign == sign)
        .encode(y=y, **common)
        .properties(title=title, width=330, height=220)
    )


def _ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 times the powers of ten between the two."""
    found = [m * 10.0**e for e, m in product(range(-6, 7), (1, 2, 5))]
    return [round(tick, 6) for tick in found if low <= tick * 1.0001 and tick <= high * 1.0001]


def _with_jumps(name: str, numbers: Mapping[str, Any], positive: bool, grid: torch.Tensor) -> torch.Tensor:
    """The grid, with points added by bisection close to both sides of each jump of w."""
    sign = torch.full(grid.shape, positive)
    weight = CATALOG[name].weight(grid, sign, **numbers)
    extra = []
    for i in ((weight[1:] - weight[:-1]).abs() > 0.2 * weight[1:].maximum(weight[:-1]).clamp(min=0.2)).nonzero():
        left, right = grid[i], grid[i + 1]
        for _ in range(30):
            middle = (left + right) / 2
            values = CATALOG[name].weight(torch.cat([left, middle, right]), torch.full((3,), positive), **numbers)
            nearer = (values[1] - values[0]).abs() > (values[2] - values[1]).abs()
            left, right = (left, middle) if nearer else (middle, right)
        extra += [left, right]
    return torch.cat([grid, *extra]).sort().values


def _page(drawn: str, chosen: Chosen) -> str:
    rows = ""
    for name, numbers in chosen.items():
        entry = CATALOG[name]
        cells = (entry.title, entry.positive, entry.negative, _shown(numbers), entry.source)
        rows += f"<tr><td>{'</td><td>'.join(map(html.escape, cells))}</td></tr>"
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Gradient weights of policy losses</title>'
        "<style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1f2933}"
        "svg{max-width:100%;height:auto}table{border-collapse:collapse;font-size:13px}"
        "td,th{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #e8ecf0;vertical-align:top}</style>"
        "<h1>Gradient weights of policy losses</h1>"
        "<p>d loss / d log pi = -A w(r, sign of A), with r = pi / pi_old. Below: w / pi, the push on the probability "
        f"itself.</p>{drawn}<table><tr><th>loss</th><th>w, A &gt; 0</th><th>w, A &lt; 0</th><th>numbers</th>"
        f"<th>source</th></tr>{rows}</table></html>"
    )


def _shown(numbers: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value:g}" for key, value in numbers.items() if value is not None)
