"""What an evaluation says: scores by benchmark, each with its own k. Nothing averages two benchmarks.

A benchmark that holds problems of several domains has scores for each of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from typing import Any

import numpy as np

from openklear.evaluation.benchmarks import Benchmark
from openklear.evaluation.statistics import Estimate, avg_at_k, correctness, pass_at_k
from openklear.types import Outcome, Rollout, RolloutGroup, StopReason
from openklear.verifiers.domains import DOMAINS

Row = Mapping[str, Any]
Series = tuple[str, str]
"""(benchmark, domain)."""


def by_series(
    benchmarks: Sequence[Benchmark], groups: Sequence[RolloutGroup]
) -> Iterator[tuple[Benchmark, str, list[RolloutGroup]]]:
    """The groups of each benchmark and domain that has any, in the order of the benchmarks."""
    for benchmark in benchmarks:
        for domain in DOMAINS:
            mine = [g for g in groups if (g.problem.source, g.problem.domain) == (benchmark.name, domain)]
            if mine:
                yield benchmark, domain, mine


def score_rows(stage: str, benchmarks: Sequence[Benchmark], groups: Sequence[RolloutGroup]) -> list[dict[str, Any]]:
    """avg@k and pass@1, 2, 4.. k by benchmark, domain and level (null: all levels), with intervals over problems."""
    rows: list[dict[str, Any]] = []
    for benchmark, domain, mine in by_series(benchmarks, groups):
        levels = {group.problem.level for group in mine}
        for level in (None, *sorted(level for level in levels if level is not None)):
            some = [group for group in mine if level in (None, group.problem.level)]
            place = {"stage": stage, "benchmark": benchmark.name, "domain": domain, "level": level}
            for metric, k, estimate in _metrics(some):
                rows.append({**place, "metric": metric, "k": k, **_fields(estimate)})
    return rows


def asked_rows(stage: str, benchmarks: Sequence[Benchmark], groups: Sequence[RolloutGroup]) -> list[dict[str, Any]]:
    """By benchmark and domain: what was asked, and the form of what came back (means over all completions)."""
    rows: list[dict[str, Any]] = []
    for benchmark, domain, mine in by_series(benchmarks, groups):
        asked = asdict(benchmark)
        place = {"stage": stage, "benchmark": asked.pop("name"), "domain": domain}
        rollouts = list(chain.from_iterable(group.rollouts for group in mine))
        rows.append({**place, **asked, "problems": len(mine), "completions": len(rollouts), **_form(rollouts)})
    return rows


def _form(rollouts: Sequence[Rollout]) -> dict[str, float]:
    values: dict[str, list[int]] = {
        "well_formed": [r.verdict.well_formed for r in rollouts],
        "stopped_by_length": [r.completion.stop_reason is StopReason.LENGTH for r in rollouts],
        "unscorable": [r.verdict.outcome is Outcome.UNSCORABLE for r in rollouts],
        "mean_tokens": [len(r.completion.token_ids) for r in rollouts],
    }
    return {name: sum(column) / len(column) for name, column in values.items()}


def totals(rows: Sequence[Row]) -> list[Row]:
    """The avg@k over all levels, where any problem could be scored: the rows that a summary shows."""
    return [r for r in rows if r["metric"] == "avg" and r["level"] is None and r["value"] is not None]


def labels(rows: Sequence[Row]) -> dict[Series, str]:
    """What each series is called on a page: its benchmark, with the domain where the benchmark has several."""
    domains: dict[str, set[str]] = {}
    for row in rows:
        domains.setdefault(row["benchmark"], set()).add(row["domain"])
    found: dict[Series, str] = {}
    for row in rows:
        name, domain = row["benchmark"], row["domain"]
        found[name, domain] = f"{name} ({domain})" if len(domains[name]) > 1 else name
    return found


def _metrics(groups: Sequence[RolloutGroup]) -> Iterator[tuple[str, int, Estimate]]:
    table = correctness(groups)  # (problems, samples)
    samples = table.shape[1]
    yield "avg", samples, avg_at_k(table)
    k = 1
    while k < samples:
        yield "pass", k, pass_at_k(table, k)
        k *= 2
    yield "pass", samples, pass_at_k(table, samples)


def _fields(estimate: Estimate) -> dict[str, float | int | None]:
    """JSON knows no nan: a score over no problem at all is null."""
    return {name: None if np.isnan(number) else number for name, number in asdict(estimate).items()}
