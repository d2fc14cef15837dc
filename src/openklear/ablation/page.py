"""The page of a study, as one HTML file that needs no network and runs no script, and as Markdown without figures.

Both are made of the study's file, the scores of its runs and the findings alone: equal input gives equal bytes, on
another day and with another version too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from openklear.ablation import figures
from openklear.ablation.curves import legend_of, shared_stages, stage_curves
from openklear.ablation.definition import Changes, Measure, Quoted, Study
from openklear.ablation.findings import ArmScore, ComparedArms, Findings
from openklear.ablation.looks import Sheet, chance, interval, levels, looks
from openklear.ablation.pairing import result_of
from openklear.ablation.scores import StudyScores
from openklear.ablation.units import UNKNOWN, MeasureUnit
from openklear.progress import duration
from openklear.recipe.keys import toml_value
from openklear.recipe.show import count
from openklear.reporting.charts import Panel
from openklear.reporting.pages import page

Shown = dict[str, Any]

_SCORES = "Intervals are for another training, asked other problems like these."
_ONE_SEED = "Of an arm with one seed the interval is over problems alone: it says nothing of another training."
_DIFFERENCES = (
    "{}, after less before, with the same seed on the same problems. The 95 % interval is two-way: for "
    "another training, asked other problems like these; beside it the interval for another training, asked these "
    "problems. p is of the two-way interval; Holm is p after the correction for all comparisons in a measure, and a "
    "difference is seen where that is at most .05; sign flip is the exact test over seeds. Would have been seen: the "
    "smallest true difference that 80 % of such studies see, after the correction."
)


def html_page(study: Study, scores: StudyScores, found: Findings) -> str:
    """The page with its figures. `scores` and `found` are of this study."""
    return page("study.html", **_shown(study, scores, found), **_drawn(study, scores, found))


def markdown_page(study: Study, scores: StudyScores, found: Findings) -> str:
    """The same in tables alone, for readers of a repository; it links the page, page.html beside it."""
    return page("study.md", **_shown(study, scores, found))


def _shown(study: Study, scores: StudyScores, found: Findings) -> Shown:
    """What both forms show."""
    measures = [_measure(study, scores, found, measure) for measure in study.measure]
    return {
        "study": study,
        "headline": found.headline,
        "warnings": found.warnings,
        "quoted": None if study.quoted is None else _quoted(study.quoted),
        "measures": measures,
        "interval_text": _SCORES if all(one.seeds != 1 for one in found.scores) else f"{_SCORES} {_ONE_SEED}",
        "compared_text": _DIFFERENCES.format(_units(study)) if found.compared else "",
        "settings": _settings(study),
        "shared": _changes(study.set),
        "seeds": ", ".join(map(str, study.seeds.values)),
        "vary": ", ".join(study.seeds.vary),
        "notes": [(note.title, _paragraphs(note.text)) for note in study.note],
        "cost": _cost(scores),
        "cost_text": _cost_text(scores),
        "machine": _machine(scores.facts),
        "command": scores.facts.get("command") or _command(study),
        "code": _code(scores.facts),
        "recipe": scores.facts.get("recipe"),
    }


def _drawn(study: Study, scores: StudyScores, found: Findings) -> Shown:
    """What HTML shows beside it."""
    panels: dict[str, list[Panel]] = {}
    for measure in study.measure:
        samples = samples_of(scores, measure)
        drawn = (figures.forest(study, measure, found), figures.scores_by_seed(study, measure, found, samples))
        panels[measure.name] = [one for one in drawn if one is not None]
    stages = stage_curves(study, scores)
    return {
        "panels": panels,
        "stages": stages,
        "legends": {stage.name: list(legend_of(stage.legend)) for stage in stages},
        "undrawn": shared_stages(scores) if stages else [],
        "colours": {name: look.colour for name, look in looks(study).items()},
    }


def samples_of(scores: StudyScores, measure: Measure) -> int:
    """k of a measure's avg@k: the samples of each problem; 0 of a loss, and where no run has the measure."""
    found = (result_of(run, measure.model, measure) for run in scores.runs)
    return next((one.samples for one in found if one is not None), 0)


def _units(study: Study) -> str:
    """What all the differences are counted in."""
    kinds = {measure.kind for measure in study.measure}
    losses = "nats per token, in which lower is better"
    if kinds == {"loss"}:
        return losses.capitalize()
    return f"Percentage points, of losses {losses}" if "loss" in kinds else "Percentage points"


def _measure(study: Study, scores: StudyScores, found: Findings, measure: Measure) -> Shown:
    """The tables of a measure, and what was found."""
    mine = [one for one in found.scores if one.measure == measure.name]
    compared = [one for one in found.compared if one.measure == measure]
    k = samples_of(scores, measure)
    return {
        "name": measure.name,
        "title": measure.title,
        "asked": _asked_loss(measure, mine) if measure.kind == "loss" else _asked(mine, k),
        "each": f"The {measure.kind} of every run, {figures.level_head(measure, k).removeprefix('loss, ')}",
        "scores": _score_sheet(study, measure, found, mine, k),
        "runs": _run_sheet(study, measure, found, mine),
        "compared": _compared_sheet(compared, measure.unit),
        "sentences": [one.sentence for one in compared],
    }


def _asked(mine: Sequence[ArmScore], k: int) -> str:
    """`The model of rl-math on 200 problems, 8 samples each`."""
    if not k:
        return "Nothing was measured yet"
    counts = sorted({one.problems for one in mine if one.seeds})
    asked = " or ".join(count(many, "problem") for many in counts)
    models = " and ".join(dict.fromkeys(one.model for one in mine))
    return f"The model of {models} on {asked}, {count(k, 'sample')} each"


