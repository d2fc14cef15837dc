"""The page of a run, from what its stages left on disk: one HTML file that needs no network and runs no script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from openklear import __version__
from openklear.data.store import prepared, read_problems
from openklear.durable.files import read_json, read_jsonl, stage_record
from openklear.evaluation.scores import Row, labels, totals
from openklear.objectives.diagnostics import RATIO_EDGES
from openklear.recipe.schema import Phase, Recipe, Sft
from openklear.recipe.show import resolved_toml
from openklear.reporting import charts
from openklear.reporting.card.figures import fates
from openklear.reporting.pages import page
from openklear.reporting.tokens import shown_rollouts
from openklear.types import Problem
from openklear.verifiers.domains import DOMAINS

Panels = tuple[tuple[str, dict[str, str], str], ...]
"""(title, metric -> its label, number format) of each panel."""

EACH_DOMAIN = {f"validation_{name}": name for name in DOMAINS}
SFT_PANELS: Panels = (
    ("Loss per response token", {"loss": "loss"}, "~g"),
    ("Learning rate", {"learning_rate": "learning rate"}, "~g"),
    ("Gradient norm", {"grad_norm": "gradient norm"}, "~g"),
    ("Validation accuracy", EACH_DOMAIN, "%"),
)
RL_PANELS: Panels = (
    ("Reward and accuracy of rollouts", {"reward": "reward", "accuracy": "accuracy"}, "~g"),
    ("Validation accuracy", EACH_DOMAIN, "%"),
    ("Entropy (nats per token)", {"entropy": "entropy"}, "~g"),
    ("Tokens per rollout", {"length_mean": "mean", "length_p95": "95th percentile"}, "~g"),
    (
        "Clip fraction, cells that act",
        {"clip_fraction_high_positive": "A > 0, above", "clip_fraction_low_negative": "A < 0, below"},
        ".2%",
    ),
    (
        "Clip fraction, cells that do not",
        {"clip_fraction_low_positive": "A > 0, below", "clip_fraction_high_negative": "A < 0, above"},
        ".2%",
    ),
    ("Preserved-gradient share", {"preserved_gradient_share": "share"}, ".2%"),
    ("KL to the policy before the updates", {"kl_k1": "k1", "kl_k3": "k3"}, "~g"),
    ("Effective sample size", {"ess": "of the ratios", "gap_ess": "of trainer over sampler"}, ".2%"),
    ("Sampler-trainer gap (k3)", {"gap_k3": "k3"}, ".1e"),
    ("Tokens left out", {"gate_closed": "by the entropy gate", "correction_dropped": "by the correction"}, ".2%"),
    (
        "Groups without advantage",
        {"zero_advantage_all_right": "all right", "zero_advantage_all_wrong": "all wrong"},
        "%",
    ),
    ("Gradient norm", {"grad_norm": "gradient norm"}, "~g"),
    ("Well formed; stopped by length", {"well_formed": "well formed", "no_eos": "stopped by length"}, "%"),
)


def render(root: Path, recipe: Recipe) -> str:
    """The whole page as text."""
    scores, asked = _evaluations(root, recipe)
    funnel = read_json(prepared(root / "prepare").funnel)
    return page(
        "report.html",
        version=__version__,
        recipe=recipe,
        headline=headline(scores),
        scores=[row for row in scores if row["level"] is None],
        asked=asked,
        accuracy=charts.accuracy(scores),
        levels=charts.by_level(scores) if any(row["level"] is not None for row in scores) else None,
        stages=[*_sft(root, recipe.sft), *_phases(root, recipe)],
        funnel=funnel,
        funnel_figure=fates(funnel, share=False).svg,
        seconds_figure=charts.seconds(_seconds(root, recipe)),
        recipe_text=resolved_toml(recipe),
        manifest=read_json(root / "manifest.json"),
    )


def headline(scores: Sequence[Row]) -> list[dict[str, Any]]:
    """For each benchmark its avg@k, in the order of the stages; the first and the last stand out."""
    names = labels(scores)
    series: dict[str, list[Row]] = {}
    for row in totals(scores):
        series.setdefault(names[row["benchmark"], row["domain"]], []).append(row)
    return [{"benchmark": name, "rows": rows, "first": rows[0], "last": rows[-1]} for name, rows in series.items()]


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


def _seconds(root: Path, recipe: Recipe) -> dict[str, float]:
    names = ["world", "prepare"]
    for model in model_stages(recipe):
        names += [model, f"evaluate-{model}"]
    records = {name: stage_record(root / name) for name in names}
    return {name: record["seconds"] for name, record in records.items() if record is not None}


def _sft(root: Path, settings: Sft | None) -> Iterator[dict[str, Any]]:
    if settings is None:
        return
    rows, counts = read_jsonl(root / "sft" / "metrics.jsonl"), read_json(root / "sft" / "tokens.json")
    text = (
        f"{counts['trained']:,} demonstrations, {counts['tokens']:,} tokens ({counts['response_tokens']:,} in the "
        f"loss), {settings.epochs} epochs, {len(rows):,} steps; {counts['overlong']:,} over max_tokens "
        f"({settings.overlong})."
    )
    yield {"name": "sft", "text": text, "figures": _figures(rows, SFT_PANELS, "step")}


def _phases(root: Path, recipe: Recipe) -> Iterator[dict[str, Any]]:
    problems = read_problems(prepared(root / "prepare").problems)
    for phase in recipe.rl.phase if recipe.rl else ():
        yield _phase(root / f"rl-{phase.name}", recipe, phase, problems)


def _phase(stage: Path, recipe: Recipe, phase: Phase, problems: Sequence[Problem]) -> dict[str, Any]:
    rows = read_jsonl(stage / "metrics.jsonl")
    updates = int(sum(row["updates"] for row in rows))
    text = (
        f"{phase.objective.type} on {' and '.join(phase.domains)}: {len(rows)} iterations of "
        f"{phase.problems_per_iteration} problems x {phase.group_size} rollouts, {updates:,} updates."
    )
    return {
        "name": stage.name,
        "text": text,
        "figures": _figures(rows, RL_PANELS, "iteration"),
        "histogram": _ratios(rows),
        "rollouts": shown_rollouts(stage, recipe, phase, problems),
    }


def _ratios(rows: Sequence[Row]) -> str | None:
    """All updates of a phase in one histogram of ratios; None where there was no update."""
    counts: dict[str, list[float]] = {}
    for label, key in (("A > 0", "ratio_histogram_positive"), ("A < 0", "ratio_histogram_negative")):
        histograms = [row[key] for row in rows if key in row]
        counts[label] = [sum(bins) for bins in zip(*histograms, strict=True)]  # per bin, over the iterations
    if not any(map(any, counts.values())):
        return None
    return charts.histogram("Ratio to the policy before the updates, all tokens", RATIO_EDGES, counts)


def _figures(rows: Sequence[Row], panels: Panels, x: str) -> list[str]:
    drawn = (charts.lines(title, rows, keys, x, form) for title, keys, form in panels)
    return [figure for figure in drawn if figure is not None]
