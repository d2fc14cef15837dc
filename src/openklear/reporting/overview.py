"""The head of a run's page: what was trained on what, and what each stage gained, with its interval."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from openklear.evaluation.lines import asked_by_place, beside, not_asked_text, place_of, points, problems_text
from openklear.evaluation.results import Series
from openklear.evaluation.scores import Row, labels
from openklear.recipe.schema import PretrainedModel, Recipe, TinyModel
from openklear.reporting.standings import direction

ROLES = {"demonstrations": "demonstrations", "problems": "problems", "heldout": "held-out problems"}
"""Data sets that are named at the head of the page."""


def model_text(recipe: Recipe, base: Path) -> tuple[str, str]:
    """Which model the run began with, and where it came from."""
    size = parameters(base / "model")
    count = f", {amount(size)} parameters" if size else ""
    if isinstance(recipe.model, PretrainedModel):
        path = recipe.model.path
        return (Path(path).name or path) + count, path
    shape = f"hidden size {recipe.model.hidden_size}, {recipe.model.layers} layers" if recipe.model else ""
    return f"tiny{count}", f"made from scratch, {shape}"


def from_scratch(recipe: Recipe) -> bool:
    """Whether the base model has random weights: what is gained over it is gained over nothing."""
    return isinstance(recipe.model, TinyModel)


def parameters(model: Path) -> int | None:
    """Numbers in the model's safetensors files, from their heads alone; None where there are none."""
    total = 0
    for path in sorted(model.glob("*.safetensors")):
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            head = json.loads(file.read(length))
        total += sum(math.prod(one["shape"]) for name, one in head.items() if name != "__metadata__")
    return total or None


def amount(number: int) -> str:
    """`197,120`, `134.5 M`, `1.54 B`."""
    if number < 1_000_000:
        return f"{number:,}"
    return f"{number / 1e6:.1f} M" if number < 1_000_000_000 else f"{number / 1e9:.2f} B"


def data_lines(funnel: Sequence[Row], rows: Sequence[Row]) -> list[tuple[str, str]]:
    """(what, its sources with the rows that were used): after curation, and after the template where that is known."""
    used: dict[str, dict[str, int]] = {}
    for line in funnel:
        used.setdefault(line["dataset"], {})[line["source"]] = line["kept"]
    for row in rows:
        if row["consumer"] != "validation" and row["source"] in used.get(row["role"], {}):
            used[row["role"]][row["source"]] = min(used[row["role"]][row["source"]], row["kept"])
    return [(words, _named(used[role])) for role, words in ROLES.items() if role in used]


def _named(used: Mapping[str, int]) -> str:
    """`careful (2,440), sloppy (2,476)`; sources that nothing is left of are not named."""
    return ", ".join(f"{source} ({count:,})" for source, count in used.items() if count) or "none"


def cards(scores: Sequence[Row], gains: Sequence[Row], asked: Sequence[Row], *, scratch: bool) -> list[dict[str, Any]]:
    """One for each benchmark: its stages, each with its gain over the one before it and its score."""
    names, whole = labels(scores), [row for row in scores if row["metric"] == "avg" and row["level"] is None]
    return [_card(series, name, whole, gains, asked, scratch) for series, name in names.items()]


def _card(
    series: Series, name: str, scores: Sequence[Row], gains: Sequence[Row], asked: Sequence[Row], scratch: bool
) -> dict[str, Any]:
    mine = [row for row in scores if (row["benchmark"], row["domain"]) == series]
    found = [row for row in gains if (row["benchmark"], row["domain"]) == series]
    steps = {row["to"]: row for row in reversed(found)}  # the first row of a stage is over the stage before it
    what = asked_by_place(asked)
    rows = [
        {
            "stage": row["stage"],
            "score": None if row["value"] is None else f"{100 * row['value']:.1f} %",
            "interval": interval(row, 100),
            "over": [problems_text(row) + not_asked_text(what.get(place_of(row))), *beside(row)],
            "gain": gain_cell(steps.get(row["stage"]), scratch=scratch),
        }
        for row in mine
    ]
    last = mine[-1]
    return {
        "benchmark": name,
        "k": last["k"],
        "problems": problems_text(last).replace("problem", "held-out problem"),
        "rows": rows,
        "whole": list(_whole(found, [row["stage"] for row in mine], scratch)),
    }


def gain_cell(row: Row | None, *, scratch: bool) -> dict[str, str] | None:
    """A gain as a cell shows it; None where there is none."""
    if row is None:
        return None
    note = "over random weights" if scratch and row["from"] == "base" else f"over {row['from']}"
    span = f"{points(row['low'])} to {points(row['high'])}"
    return {"points": points(row["gain"]), "interval": span, "direction": direction(row), "note": note}


def _whole(gains: Sequence[Row], stages: Sequence[str], scratch: bool) -> Iterator[dict[str, str]]:
    """What the last stage gained over base and sft, where that is not a step of its own."""
    before = dict(zip(stages[1:], stages, strict=False))
    for row in gains:
        if row["from"] != before.get(row["to"]) and not (scratch and row["from"] == "base"):
            cell = gain_cell(row, scratch=scratch)
            assert cell is not None
            yield {**cell, "step": f"{row['from']} → {row['to']}"}


def interval(row: Row, scale: float) -> str:
    """`83.3 to 89.5`; nothing where there is none."""
    if row["value"] is None or row["low"] is None:
        return ""
    return f"{scale * row['low']:.1f} to {scale * row['high']:.1f}"
