"""The page of a run, from what its stages left on disk: one HTML file that needs no network and runs no script.

A stage that has not run has no section; a run of an older version lacks what that version did not write.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openklear import __version__
from openklear.data.store import prepared, read_problems
from openklear.durable.files import read_json, stage_record
from openklear.evaluation.gains import gains
from openklear.evaluation.results import RESULTS, ProblemResult, Series, read_results
from openklear.evaluation.scores import Row, labels
from openklear.progress import duration
from openklear.recipe.schema import Recipe
from openklear.recipe.show import resolved_toml
from openklear.reporting import overview, standings, training
from openklear.reporting.card.figures import fates
from openklear.reporting.cases import before_and_after, examples, lost_rows
from openklear.reporting.pages import page


def render(root: Path, recipe: Recipe) -> str:
    """The whole page as text."""
    scores, asked = _evaluations(root, recipe)
    evaluated = _results(root, recipe)
    found, scratch = gains(evaluated), overview.from_scratch(recipe)
    data = prepared(root / "prepare")
    funnel = read_json(data.funnel) if data.funnel.is_file() else []
    problems = {one.id: one for one in read_problems(data.heldout)} if data.heldout.is_file() else {}
    lost = lost_rows(root / "encode")
    model, origin = overview.model_text(recipe, root / "base")
    return page(
        "report.html",
        version=__version__,
        recipe=recipe,
        model=model,
        origin=origin,
        data=overview.data_lines(funnel, lost),
        cards=overview.cards(scores, found, asked, scratch=scratch),
        scores=[row for row in scores if row["level"] is None],
        asked=asked,
        benchmarks=_benchmarks(scores, found, asked, scratch=scratch),
        cases=list(before_and_after(root, evaluated, problems, labels(scores))),
        stages=list(training.sections(root, recipe)),
        funnel=funnel,
        funnel_figure=fates(funnel, share=False).svg if funnel else None,
        lost=lost,
        examples=examples(root / "encode"),
        seconds=_seconds(root, recipe),
        recipe_text=resolved_toml(recipe),
        manifest=read_json(root / "manifest.json"),
    )


def model_stages(recipe: Recipe) -> list[str]:
    """The stages that leave a model, in order."""
    phases = recipe.rl.phase if recipe.rl else ()
    return ["base", *(["sft"] if recipe.sft else []), *(f"rl-{p.name}" for p in phases)]


def _evaluations(root: Path, recipe: Recipe) -> tuple[list[Row], list[Row]]:
    """The scores of all models, and what was asked of each; a run that ended early has fewer."""
    scores: list[Row] = []
    asked: list[Row] = []
    for name in model_stages(recipe):
        path = root / f"evaluate-{name}" / "scores.json"
        if path.is_file():
            found = read_json(path)
            scores += found["scores"]
            asked += found["benchmarks"]
    return scores, asked


def _results(root: Path, recipe: Recipe) -> dict[str, list[ProblemResult]]:
    """The results of each model that was evaluated, problem by problem."""
    found = {name: read_results(root / f"evaluate-{name}" / RESULTS) for name in model_stages(recipe)}
    return {name: results for name, results in found.items() if results}


def _benchmarks(
    scores: Sequence[Row], gained: Sequence[Row], asked: Sequence[Row], *, scratch: bool
) -> list[dict[str, Any]]:
    """The panels of each benchmark. A gain over random weights would hide the others: it is not drawn beside them."""
    told = [row for row in gained if not (scratch and row["from"] == "base")] or list(gained)
    found = []
    for series, name in labels(scores).items():
        mine = (_of(series, scores), _of(series, told), _of(series, asked))
        found.append({"name": name, "panels": standings.panels(*mine)})
    return found


def _of(series: Series, rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if (row["benchmark"], row["domain"]) == series]


def _seconds(root: Path, recipe: Recipe) -> list[dict[str, Any]]:
    """Wall time of each stage that ran, with its share of the longest."""
    names = ["world", "prepare", "card"]
    for model in model_stages(recipe):
        names += [model, *(["encode"] if model == "base" else []), f"evaluate-{model}"]
    records = {name: stage_record(root / name) for name in names}
    took = {name: record["seconds"] for name, record in records.items() if record is not None}
    most = max(took.values(), default=0.0) or 1.0
    return [{"stage": name, "share": one / most, "text": duration(one)} for name, one in took.items()]
