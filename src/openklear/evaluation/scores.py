"""What an evaluation says: scores by benchmark, each with its own k. Nothing averages two benchmarks.

A benchmark that holds problems of several domains has scores for each of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from openklear.evaluation.benchmarks import Benchmark
from openklear.evaluation.results import Series
from openklear.evaluation.statistics import Estimate, avg_at_k, correctness, pass_at_k
from openklear.types import Outcome, Problem, Rollout, RolloutGroup, StopReason
from openklear.verifiers.domains import DOMAINS

Row = Mapping[str, Any]
Dropped = tuple[Problem, str]
"""A problem that could not be asked, and why."""


@dataclass(frozen=True, slots=True)
class ScoredSeries:
    """The problems of one benchmark in one domain: asked, and dropped before."""

    benchmark: Benchmark
    domain: str
    groups: tuple[RolloutGroup, ...]
    dropped: tuple[Dropped, ...]

    def levels(self) -> list[str]:
        """Those that are stated, sorted."""
        stated = {group.problem.level for group in self.groups} | {problem.level for problem, _ in self.dropped}
        return sorted(level for level in stated if level is not None)

    def at(self, level: str | None) -> ScoredSeries:
        """The problems of one level; None: all of them."""
        if level is None:
            return self
        groups = tuple(group for group in self.groups if group.problem.level == level)
        dropped = tuple(one for one in self.dropped if one[0].level == level)
        return replace(self, groups=groups, dropped=dropped)

    def rollouts(self) -> list[Rollout]:
        """All completions."""
        return list(chain.from_iterable(group.rollouts for group in self.groups))


def by_series(
    benchmarks: Sequence[Benchmark], groups: Sequence[RolloutGroup], dropped: Sequence[Dropped] = ()
) -> Iterator[ScoredSeries]:
    """Each benchmark and domain that has any problem, in the order of the benchmarks."""
    for benchmark in benchmarks:
        for domain in DOMAINS:
            mine = (benchmark.name, domain)
            asked = tuple(g for g in groups if (g.problem.source, g.problem.domain) == mine)
            gone = tuple(one for one in dropped if (one[0].source, one[0].domain) == mine)
            if asked or gone:
                yield ScoredSeries(benchmark, domain, asked, gone)


def score_rows(
    stage: str, benchmarks: Sequence[Benchmark], groups: Sequence[RolloutGroup], dropped: Sequence[Dropped] = ()
) -> list[dict[str, Any]]:
    """avg@k and pass@1, 2, 4.. k by benchmark, domain and level (null: all levels), with intervals over problems.

    `problems` of a row are those in its mean, `of` all that the benchmark has at that level, with those that were
    dropped before they could be asked: no score hides what it is not over. Beside each score stand the shares of its
    completions that were stopped by length and that could not be scored.
    """
    rows: list[dict[str, Any]] = []
    for series in by_series(benchmarks, groups, dropped):
        for level in (None, *series.levels()):
            some = series.at(level)
            place = {"stage": stage, "benchmark": series.benchmark.name, "domain": series.domain, "level": level}
            beside = {"of": len(some.groups) + len(some.dropped), **_shares(some.rollouts())}
            for metric, k, estimate in _metrics(some):
                rows.append({**place, "metric": metric, "k": k, **_fields(estimate), **beside})
    return rows


def asked_rows(
    stage: str, benchmarks: Sequence[Benchmark], groups: Sequence[RolloutGroup], dropped: Sequence[Dropped] = ()
) -> list[dict[str, Any]]:
    """By benchmark and domain: what was asked, what was not and why, and the form of what came back.

    `problems` were asked, `of` all there are after the source's limit; `dropped` counts the others by kind of reason.
    Shares and mean tokens are over all completions; null where there are none.
    """
    rows: list[dict[str, Any]] = []
    for series in by_series(benchmarks, groups, dropped):
        asked = asdict(series.benchmark)
        place = {"stage": stage, "benchmark": asked.pop("name"), "domain": series.domain}
        rollouts = series.rollouts()
        counts = {"problems": len(series.groups), "of": len(series.groups) + len(series.dropped)}
        reasons = Counter(reason_kind(reason) for _, reason in series.dropped)
        rows.append(
            {**place, **asked, **counts, "dropped": dict(reasons), "completions": len(rollouts), **_form(rollouts)}
        )
    return rows


def reason_kind(reason: str) -> str:
    """What a problem was dropped for, without its numbers: reasons of one kind are counted together."""
    return "prompt too long" if reason.startswith("prompt of ") else reason.partition(":")[0]


def _form(rollouts: Sequence[Rollout]) -> dict[str, float | None]:
    formed = [float(r.verdict.well_formed) for r in rollouts]
    tokens = [float(len(r.completion.token_ids)) for r in rollouts]
    return {"well_formed": _mean(formed), **_shares(rollouts), "mean_tokens": _mean(tokens)}


def _shares(rollouts: Sequence[Rollout]) -> dict[str, float | None]:
    return {
        "stopped_by_length": _mean([float(r.completion.stop_reason is StopReason.LENGTH) for r in rollouts]),
        "unscorable": _mean([float(r.verdict.outcome is Outcome.UNSCORABLE) for r in rollouts]),
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


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


def _metrics(series: ScoredSeries) -> Iterator[tuple[str, int, Estimate]]:
    samples = len(series.groups[0].rollouts) if series.groups else series.benchmark.samples
    table = correctness(series.groups).reshape(-1, samples)  # (problems, samples)
    yield "avg", samples, avg_at_k(table)
    k = 1
    while k < samples:
        yield "pass", k, pass_at_k(table, k)
        k *= 2
    yield "pass", samples, pass_at_k(table, samples)


def _fields(estimate: Estimate) -> dict[str, float | int | None]:
    """JSON knows no nan: a score over no problem at all is null."""
    return {name: None if np.isnan(number) else number for name, number in asdict(estimate).items()}
