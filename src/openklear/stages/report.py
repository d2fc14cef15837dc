"""The stage `report`: one self-contained HTML file of the whole run, drawn from what the other stages left on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from openklear import __version__, progress
from openklear.data.store import prepared, read_problems
from openklear.durable.files import read_json, read_jsonl, stage_record, write_atomic
from openklear.objectives.diagnostics import RATIO_EDGES
from openklear.recipe.schema import Recipe
from openklear.recipe.show import resolved_toml
from openklear.reporting import charts
from openklear.reporting.tokens import ShownRollout, shown_rollouts
from openklear.run.context import StageContext
from openklear.verifiers.domains import DOMAINS

EACH_DOMAIN: dict[str, str] = {}
"""Stands for the validation score of each domain, in the order of the table of domains."""
SFT_PANELS: tuple[tuple[str, dict[str, str], str], ...] = (
    ("Loss per response token", {"loss": "loss"}, "~g"),
    ("Learning rate", {"learning_rate": "learning rate"}, "~g"),
    ("Gradient norm", {"grad_norm": "gradient norm"}, "~g"),
    ("Validation accuracy", EACH_DOMAIN, "%"),
)
RL_PANELS: tuple[tuple[str, dict[str, str], str], ...] = (
    ("Reward and accuracy of rollouts", {"reward": "reward", "accuracy": "accuracy"}, "~g"),
    ("Validation accuracy", EACH_DOMAIN, "%"),
    ("Entropy (nats a token)", {"entropy": "entropy"}, "~g"),
    ("Tokens a rollout", {"length_mean": "mean", "length_p95": "95th percentile"}, "~g"),
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


@dataclass(frozen=True, slots=True)
class Part:
    """A training stage as the page shows it."""

    name: str
    text: str
    figures: tuple[Markup, ...]
    histogram: Markup | None = None
    rollouts: tuple[ShownRollout, ...] = ()


def run(context: StageContext) -> None:
    """Write report.html into the run directory and into the stage's own."""
    with progress.task("report", None, "figures"):
        page = render(context.root, context.recipe)
    write_atomic(context.directory / "report.html", page)
    write_atomic(context.root / "report.html", page)


def render(root: Path, recipe: Recipe) -> str:
    """The whole page as text."""
    stages = [name for name in model_stages(recipe) if (root / f"evaluate-{name}" / "scores.json").is_file()]
    scores = [row for name in stages for row in read_json(root / f"evaluate-{name}" / "scores.json")]
    funnel = read_json(prepared(root / "prepare").funnel)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("openklear.reporting"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html.jinja").render(
        version=__version__,
        recipe=recipe,
        headline=headline(scores),
        scores=[r for r in scores if r["level"] is None],
        well_formed={name: read_json(root / f"evaluate-{name}" / "well_formed.json") for name in stages},
        accuracy=Markup(charts.accuracy(scores)),
        levels=Markup(charts.by_level(scores)) if any(r["level"] is not None for r in scores) else None,
        parts=_parts(root, recipe),
        funnel=funnel,
        funnel_figure=Markup(charts.funnel(funnel)),
        seconds_figure=Markup(charts.seconds(_seconds(root, recipe))),
        recipe_text=resolved_toml(recipe),
        manifest=read_json(root / "manifest.json"),
    )


def headline(scores: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each domain its avg@k, in the order of the stages; the first and the last stand out."""
    rows = [r for r in scores if r["metric"] == "avg" and r["level"] is None and r["value"] is not None]
    return [
        {
            "domain": domain,
            "k": mine[0]["k"],
            "problems": mine[0]["problems"],
            "rows": mine,
            "first": mine[0],
            "last": mine[-1],
        }
        for domain in dict.fromkeys(r["domain"] for r in rows)
        for mine in [[r for r in rows if r["domain"] == domain]]
    ]


def model_stages(recipe: Recipe) -> list[str]:
    """The stages that leave a model, in order."""
    phases = recipe.rl.phase if recipe.rl else ()
    return ["base", *(["sft"] if recipe.sft else []), *(f"rl-{p.name}" for p in phases)]


def _seconds(root: Path, recipe: Recipe) -> dict[str, float]:
    names = ["world", "prepare", *(n for model in model_stages(recipe) for n in (model, f"evaluate-{model}"))]
    return {name: record["seconds"] for name in names if (record := stage_record(root / name)) is not None}


def _parts(root: Path, recipe: Recipe) -> list[Part]:
    parts: list[Part] = []
    if recipe.sft is not None:
        rows, counts = read_jsonl(root / "sft" / "metrics.jsonl"), read_json(root / "sft" / "tokens.json")
        text = (
            f"{counts['trained']:,} demonstrations, {counts['tokens']:,} tokens ({counts['response_tokens']:,} in the "
            f"loss), {recipe.sft.epochs} epochs, {len(rows):,} steps; {counts['overlong']:,} over max_tokens "
            f"({recipe.sft.overlong})."
        )
        parts.append(Part("sft", text, _figures(rows, SFT_PANELS, "step")))
    problems = read_problems(prepared(root / "prepare").problems)
    for phase in recipe.rl.phase if recipe.rl else ():
        stage = root / f"rl-{phase.name}"
        rows = read_jsonl(stage / "metrics.jsonl")
        text = (
            f"{phase.objective.type} on {' and '.join(phase.domains)}: {len(rows)} iterations of "
            f"{phase.problems_per_iteration} problems x {phase.group_size} rollouts, "
            f"{int(sum(r['updates'] for r in rows)):,} updates."
        )
        figures = _figures(rows, RL_PANELS, "iteration")
        shown = tuple(shown_rollouts(stage, recipe, phase, problems))
        parts.append(Part(stage.name, text, figures, _ratios(rows), shown))
    return parts


def _ratios(rows: Sequence[Mapping[str, Any]]) -> Markup | None:
    """All updates of a phase in one histogram of ratios; None where there was no update."""
    counts = {
        label: [sum(column) for column in zip(*(r[key] for r in rows if key in r), strict=True)]
        for label, key in (("A > 0", "ratio_histogram_positive"), ("A < 0", "ratio_histogram_negative"))
    }
    if not any(any(column) for column in counts.values()):
        return None
    return Markup(charts.histogram("Ratio to the policy before the updates, all tokens", RATIO_EDGES, counts))


def _figures(
    rows: Sequence[Mapping[str, Any]], panels: Sequence[tuple[str, dict[str, str], str]], x: str
) -> tuple[Markup, ...]:
    scores = {f"validation_{name}": name for name in DOMAINS}
    drawn = (charts.lines(title, rows, keys or scores, x, form) for title, keys, form in panels)
    return tuple(Markup(figure) for figure in drawn if figure is not None)
