"""What an evaluation says: scores by benchmark, each with its own k. Nothing averages two benchmarks.

A benchmark that holds problems of several domains has scores for each of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from openklear.evaluation.results import Series
from openklear.evaluation.statistics import (
    Estimate,
    Table,
    avg_at_k,
    g_pass_at_k,
    mean_interval,
    mg_pass_at_k,
    pass_at_k,
    sampling_error,
)
from openklear.evaluation.stored import Sample
from openklear.evaluation.voting import majority_shares
from openklear.types import Outcome, StopReason
from openklear.verifiers.domains import DOMAINS
from openklear.verifiers.mathematics.grader import MathGrader

Row = Mapping[str, Any]
TAUS = (0.5, 0.75, 1.0)
"""Thresholds of G-Pass@k: shares of the samples that must be correct."""


@dataclass(frozen=True, slots=True)
class ScoredSeries:
    """The judged samples of one benchmark in one domain, problem by problem."""

    series: Series
    problems: tuple[tuple[Sample, ...], ...]

    def levels(self) -> list[str]:
        """Those that are stated, sorted."""
        return sorted({samples[0].level for samples in self.problems if samples[0].level is not None})

    def at(self, level: str | None) -> ScoredSeries:
        """The problems of one level; None: all of them."""
        if level is None:
            return self
        return replace(self, problems=tuple(one for one in self.problems if one[0].level == level))

    def samples(self) -> list[Sample]:
        """All of them."""
        return list(chain.from_iterable(self.problems))


def by_series(samples: Iterable[Sample], names: Sequence[str] = ()) -> Iterator[ScoredSeries]:
    """Each benchmark and domain that has any problem: those named first, in that order, then as they come."""
    found: dict[str, dict[str, dict[str, list[Sample]]]] = {name: {} for name in names}
    for one in samples:
        of_domain = found.setdefault(one.benchmark, {}).setdefault(one.domain, {})
        of_domain.setdefault(one.problem, []).append(one)
    for benchmark, domains in found.items():
        for domain in sorted(domains, key=[*DOMAINS].index):
            yield ScoredSeries((benchmark, domain), tuple(map(tuple, domains[domain].values())))


def score_rows(
    stage: str, samples: Iterable[Sample], names: Sequence[str] = (), grader: MathGrader | None = None
) -> list[dict[str, Any]]:
    """avg@k and pass@1, 2, 4.. k by benchmark, domain and level (null: all levels), with intervals over problems; over
    all levels also maj@k (`voting`, which asks `grader` where exact rules cannot tell) and G-Pass@k.

    `problems` of a row are those in its mean, `of` all that were to be asked: they differ only where nothing of a
    problem could be scored. An avg@k has its `sampling_error` too: what it moves when the same problems are sampled
    anew. Beside each score stands what became of the completions behind it (`beside`), and where
    some could not be scored the `worst` and `best` that the score could be.
    """
    rows: list[dict[str, Any]] = []
    for series in by_series(samples, names):
        for level in (None, *series.levels()):
            some = series.at(level)
            benchmark, domain = series.series
            place = {"stage": stage, "benchmark": benchmark, "domain": domain, "level": level}
            more = {"of": len(some.problems), **beside(some.samples())}
            for metric, k, estimate, own in _metrics(some, grader, whole=level is None):
                rows.append({**place, "metric": metric, "k": k, **_fields(estimate), **more, **own})
    return rows


def asked_rows(
    stage: str, samples: Iterable[Sample], settings: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """By benchmark and domain: what was asked and how (`settings` of each benchmark), and the form of what came back.

    `not_asked` counts the problems that do not fit the model or its template, by kind of reason; they count as wrong.
    Shares and mean tokens are over all completions; null where there are none.
    """
    rows: list[dict[str, Any]] = []
    for series in by_series(samples, list(settings)):
        benchmark, domain = series.series
        every = series.samples()
        refused = [one[0].reason for one in series.problems if one[0].stop_reason is StopReason.ERROR]
        reasons = Counter(reason_kind(reason) for reason in refused)
        formed = [float(not one.format_fault) for one in every if one.stop_reason is not StopReason.ERROR]
        place = {"stage": stage, "benchmark": benchmark, "domain": domain}
        counts = {"problems": len(series.problems), "not_asked": dict(reasons), "completions": len(every)}
        form = {"well_formed": _mean(formed), **beside(every)}
        how = {key: value for key, value in settings.get(benchmark, {}).items() if key != "name"}
        rows.append({**place, **how, **counts, **form})
    return rows


def reason_kind(reason: str) -> str:
    """What a problem was not asked for, without its numbers: reasons of one kind are counted together."""
    text = reason.removeprefix("not asked: ")
    return "prompt too long" if text.startswith(("prompt of ", "the prompt has ")) else text.partition(":")[0]


def beside(samples: Sequence[Sample]) -> dict[str, float | None]:
    """Shares of the completions: stopped by length, without any answer, unscorable, not right though the right answer
    stands in them; and their mean length in tokens, of those that were counted."""
    tokens = [float(one.tokens) for one in samples if one.tokens is not None]
    return {
        "stopped_by_length": _mean([float(one.truncated) for one in samples]),
        "no_answer": _mean([float(one.unanswered) for one in samples]),
        "unscorable": _mean([float(one.outcome is Outcome.UNSCORABLE) for one in samples]),
        "stands": _mean([float(one.stands) for one in samples]),
        "mean_tokens": _mean(tokens),
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


def _table(series: ScoredSeries, unscorable: float = np.nan) -> Table:
    """(problems, k) 1.0 correct, 0.0 incorrect, `unscorable` for what is neither."""
    k = 1 + max((one.sample for one in series.samples()), default=-1)
    table = np.full((len(series.problems), k), np.nan)
    for row, samples in enumerate(series.problems):
        for one in samples:
            table[row, one.sample] = unscorable if one.outcome is Outcome.UNSCORABLE else float(one.correct)
    return table


def _metrics(
    series: ScoredSeries, grader: MathGrader | None, *, whole: bool
) -> Iterator[tuple[str, int, Estimate, dict[str, float | None]]]:
    """(metric, k, estimate, what stands beside it); of the `whole` series more of them than of one of its levels."""
    table = _table(series)
    samples = table.shape[1]
    lost = any(one.outcome is Outcome.UNSCORABLE for one in series.samples())
    ends = [_table(series, end) for end in (0.0, 1.0)] if lost else []

    def bounds(values: Sequence[float]) -> dict[str, float | None]:
        return dict(zip(("worst", "best"), values or (None, None), strict=True))

    error = sampling_error(table).error
    averaged = bounds([avg_at_k(one).value for one in ends])
    yield "avg", samples, avg_at_k(table), averaged | {"sampling_error": None if np.isnan(error) else error}
    ks = [*(2**n for n in range(samples.bit_length()) if 2**n < samples), samples]
    for k in ks:
        yield "pass", k, pass_at_k(table, k), bounds([pass_at_k(one, k).value for one in ends])
    if whole and samples > 1:
        for metric, k, estimate in chain(_votes(series, ks[1:], grader), _steadiness(table)):
            yield metric, k, estimate, bounds([])


def _votes(series: ScoredSeries, ks: Sequence[int], grader: MathGrader | None) -> Iterator[tuple[str, int, Estimate]]:
    """maj@k by mathematical equality; nothing for programs."""
    shares = [majority_shares(samples, ks, grader) for samples in series.problems]
    for k in ks if all(one is not None for one in shares) else ():
        values = [one.get(k, np.nan) for one in shares if one is not None]
        yield "maj", k, mean_interval(np.array(values, dtype=np.float64), max(map(len, series.problems)))


def _steadiness(table: Table) -> Iterator[tuple[str, int, Estimate]]:
    """G-Pass@k at three thresholds, and their mean over all of 1/2 to 1, of all samples."""
    samples = table.shape[1]
    for tau in TAUS:
        yield f"gpass{tau:g}", samples, g_pass_at_k(table, samples, tau)
    yield "mgpass", samples, mg_pass_at_k(table, samples)


def _fields(estimate: Estimate) -> dict[str, float | int | None]:
    """JSON knows no nan: a score over no problem at all is null."""
    return {name: None if np.isnan(number) else number for name, number in asdict(estimate).items()}
