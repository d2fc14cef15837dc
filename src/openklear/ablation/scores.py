"""What a finished run of a study leaves: results by problem, curves of its training, seconds. One JSON file a run.

The files are all that tables, figures and findings are made of, so a page can be made again without the runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openklear.data.store import problem_columns
from openklear.durable.files import json_text, read_json, read_whole_jsonl, write_atomic
from openklear.errors import DataError
from openklear.evaluation.results import RESULTS, ProblemResult, read_results
from openklear.types import Problem

Curve = tuple[float | None, ...]
"""A metric by iteration or step; None where a row has none."""

KEPT = (
    *("reward", "accuracy", "entropy", "length_mean", "grad_norm", "kl_k3", "zero_advantage", "updates", "loss"),
    *("clip_fraction_high_positive", "clip_fraction_low_negative"),
    *("clip_fraction_low_positive", "clip_fraction_high_negative"),
    *("gradient_share_high_positive", "gradient_share_low_negative"),
    *("gradient_share_low_positive", "gradient_share_high_negative", "preserved_gradient_share"),
)
"""The metrics of a training stage whose curves are kept, where it has them."""
MOST_POINTS = 100
"""Of a curve; of a longer training every so many rows are kept."""


@dataclass(frozen=True, slots=True)
class SeriesScores:
    """The results of one model on one benchmark in one domain, problem by problem."""

    model: str
    """The stage that left it: sft, rl-NAME."""
    benchmark: str
    domain: str
    problems: str
    """A hash of the problems, their answers and tests, in their order: arms with another one were asked others. Of a
    loss, of the ids of the rows and of how many tokens each response has."""
    correct: tuple[int, ...]
    """Of each problem: its correct samples. () of a loss."""
    scorable: tuple[int, ...]
    """Of each problem: the samples that could be judged."""
    samples: int
    """Taken of each problem: k of avg@k."""
    stopped_by_length: int = 0
    tokens: int = 0
    """Of all completions together; of a loss, of all responses."""
    losses: tuple[float, ...] = ()
    """Of a loss: of each row, in nats per token; `benchmark` is the measure's name then, and there are no samples."""

    @property
    def number(self) -> int:
        """How many problems, or rows."""
        return len(self.losses or self.correct)

    @property
    def values(self) -> NDArray[np.float64]:
        """(N,) what is compared by problem: shares correct, or losses; nan where nothing is known."""
        return np.array(self.losses, dtype=np.float64) if self.losses else self.shares

    @property
    def shares(self) -> NDArray[np.float64]:
        """(N,) share correct by problem; nan where nothing could be judged."""
        right, of = (np.array(some, dtype=np.float64) for some in (self.correct, self.scorable))
        shares: NDArray[np.float64] = np.divide(right, of, out=np.full(len(of), np.nan), where=of > 0)
        return shares

    @property
    def mean(self) -> float:
        """avg@k, or the mean loss; nan where nothing could be judged."""
        values = self.values
        known = values[~np.isnan(values)]
        return float(known.mean()) if known.size else float("nan")


@dataclass(frozen=True, slots=True)
class RunScores:
    """One arm with one seed."""

    arm: str
    seed: int
    series: tuple[SeriesScores, ...]
    curves: Mapping[str, Mapping[str, Curve]]
    """Training stage -> metric (and "at", the iterations or steps) -> values."""
    seconds: Mapping[str, float]
    """Stage -> wall seconds; of a stage that several runs share, the same in each."""
    stages: Mapping[str, str]
    """Stage -> its fingerprint: what it was made with."""

    def of(self, model: str, domain: str, benchmark: str | None = None) -> SeriesScores | None:
        """The results of a model in a domain: of this benchmark, or of the first one."""
        scored = [one for one in self.series if not one.losses and one.domain == domain]
        return next((one for one in scored if one.model == model and benchmark in (None, one.benchmark)), None)

    def loss_of(self, model: str, measure: str) -> SeriesScores | None:
        """The losses of a model in the measure of this name."""
        named = (one for one in self.series if one.losses)
        return next((one for one in named if one.model == model and one.benchmark == measure), None)


