"""An evaluation on disk: what became of each problem, and under which settings."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openklear.durable.files import read_json, stage_record
from openklear.errors import DataError, UsageError
from openklear.evaluation.results import RESULTS, ProblemResult, read_results

RECIPE = {
    "": ("seed",),
    "evaluation": ("temperature", "top_p", "top_k", "min_p", "max_completion_tokens"),
    "engine": ("type",),
    "verifiers": ("math_seconds", "code_seconds", "code_memory_mb", "packages", "graders"),
}
"""Table -> keys of a recipe that a score depends on, beside the model and the problems."""
ASKED = ("samples", "limit", "limit_by", "prompt_template", "system_prompt", "prompt_suffix")
"""What a benchmark says of how it is asked."""
MACHINE = ("device", "model.dtype")
"""What an attempt at a stage records of where it ran, and a score may depend on."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One model's evaluation."""

    directory: Path
    results: list[ProblemResult]
    settings: dict[str, Any]
    """Dotted name -> value."""


def open_evaluated(path: Path) -> Evaluated:
    """The evaluation that lies in `path`: `evaluate-NAME` of a run, or a run, whose last model it is then.

    UsageError where there is none.
    """
    directory = path if (path / RESULTS).is_file() else _last(path)
    return Evaluated(directory, read_results(directory / RESULTS), dict(_settings(directory)))


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The settings that are not the same; None where a side has none of that name."""
    names = dict.fromkeys((*one, *other))
    return {name: (one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)}


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


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _settings(directory: Path) -> Iterator[tuple[str, Any]]:
    """What the scores depend on beside the model, as far as it is recorded."""
    recipe = directory.parent / "recipe.toml"
    if recipe.is_file():
        written = _toml(recipe)
        for table, keys in RECIPE.items():
            there = written.get(table, {}) if table else written
            yield from ((f"{table}.{key}".lstrip("."), there[key]) for key in keys if key in there)
    attempts = (stage_record(directory) or {}).get("attempts") or [{}]
    machine = attempts[-1].get("settings", {})
    yield from ((name, machine[name]) for name in MACHINE if name in machine)
    if (directory / "scores.json").is_file():
        for row in read_json(directory / "scores.json").get("benchmarks", ()):
            yield from ((f"{row['benchmark']}.{name}", row[name]) for name in ASKED if row.get(name) is not None)
