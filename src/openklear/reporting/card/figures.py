"""The card's figures: drawn for HTML by Altair as in `reporting.charts`, and in letters for Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from openklear.curation.profile import LENGTH_EDGES, LengthCounts
from openklear.reporting.card.page import Figure
from openklear.reporting.charts import INK, MUTED, domain_colour, svg
from openklear.reporting.texts import NOT_STATED, short, sorted_values

KEPT, GONE = "#2563eb", "#fbbf24"
STEP_COLOURS = (
    *("#f59e0b", "#dc2626", "#9ca3af", "#7c3aed", "#0891b2", "#be185d", "#65a30d", "#92400e", "#475569", "#f472b6"),
    *("#14b8a6", "#a16207", "#fb7185", "#6366f1"),
)
DATASET_COLOURS = {"demonstrations": "#2563eb", "problems": "#d97706", "validation": "#059669", "heldout": "#7c3aed"}
WIDTH = 470
LABEL_PIXELS = 230
MOST_STRIPS, MOST_LEVELS = 40, 24
"""A figure of more than these cannot be read; the tables have all of them."""
_SPARKS = " ▁▂▃▄▅▆▇█"

Line = Mapping[str, Any]


def funnel(dataset: str, lines: Sequence[Line]) -> Figure:
    """Rows of a data set after each step that read or dropped some, all its sources together."""
    steps: dict[str, list[int]] = {}
    for line in lines:
        total = steps.setdefault(line["step"], [0, 0])
        total[0] += line["kept"]
        total[1] += line["dropped"]
    first = next(iter(steps))
    shown = {step: total for step, total in steps.items() if step == first or total[1]}
    most = max(1, sum(shown[first]))
    values: list[dict[str, Any]] = []
    for step, (kept, gone) in shown.items():
        bar = {"step": short(step, 40), "end": kept + gone, "label": _kept(kept, gone)}
        values += [{**bar, "what": "kept", "rows": kept}, {**bar, "what": "dropped", "rows": gone}]
    y = alt.Y("step:N", sort=[short(step, 40) for step in shown], title=None, axis=alt.Axis(**_BARE, labelColor=INK))
    scale = alt.Scale(domain=[0, 1.4 * most], nice=False)
    colour = alt.Scale(domain=["kept", "dropped"], range=[KEPT, GONE])
    base = alt.Chart(alt.InlineData(values=values)).encode(y=y)
    bars = base.mark_bar().encode(
        x=alt.X("rows:Q", scale=scale, axis=None),
        color=alt.Color("what:N", sort=["kept", "dropped"], scale=colour),
        order=alt.Order("what:N", sort="descending"),
    )
    labels = base.transform_filter(alt.datum.what == "kept").mark_text(align="left", dx=6, color=MUTED, fontSize=11)
    drawn = bars + labels.encode(x=alt.X("end:Q", scale=scale), text="label:N")
    title = f"{dataset}: rows after each step"
    wide = max(map(len, shown))
    letters = [f"{step:<{wide}}  {_bar(kept, most)}  {_kept(kept, gone)}" for step, (kept, gone) in shown.items()]
    return Figure(title, svg(drawn.properties(width=WIDTH - 110, height=alt.Step(24))), "\n".join(letters))


def fates(lines: Sequence[Line], *, share: bool = True) -> Figure:
    """Of each source, the rows (or their share) that were kept and that each step dropped; what trains comes first."""
    order = {"demonstrations": 0, "problems": 1}
    ends: dict[str, dict[str, int]] = {}
    for line in sorted(lines, key=lambda line: order.get(line["dataset"], 2)):
        mine = ends.setdefault(short(f"{line['dataset']}: {line['source']}"), {"kept": 0})
        mine["kept"] = line["kept"]
        if line["dropped"]:
            mine[line["step"]] = mine.get(line["step"], 0) + line["dropped"]
    values: list[dict[str, Any]] = []
    for name, mine in ends.items():
        for place, (what, rows) in enumerate(mine.items()):
            values.append({"name": name, "what": short(what, 40), "rows": rows, "order": place})
    steps = ["kept", *dict.fromkeys(short(line["step"], 40) for line in lines if line["dropped"])]
    if share:
        x = alt.X("rows:Q", stack="normalize", title="share of the rows read", axis=alt.Axis(format="%"))
    else:
        x = alt.X("rows:Q", title="rows read", axis=alt.Axis(tickCount=8, tickMinStep=1))
    chart = (
        alt.Chart(alt.InlineData(values=values))
        .mark_bar()
        .encode(
            y=alt.Y(
                "name:N", sort=list(ends), title=None, axis=alt.Axis(**_BARE, labelColor=INK, labelLimit=LABEL_PIXELS)
            ),
            x=x,
            color=alt.Color(
                "what:N",
                sort=steps,
                scale=alt.Scale(domain=steps, range=[KEPT, *STEP_COLOURS, *STEP_COLOURS]),
                legend=alt.Legend(columns=6, columnPadding=24, labelLimit=140),
            ),
            order=alt.Order("order:Q"),
        )
        .properties(width=2 * WIDTH - LABEL_PIXELS - 40, height=alt.Step(22))
    )
    wide = max(map(len, ends), default=0)
    letters = [f"{name:<{wide}}  {_bar(mine['kept'], sum(mine.values()))}" for name, mine in ends.items()]
    return Figure("What became of each source's rows", svg(chart), "\n".join(["full: kept", *letters]))


def lengths(title: str, found: Mapping[tuple[str, str], LengthCounts]) -> Figure:
    """One strip per source: rows by length on a logarithmic axis, each as high as its fullest bin, and the median."""
    counts = {key: one.histogram() for key, one in list(found.items())[:MOST_STRIPS]}
    totals = [sum(bins) for bins in zip(*counts.values(), strict=True)]  # per bin, over the sources
    used = [i for i, rows in enumerate(totals) if rows]
    first, last = max(0, min(used) - 1), min(len(LENGTH_EDGES) - 1, max(used) + 1)
    low, high = _ends(first)[0], _ends(last)[1]
    strips = [_strip(key, rows, found[key], (low, high)) for key, rows in counts.items()]
    axis = alt.Chart(alt.InlineData(values=[{"at": low}, {"at": high}])).mark_point(opacity=0)
    ticks = [10**power for power in range(8) if low <= 10**power <= high] or [round(low), round(high)]
    axis = axis.encode(
        x=alt.X("at:Q", scale=_log(low, high), title="characters", axis=alt.Axis(values=ticks, format="~s", grid=False))
    ).properties(width=WIDTH - 30, height=1)
    chart = alt.vconcat(*strips, axis, spacing=4)
    wide = max(len(_name(key)) for key in counts)
    if len(counts) < len(found):
        title += f" (the first {len(counts)} of {len(found)} sources)"
    letters = [f"{'':<{wide}}  from {round(low):,} to {round(high):,} characters"]
    letters += [f"{_name(key):<{wide}}  {_spark(rows[first : last + 1])}" for key, rows in counts.items()]
    return Figure(title, svg(chart), "\n".join(letters))


def levels(dataset: str, counts: Mapping[tuple[str | None, str | None], int]) -> Figure:
    """Rows of a data set by level and domain."""
    totals: Counter[str | None] = Counter()
    for (_, level), rows in counts.items():
        totals[level] += rows
    named = {level: _word(level) for level in sorted_values(totals)[:MOST_LEVELS]}
    values: list[dict[str, Any]] = [
        {"level": named[level], "domain": _word(domain), "rows": rows}
        for (domain, level), rows in counts.items()
        if level in named
    ]
    domains = sorted({value["domain"] for value in values})
    colours = [domain_colour(domain) for domain in domains]
    chart = (
        alt.Chart(alt.InlineData(values=values))
        .mark_bar()
        .encode(
            x=alt.X("level:N", sort=list(named.values()), title="level", axis=alt.Axis(labelAngle=0, labelColor=INK)),
            y=alt.Y("rows:Q", title="rows", axis=alt.Axis(tickMinStep=1, tickCount=4)),
            color=alt.Color("domain:N", sort=domains, scale=alt.Scale(domain=domains, range=colours)),
        )
        .properties(width=min(WIDTH - 60, max(160, 56 * len(named))), height=150)
    )
    wide, most = max(map(len, named.values())), max(totals.values())
    letters = [f"{word:<{wide}}  {_bar(totals[level], most)}  {totals[level]:,}" for level, word in named.items()]
    return Figure(f"{dataset}: rows by level", svg(chart), "\n".join(letters))


_BARE: dict[str, Any] = {"ticks": False, "domain": False, "labelPadding": 6}


def _strip(key: tuple[str, str], rows: Sequence[int], found: LengthCounts, ends: tuple[float, float]) -> alt.LayerChart:
    values = [{"low": _ends(i)[0], "high": _ends(i)[1], "rows": count} for i, count in enumerate(rows) if count]
    median = found.percentile(50) or 0
    x, y = alt.X("low:Q", scale=_log(*ends), axis=None), alt.Y("rows:Q", axis=None)
    colour = DATASET_COLOURS.get(key[0], MUTED)
    bars = alt.Chart(alt.InlineData(values=values)).mark_rect(
        color=colour, opacity=0.8, stroke="white", strokeWidth=0.5
    )
    rule = alt.Chart(alt.InlineData(values=[{"at": min(max(median, ends[0]), ends[1]), "label": f"{median:,}"}]))
    at = alt.X("at:Q", scale=_log(*ends), axis=None)
    label = f"{_name(key)}  ·  {found.rows:,} rows, median {median:,}"
    title = alt.TitleParams(label, fontSize=11, fontWeight="normal", offset=3)
    rule = rule.mark_rule(color=INK, strokeWidth=1.5).encode(x=at)
    drawn = bars.encode(x=x, x2="high:Q", y=y, y2=alt.datum(0)) + rule
    strip: alt.LayerChart = drawn.properties(width=WIDTH - 30, height=38, title=title)
    return strip


def _ends(index: int) -> tuple[float, float]:
    """A bin as it is drawn; the first and the last, which are open, are drawn one bin wide."""
    ratio = 10 ** (1 / 8)
    low = LENGTH_EDGES[index] if index else LENGTH_EDGES[1] / ratio
    return low, LENGTH_EDGES[index + 1] if index + 1 < len(LENGTH_EDGES) else low * ratio


def _log(low: float, high: float) -> alt.Scale:
    return alt.Scale(type="log", domain=[low, high], nice=False)


def _name(key: tuple[str, str]) -> str:
    return short(f"{key[0]}: {key[1]}")


def _word(value: str | None) -> str:
    return NOT_STATED if value is None else short(value, 24)


def _kept(kept: int, dropped: int) -> str:
    return f"{kept:,}" + (f" (−{dropped:,})" if dropped else "")


def _bar(part: int, whole: int, cells: int = 30) -> str:
    full = round(cells * part / whole) if whole else 0
    return "█" * full + "░" * (cells - full)


def _spark(counts: Sequence[int]) -> str:
    """One letter per bin, as high as its share of the fullest; a bin that is not empty is never blank."""
    most = max(counts) or 1
    return "".join(_SPARKS[-(-count * (len(_SPARKS) - 1) // most)] for count in counts)
