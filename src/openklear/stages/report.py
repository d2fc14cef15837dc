"""The stage `report`: one self-contained HTML file of the whole run, drawn from what the other stages left on disk."""

from __future__ import annotations

from itertools import chain

from openklear import progress
from openklear.durable.files import read_json, write_atomic
from openklear.reporting.report import render
from openklear.run.context import StageContext
from openklear.tracking import track_scores


def run(context: StageContext) -> None:
    """Write report.html into the run directory and into the stage's own."""
    with progress.task("report", 1, "pages") as advance:
        page = render(context.root, context.recipe)
        advance()
    write_atomic(context.directory / "report.html", page)
    write_atomic(context.root / "report.html", page)
    files = sorted(context.root.glob("evaluate-*/scores.json"), key=lambda path: path.stat().st_mtime)
    scores = chain.from_iterable(read_json(path)["scores"] for path in files)
    track_scores(context.recipe, context.root, context.directory, list(scores))
