"""An evaluation on disk: what became of each problem, and under which settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openklear.durable.files import read_json, stage_record
from openklear.errors import UsageError
from openklear.evaluation.results import RESULTS, ProblemResult, read_results
from openklear.evaluation.stored import SETTINGS

NAMES = ("model.name", "model.weights", "model.endpoint", "format")
"""Of what evaluation.json says: which model it was, and how the file is written."""


PLACES = ("name", "benchmark", "data")
"""Of a benchmark: what it is called and where its data lay. What the data was, its hash says."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One model's evaluation."""

    directory: Path
    results: list[ProblemResult]
    settings: dict[str, Any]
    """Dotted name -> value, of all benchmarks alike."""
    asked: dict[str, dict[str, Any]]
    """Benchmark -> the same of how it was asked."""


def open_evaluated(path: Path) -> Evaluated:
    """The evaluation that lies in `path`: `evaluate-NAME` of a run, or a run, whose last model it is then.

    UsageError where there is none.
    """
    directory = path if (path / RESULTS).is_file() else _last(path)
    path = directory / SETTINGS
    facts = read_json(path) if path.is_file() else {}
    rows = facts.pop("benchmarks", [])
    asked = {row["name"]: _told(row) for row in rows}
    return Evaluated(directory, read_results(directory / RESULTS), dict(_settings(facts)), asked)


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The settings that are not the same; None where a side has none of that name."""
    names = dict.fromkeys((*one, *other))
    return {name: (one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)}


def asked_otherwise(one: Evaluated, other: Evaluated, benchmarks: Iterable[str]) -> dict[str, tuple[Any, Any]]:
    """Everything in which two evaluations were asked otherwise, of the benchmarks that are compared."""
    found = differences(one.settings, other.settings)
    for name in benchmarks:
        apart = differences(one.asked.get(name, {}), other.asked.get(name, {}))
        found |= {f"{name}.{key}": pair for key, pair in apart.items()}
    return found


def _last(run: Path) -> Path:
    """The evaluation of a run's last model: of those that are there, the one that began last."""
    if not run.is_dir():
        raise UsageError(f"{run}: there is no such directory")
    there = [found.parent for found in run.glob(f"evaluate-*/{RESULTS}")]
    if not there:
        raise UsageError(
            f"{run}: holds no finished evaluation: neither {RESULTS} nor a directory evaluate-NAME with it. "
            f"Give an evaluated run, or one of its evaluations"
        )
    return max(there, key=lambda directory: (_began(directory), directory.name))


def _began(directory: Path) -> str:
    attempts = (stage_record(directory) or {}).get("attempts") or [{}]
    return str(attempts[-1].get("started", ""))


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    """How a benchmark was asked."""
    return {name: value for name, value in flat(row) if name not in PLACES}


def _settings(facts: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What the scores of all benchmarks depend on beside the model, as far as it is recorded."""
    if "imported" in facts:  # of what else an import leaves, no score depends
        facts["imported"] = {key: facts["imported"].get(key) for key in ("tool", "version", "score")}
    yield from ((name, value) for name, value in flat(facts) if name not in NAMES)


def flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of all that is in nested tables."""
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
