"""What became of each held-out problem, compactly: `evaluate-NAME/problems.jsonl`.

Two models of a run are compared problem by problem from these files alone; no rollout is read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from openklear.durable.files import read_jsonl, write_jsonl_atomic
from openklear.errors import DataError
from openklear.evaluation.stored import Sample
from openklear.types import Outcome

Series = tuple[str, str]
"""(benchmark, domain): what has scores of its own."""
RESULTS = "problems.jsonl"
"""In the directory of an evaluation."""


@dataclass(frozen=True, slots=True)
class ProblemResult:
    """The completions of one problem, counted."""

    id: str
    benchmark: str
    domain: str
    level: str | None
    samples: int
    scorable: int
    correct: int
    stopped_by_length: int
    tokens: int
    """Of all its completions together."""

    @property
    def series(self) -> Series:
        """Its benchmark and domain."""
        return self.benchmark, self.domain

    @property
    def share(self) -> float | None:
        """Correct completions over scorable ones; None where none is scorable."""
        return self.correct / self.scorable if self.scorable else None


def results(samples: Iterable[Sample]) -> list[ProblemResult]:
    """One result a problem, in the order in which the problems come first."""
    by_place: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        by_place.setdefault(sample.place, []).append(sample)
    return [_result(some) for some in by_place.values()]


def _result(samples: Sequence[Sample]) -> ProblemResult:
    first = samples[0]
    return ProblemResult(
        id=first.problem,
        benchmark=first.benchmark,
        domain=first.domain,
        level=first.level,
        samples=len(samples),
        scorable=sum(one.outcome is not Outcome.UNSCORABLE for one in samples),
        correct=sum(one.correct for one in samples),
        stopped_by_length=sum(one.truncated for one in samples),
        tokens=sum(one.tokens or 0 for one in samples),
    )


def write_results(path: Path, found: Sequence[ProblemResult]) -> None:
    """Write them in their order."""
    write_jsonl_atomic(path, map(asdict, found))


def read_results(path: Path) -> list[ProblemResult]:
    """What `write_results` wrote; [] where there is no such file, as in runs of older versions.

    DataError names a row that is not one of these.
    """
    return [_read(path, line, row) for line, row in enumerate(read_jsonl(path), 1)] if path.is_file() else []


def _read(path: Path, line: int, row: Mapping[str, Any]) -> ProblemResult:
    try:
        return ProblemResult(**row)
    except TypeError as error:
        text = f"{path}:{line}: is no row of an evaluation ({error}); evaluate again, or restore the file"
        raise DataError(text) from error