def _asked_loss(measure: Measure, mine: Sequence[ArmScore]) -> str:
    """`The loss of the model of sft on 40 held-out responses, each as far as token 512; lower is better`."""
    counts = sorted({one.problems for one in mine if one.seeds})
    if not counts:
        return "Nothing was measured yet"
    asked = " or ".join(count(many, "held-out response") for many in counts)
    models = " and ".join(dict.fromkeys(one.model for one in mine))
    return f"The loss of the model of {models} on {asked}, each as far as token {measure.max_tokens:,}; lower is better"


def _score_sheet(study: Study, measure: Measure, found: Findings, mine: Sequence[ArmScore], k: int) -> Sheet:
    labels = figures.score_labels(study, measure, found)
    unit, head = measure.unit, figures.level_head(measure, k).replace(" %", "\N{NO-BREAK SPACE}%")
    columns = ("arm", "seeds", head, "95 % interval", "by seed, least to greatest")
    rows = []
    for one in mine:
        label = labels[one.arm, one.model]
        if one.arm == (study.baseline or study.arm[0].name) and not study.comparison:
            label += " (baseline)"
        values = [value for _, value in one.by_seed if not math.isnan(value)]
        span = f"{unit.level(min(values))} to {unit.level(max(values))}" if values else UNKNOWN
        rows.append((label, str(one.seeds), unit.level(one.mean), levels(one.low, one.high, unit), span))
    return Sheet(columns, rows, numbers=4)


def _run_sheet(study: Study, measure: Measure, found: Findings, mine: Sequence[ArmScore]) -> Sheet:
    """Every run's score: a row an arm, a column a seed."""
    labels = figures.score_labels(study, measure, found)
    rows = []
    for one in mine:
        known = dict(one.by_seed)
        cells = [measure.unit.level(known.get(seed, math.nan)) for seed in study.seeds.values]
        rows.append((labels[one.arm, one.model], *cells))
    return Sheet(("arm", *(f"seed {seed}" for seed in study.seeds.values)), rows, numbers=len(study.seeds.values))


def _compared_sheet(compared: Sequence[ComparedArms], unit: MeasureUnit) -> Sheet:
    columns = (
        *(
            "comparison",
            f"difference, {unit.name}",
            "95 % interval",
            "on these problems",
            "seeds",
            "p",
            "Holm",
            "sign flip",
        ),
        "would have been seen",
    )
    rows = [
        (
            f"{one.label_before} → {one.label_after}",
            unit.difference(one.effect.value),
            interval(one.effect, unit),
            interval(one.these, unit),
            str(one.effect.seeds),
            chance(one.p_t),
            chance(one.p_holm),
            chance(one.p if one.by_seed else math.nan),
            f"> {unit.scale * unit.possible:g}" if one.smallest > unit.possible else unit.level(one.smallest),
        )
        for one in compared
    ]
    return Sheet(columns, rows, numbers=8)


def _quoted(quoted: Quoted) -> Shown:
    return {
        "where": quoted.where,
        "claim": quoted.claim,
        "note": quoted.note,
        "sheet": Sheet(quoted.columns, quoted.rows, numbers=max(0, len(quoted.columns) - 1)) if quoted.rows else None,
    }


def _settings(study: Study) -> Sheet:
    """What every arm changes."""
    rows = [(arm.title, ", ".join(_changes(arm.set)) or "nothing") for arm in study.arm]
    return Sheet(("arm", "changes"), rows)


def _changes(changes: Changes) -> list[str]:
    return [f"{key} = {toml_value(value)}" for key, value in changes.items()]


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]


def _cost(scores: StudyScores) -> Sheet:
    """Seconds of computing by stage; one that several runs share counts once."""
    by_stage: dict[str, list[float]] = {}
    for (stage, _), seconds in _made(scores).items():
        by_stage.setdefault(stage, []).append(seconds)
    rows = [
        (stage, f"{len(took):,}", _seconds(sum(took) / len(took)), _seconds(sum(took)))
        for stage, took in by_stage.items()
    ]
    return Sheet(("stage", "made", "each, mean", "in all"), rows, numbers=3)


def _cost_text(scores: StudyScores) -> str:
    """`48 runs, 98 stages, 1 h 2 min of computing`: also of stages whose runs are not finished, where that is known."""
    made, told = _made(scores), scores.facts.get("seconds")
    seconds = sum(told.values() if isinstance(told, Mapping) else made.values())
    stages = scores.facts.get("stages") or len(made)
    return f"{count(len(scores.runs), 'run')}, {count(stages, 'stage')}, {duration(seconds)} of computing"


def _made(scores: StudyScores) -> Mapping[tuple[str, str], float]:
    """(stage, fingerprint) -> its seconds."""
    made: dict[tuple[str, str], float] = {}
    for run in scores.runs:
        for stage, seconds in run.seconds.items():
            made[stage, run.stages.get(stage) or f"{run.arm} {run.seed}"] = seconds
    return made


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)


def _machine(facts: Mapping[str, Any]) -> str:
    """`a CPU of some kind, 2 cores`, as far as it is known."""
    cores = facts.get("cores")
    words = [str(facts.get("cpu") or "not known"), *([count(cores, "core")] if cores else [])]
    return ", ".join(words)


def _code(facts: Mapping[str, Any]) -> str | None:
    """The revision of the code; None where it is not known."""
    git = facts.get("git")
    if not isinstance(git, Mapping) or not git.get("revision"):
        return None
    return str(git["revision"]) + (", with changes that are in no revision" if git.get("dirty") else "")


def _command(study: Study) -> str:
    return f"openklear ablate studies/{study.size}/{study.name}.toml --output runs/{study.name}"
