"""summary.json: the scores, gains, weights and seconds of a run in one file, for programs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from openklear import __version__
from openklear.durable.files import read_json, write_json
from openklear.evaluation.gains import gains
from openklear.evaluation.results import RESULTS, read_results
from openklear.recipe.schema import Recipe
from openklear.reporting.model_card import leave_cards
from openklear.run.plan import Stage


def write_summary(root: Path, recipe: Recipe, done: Sequence[Stage]) -> dict[str, Any]:
    """What the finished stages `done` found, also written to `root`/summary.json, and into the cards of the models.

    scores: the rows of all evaluations in order {stage, benchmark, domain, level, metric, k, value, low, high,
    problems, of, stopped_by_length, unscorable}, where stage is the one that made the model (base, sft, rl-NAME);
    gains: what each stage gained, paired over problems ({benchmark, domain, from, to, gain, low, high, problems});
    benchmarks: what each evaluation asked, what it could not ask, and the form of the completions; rows: what the
    template and the limits left of the prepared rows, by role, source and consumer; weights: hash of each model that
    was left; seconds: wall seconds of each stage, summed over its attempts; recipe: resolved, as JSON; seed; version
    of the package.
    """
    evaluations = [read_json(root / stage.name / "scores.json") for stage in done if stage.kind == "evaluate"]
    models = {stage.name.removeprefix("evaluate-"): root / stage.name for stage in done if stage.kind == "evaluate"}
    records = {stage.name: read_json(root / stage.name / "stage.json") for stage in done}
    found = {
        "scores": list(chain.from_iterable(one["scores"] for one in evaluations)),
        "gains": gains({name: read_results(place / RESULTS) for name, place in models.items()}),
        "benchmarks": list(chain.from_iterable(one["benchmarks"] for one in evaluations)),
        "rows": list(chain.from_iterable(_rows(root / stage.name) for stage in done if stage.kind == "encode")),
        "weights": {s.name: records[s.name]["weights"] for s in done if s.model},
        "seconds": {s.name: records[s.name]["seconds"] for s in done},
        "recipe": recipe.model_dump(mode="json"),
        "seed": recipe.seed,
        "version": __version__,
    }
    write_json(root / "summary.json", found)
    leave_cards(root, found)
    return found


def _rows(directory: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_json(directory / "rows.json")["roles"]
    return found