def series_of(model: str, evaluation: Path, heldout: Sequence[Problem]) -> list[SeriesScores]:
    """What an evaluation's directory says of its model, by benchmark and domain; `heldout` are the problems of its run.

    DataError where it says nothing.
    """
    results = read_results(evaluation / RESULTS)
    if not results:
        raise DataError(f"{evaluation / RESULTS}: holds no results; remove {evaluation} and run the study again")
    by_series: dict[tuple[str, str], list[ProblemResult]] = {}
    for one in results:
        by_series.setdefault(one.series, []).append(one)
    known = {problem.id: problem for problem in heldout}
    return [_series(model, *series, some, known) for series, some in by_series.items()]


def _series(
    model: str, benchmark: str, domain: str, results: Sequence[ProblemResult], known: Mapping[str, Problem]
) -> SeriesScores:
    content = json_text([_content(known[one.id]) for one in results])
    return SeriesScores(
        model=model,
        benchmark=benchmark,
        domain=domain,
        problems=blake2b(content.encode(), digest_size=8).hexdigest(),
        correct=tuple(one.correct for one in results),
        scorable=tuple(one.scorable for one in results),
        samples=max(one.samples for one in results),
        stopped_by_length=sum(one.stopped_by_length for one in results),
        tokens=sum(one.tokens for one in results),
    )


def _content(problem: Problem) -> dict[str, Any]:
    """What makes it this problem: the demo world numbers its problems, whatever they are."""
    columns = problem_columns(problem)
    return {name: columns[name] for name in ("id", "prompt", "answer", "tests", "checker")}


def curves_of(stage: Path) -> dict[str, Curve]:
    """The curves of a training stage from its metrics.jsonl: `KEPT`, and "at"; {} where it logged nothing."""
    rows = read_whole_jsonl(stage / "metrics.jsonl")
    rows = rows[:: -(-len(rows) // MOST_POINTS)] if rows else rows
    at = "iteration" if rows and "iteration" in rows[0] else "step"
    logged = set().union(*rows)
    found: dict[str, Curve] = {name: _curve(rows, name) for name in KEPT if name in logged}
    return {"at": tuple(row.get(at) for row in rows), **found} if found else {}


def _curve(rows: Sequence[Mapping[str, Any]], name: str) -> Curve:
    values = [row.get(name) for row in rows]
    return tuple(None if value is None else float(f"{value:.4g}") for value in values)


def write_scores(path: Path, scores: RunScores) -> None:
    """Whole or not at all."""
    write_atomic(path, json_text(asdict(scores)) + "\n")


def read_scores(path: Path) -> RunScores:
    """What `write_scores` wrote. DataError where the file is missing or is no such file."""
    return scores_of(read_json(path), path)


def scores_of(document: Any, path: Path) -> RunScores:
    """The same from its JSON; `path` is named in errors."""
    try:
        series = tuple(SeriesScores(**_as_tuples(one)) for one in document["series"])
        curves = {stage: _as_tuples(found) for stage, found in document["curves"].items()}
        more = {name: document[name] for name in ("arm", "seed", "seconds", "stages")}
    except (TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: holds no scores of a study's run ({error}); remove it, and run again") from error
    return RunScores(series=series, curves=curves, **more)


def _as_tuples(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in table.items()}


@dataclass(frozen=True, slots=True)
class FailedRun:
    """A run without scores."""

    arm: str
    seed: int
    reason: str
    """The stage and the first line of what went wrong."""


@dataclass(frozen=True, slots=True)
class StudyScores:
    """All that a page is made of, beside the study's own file."""

    runs: tuple[RunScores, ...]
    """By arm in the study's order, then by seed."""
    failed: tuple[FailedRun, ...]
    missing: int
    """Runs that were not made yet."""
    facts: Mapping[str, Any]
    """command, cpu, cores, git ({revision, dirty}), stages (finished), seconds (by stage, of finished ones, shared ones
    once), recipe (TOML, of the first arm)."""
