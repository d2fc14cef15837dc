"""The sections of the stages that train: what they did, their panels, their alarms, their machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from openklear.data.store import prepared, read_problems
from openklear.durable.files import read_json, read_whole_jsonl
from openklear.evaluation.scores import Row
from openklear.objectives.diagnostics import RATIO_EDGES
from openklear.recipe.schema import Phase, Recipe, Sft
from openklear.reporting import curves
from openklear.reporting.charts import Panel
from openklear.reporting.tokens import shown_rollouts
from openklear.types import Problem
from openklear.verifiers.domains import DOMAINS

Panels = tuple[tuple[str, dict[str, str], str], ...]
"""(title, metric -> its label, number format) of each."""

_NORM = ("Gradient norm, before clipping", {"grad_norm": "gradient norm"}, curves.NUMBER)


def sft_panels() -> Panels:
    """What is drawn of SFT."""
    return (
        ("Loss per response token", {"loss": "loss"}, curves.NUMBER),
        ("Validation accuracy", _validation(), "%"),
        _NORM,
        ("Learning rate", {"learning_rate": "learning rate"}, curves.NUMBER),
        ("Tokens per second", {"tokens_per_second": "tokens"}, curves.NUMBER),
        ("Of what the machine can do", _limits("training"), "%"),
        ("Peak memory, GiB", {"peak_memory_gib": "memory"}, curves.NUMBER),
    )


def rl_panels() -> Panels:
    """What is drawn of an RL phase."""
    alike = {
        "zero_advantage_all_right": "all right",
        "zero_advantage_all_wrong": "all wrong",
        "zero_advantage_all_alike": "alike otherwise",
    }
    acts = {"clip_fraction_high_positive": "A > 0, above", "clip_fraction_low_negative": "A < 0, below"}
    speeds = {"sampled_tokens_per_second": "sampled", "trained_tokens_per_second": "trained"}
    laps = {name: name for name in ("sampling", "replaying", "preparing", "training", "waiting", "validation")}
    others = {"clip_fraction_low_positive": "A > 0, below", "clip_fraction_high_negative": "A < 0, above"}
    return (
        ("Reward and accuracy of rollouts", {"reward": "reward", "accuracy": "accuracy"}, curves.NUMBER),
        ("Validation accuracy", _validation(), "%"),
        ("Groups whose rewards are all equal", alike, "%"),
        ("Tokens per rollout", {"length_mean": "mean", "length_p95": "95th percentile"}, curves.NUMBER),
        ("Form of the rollouts", {"well_formed": "well formed", "no_eos": "stopped by length"}, "%"),
        ("Grading", {"unscorable": "unscorable", "timeouts": "out of time"}, ".2~%"),
        ("Entropy, nats per token", {"entropy": "entropy"}, curves.NUMBER),
        ("KL to the policy before the updates", {"kl_k1": "k1", "kl_k3": "k3"}, curves.NUMBER),
        ("Effective sample size", {"ess": "of the ratios", "gap_ess": "of trainer over sampler"}, "~%"),
        ("Clip fraction, cells that act", acts, ".2~%"),
        ("Clip fraction, cells that do not", others, ".2~%"),
        ("Preserved-gradient share", {"preserved_gradient_share": "share"}, ".2~%"),
        _NORM,
        ("Sampler-trainer gap, k3", {"gap_k3": "k3"}, ".1e"),
        ("Tokens left out", {"gate_closed": "by the gate", "correction_dropped": "by the correction"}, ".2~%"),
        ("Seconds", laps, curves.NUMBER),
        ("Tokens per second", speeds, curves.NUMBER),
        ("Of what the machine can do", _limits("sampling") | _limits("training"), "%"),
        ("Peak memory, GiB", {"peak_memory_gib": "memory"}, curves.NUMBER),
    )


def _limits(part: str) -> dict[str, str]:
    """Shares of peak and floor (docs/planning.md)."""
    return {f"{part}_floor_share": f"{part}, of the floor", f"{part}_mfu": f"{part}, MFU"}


def _validation() -> dict[str, str]:
    return {f"validation_{name}": name for name in DOMAINS}


def sections(root: Path, recipe: Recipe) -> Iterator[dict[str, Any]]:
    """One for each training stage that has measured anything."""
    if recipe.sft is not None and (rows := read_whole_jsonl(root / "sft" / "metrics.jsonl")):
        yield _sft(root / "sft", rows, recipe.sft)
    problems: Sequence[Problem] | None = None
    start = root / ("base" if recipe.sft is None else "sft")
    for phase in recipe.rl.phase if recipe.rl else ():
        if rows := read_whole_jsonl(root / f"rl-{phase.name}" / "metrics.jsonl"):
            problems = problems or read_problems(prepared(root / "prepare").problems)
            yield _phase(root / f"rl-{phase.name}", rows, recipe, phase, problems, start)
        start = root / f"rl-{phase.name}"


def _sft(stage: Path, rows: Sequence[Row], settings: Sft) -> dict[str, Any]:
    counts = stage / "tokens.json"
    text = f"{len(rows):,} steps in {settings.epochs} epochs."
    if counts.is_file():
        found = read_json(counts)
        text = (
            f"{found['trained']:,} demonstrations, {found['tokens']:,} tokens ({found['response_tokens']:,} in the "
            f"loss), {settings.epochs} epochs, {len(rows):,} steps; {found['overlong']:,} over max_tokens "
            f"({settings.overlong})."
        )
    return _section(stage, text, rows, sft_panels(), "step")


def _phase(
    stage: Path, rows: Sequence[Row], recipe: Recipe, phase: Phase, problems: Sequence[Problem], start: Path
) -> dict[str, Any]:
    updates = int(sum(row["updates"] for row in rows))
    mixed = ", ".join(f"{count} of {name}" for name, count in phase.counts.items())
    text = (
        f"{phase.objective.type} on {' and '.join(phase.domains)}: {len(rows):,} iterations of "
        f"{phase.problems_per_iteration} problems{f' ({mixed})' if mixed else ''} x {phase.group_size} "
        f"rollouts, {updates:,} updates."
    )
    section = _section(stage, text, rows, rl_panels(), "iteration")
    rollouts = shown_rollouts(stage, recipe, phase, problems, start)
    return {**section, "histogram": ratios(rows), "rollouts": rollouts}


def _section(stage: Path, text: str, rows: Sequence[Row], panels: Panels, unit: str) -> dict[str, Any]:
    every = [*rows, *machine(stage / "timings.jsonl")]
    told = [(title, keys, curves.lines(title, every, keys, unit, form)) for title, keys, form in panels]
    moved = {title for title, keys, _ in told if _moves(every, keys)}
    return {
        "name": stage.name,
        "text": text,
        "panels": [panel for title, _, panel in told if panel is not None and title in moved],
        "zero": [title for title, _, panel in told if panel is not None and title not in moved],
        "alarms": alarms(rows, unit),
    }


def _moves(rows: Sequence[Row], keys: Iterable[str]) -> bool:
    """Whether any of the metrics is ever anything but zero."""
    values: set[Any] = set()
    for key in keys:
        values |= {row.get(key) for row in rows}
    return any(values)


def machine(path: Path) -> list[dict[str, Any]]:
    """The rows of timings.jsonl, with memory in GiB; [] where there is no such file."""
    rows = read_whole_jsonl(path)
    for row in rows:
        if row.get("peak_memory_bytes"):
            row["peak_memory_gib"] = row["peak_memory_bytes"] / 2**30
    return rows


def alarms(rows: Sequence[Row], unit: str) -> list[dict[str, Any]]:
    """{text, times, first, last}: alarms that differ in their numbers alone stand together, by the last of them."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        for text in row.get("alarms", ()):
            kind = re.sub(r"\d+(\.\d+)?(e[-+]?\d+)?", "#", text)
            one = found.setdefault(kind, {"times": 0, "first": row[unit], "unit": unit})
            one |= {"text": text, "times": one["times"] + 1, "last": row[unit]}
    return list(found.values())


def ratios(rows: Sequence[Row]) -> Panel | None:
    """All updates of a phase in one histogram of ratios; None where there was no update."""
    counts: dict[str, list[float]] = {}
    for label, key in (("A > 0", "ratio_histogram_positive"), ("A < 0", "ratio_histogram_negative")):
        histograms = [row[key] for row in rows if key in row]
        counts[label] = [sum(bins) for bins in zip(*histograms, strict=True)]  # per bin, over the iterations
    if not any(map(any, counts.values())):
        return None
    return curves.histogram("Ratio to the policy before the updates, all tokens", RATIO_EDGES, counts)
