"""The stages `evaluate-NAME`: the held-out problems, sampled from the model that the stage NAME left.

Leaves scores.json (rows as in summary.json), well_formed.json (by domain, the share of completions whose reasoning
stands inside one <think>...</think> with an answer after it) and one Parquet file of rollouts for every part of the
problems, written as soon as the part is judged: a run that was killed goes on at the next part. Draws depend on the
problem alone, so that the models of a run are compared under common random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from openklear import progress
from openklear.data.store import prepared, read_problems
from openklear.durable.files import whole_directory, write_json
from openklear.errors import DataError
from openklear.evaluation.statistics import Estimate, avg_at_k, correctness, pass_at_k
from openklear.models.loading import load_model
from openklear.recipe.lengths import max_prompt_tokens
from openklear.recipe.reward import ReportReward
from openklear.rollout.collect import Collector, EncodedProblem, Sampling, encode_problems
from openklear.rollout.local import LocalEngine
from openklear.rollout.records import read_rollouts, write_rollouts
from openklear.run.context import StageContext
from openklear.types import Problem, RolloutGroup
from openklear.verifiers.domains import DOMAINS
from openklear.verifiers.judge import open_judge

PART = 128
"""Problems a part: what a kill may cost, and what the schedule of slots depends on."""


def run(context: StageContext) -> None:
    """Evaluate the model of context.inputs["model"] on the held-out problems."""
    recipe, stage = context.recipe, context.name.removeprefix("evaluate-")
    loaded = load_model(context.inputs["model"] / "model", dtype=getattr(recipe.model, "dtype", "float32"))
    heldout = read_problems(prepared(context.inputs["prepare"]).heldout)
    problems, dropped = encode_problems(loaded, heldout, max_prompt_tokens(recipe))
    write_json(context.directory / "dropped.json", [{"id": p.id, "reason": why} for p, why in dropped])
    if not problems:
        raise DataError(
            f"{context.name}: no held-out problem can be asked; the first of {len(dropped)}: {dropped[0][1]}; raise it"
        )
    if dropped:
        progress.say(f"{context.name}: {len(dropped)} held-out problems have too long a prompt; see dropped.json")
    with ExitStack() as stack:
        domains = {encoded.problem.domain for encoded in problems}
        verdicts = context.directory / "verdicts.jsonl"
        judge = open_judge(recipe.verifiers.limits, domains, progress.say_once, journal=verdicts)
        stack.enter_context(judge)
        sampler = LocalEngine(loaded.model, end_ids=loaded.end_ids, slots=recipe.engine.slots)
        collector = Collector(loaded, sampler, judge, recipe.seed)
        groups = [group for part in _parts(context, collector, problems) for group in part]
    rows = score_rows(stage, groups)
    write_json(context.directory / "scores.json", rows)
    write_json(context.directory / "well_formed.json", well_formed(groups))
    for row in rows:
        if row["level"] is None and row["metric"] == "avg" and row["value"] is not None:
            progress.say(
                f"{stage}: {row['domain']} avg@{row['k']} {row['value']:.1%} "
                f"[{row['low']:.1%}, {row['high']:.1%}] on {row['problems']} problems"
            )


def _parts(context: StageContext, collector: Collector, problems: Sequence[EncodedProblem]) -> list[list[RolloutGroup]]:
    by_id = {e.problem.id: e.problem for e in problems}
    starts = range(0, len(problems), PART)
    return [
        _part(context, collector, problems[start : start + PART], by_id, f"{i + 1} of {len(starts)}")
        for i, start in enumerate(starts)
    ]


def _part(
    context: StageContext,
    collector: Collector,
    problems: Sequence[EncodedProblem],
    by_id: dict[str, Problem],
    label: str,
) -> list[RolloutGroup]:
    evaluation = context.recipe.evaluation
    target: Path = context.directory / "parts" / label.split(" ")[0].zfill(5)
    if not target.is_dir():
        sampling = Sampling(
            evaluation.samples, evaluation.temperature, evaluation.top_p, evaluation.max_completion_tokens
        )
        # Every test runs, though the scores ask for correctness alone: the rollouts are kept, to be read and rescored.
        groups = collector.collect(
            problems, sampling, ReportReward(), purpose="evaluation", label=f"{context.name}, part {label}"
        )
        with whole_directory(target) as partial:
            write_rollouts(partial / "rollouts.parquet", groups)
    return read_rollouts(target / "rollouts.parquet", by_id).groups


def score_rows(stage: str, groups: Sequence[RolloutGroup]) -> list[dict[str, Any]]:
    """Scores by domain and level (null: all levels): avg@k and pass@1, 2, 4.. k."""
    rows: list[dict[str, Any]] = []
    for domain in DOMAINS:
        mine = [g for g in groups if g.problem.domain == domain]
        levels = sorted({g.problem.level for g in mine if g.problem.level is not None})
        for level in (None, *levels) if mine else ():
            some = [g for g in mine if level is None or g.problem.level == level]
            rows += [
                {"stage": stage, "domain": domain, "level": level, "metric": metric, "k": k, **_fields(estimate)}
                for metric, k, estimate in _metrics(some)
            ]
    return rows


def _metrics(groups: Sequence[RolloutGroup]) -> list[tuple[str, int, Estimate]]:
    table = correctness(groups)
    samples = table.shape[1]
    powers = [2**i for i in range(samples.bit_length()) if 2**i < samples]
    return [("avg", samples, avg_at_k(table)), *(("pass", k, pass_at_k(table, k)) for k in (*powers, samples))]


def well_formed(groups: Sequence[RolloutGroup]) -> dict[str, float]:
    """Domain -> share of completions that are well formed."""
    found: dict[str, list[float]] = {}
    for group in groups:
        found.setdefault(group.problem.domain, []).extend(float(r.verdict.well_formed) for r in group.rollouts)
    return {domain: sum(values) / len(values) for domain, values in found.items()}


def _fields(estimate: Estimate) -> dict[str, float | int | None]:
    """JSON knows no nan: a score over no problem at all is null."""
    numbers = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {**{k: None if np.isnan(v) else v for k, v in numbers.items()}, "problems": estimate.problems}
