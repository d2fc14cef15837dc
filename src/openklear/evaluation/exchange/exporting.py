"""An evaluation written for another tool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from openklear.durable.files import json_text, write_atomic
from openklear.errors import DataError
from openklear.evaluation.exchange.about import average, by_benchmark, file_names, new_file
from openklear.evaluation.exchange.every_eval_ever import write_every_eval_ever
from openklear.evaluation.exchange.livecodebench import entries
from openklear.evaluation.exchange.names import Format
from openklear.evaluation.exchange.to_inspect import write_eval
from openklear.evaluation.exchange.to_lm_eval import write_lm_eval
from openklear.evaluation.results import RESULTS
from openklear.evaluation.stored import Sample, Stored, open_stored

Benchmarks = dict[str, list[list[Sample]]]
"""By name, problem by problem."""


@dataclass(frozen=True, slots=True)
class ExportedFiles:
    """What an export wrote."""

    files: list[Path]
    left_out: dict[str, str]
    """Benchmarks that the format has no place for, and why."""


def export(directory: Path, form: Format, path: Path) -> ExportedFiles:
    """Writes an evaluation in one of the formats.

    `inspect` and `livecodebench` hold one benchmark a file: of an evaluation with several, `path` becomes a directory.
    UsageError where `path` is there already or `directory` holds no evaluation; DataError where that is still
    under way, or the format has no place for any of it.
    """
    stored = open_stored(directory)
    benchmarks = by_benchmark(stored)
    if not (directory / RESULTS).is_file():
        raise DataError(
            f"{directory}: the evaluation is still under way, and its scores would change; let it end first"
        )
    new_file(path)
    left_out = _left_out(benchmarks, form)
    some = {name: groups for name, groups in benchmarks.items() if name not in left_out}
    if not some:
        said = "; ".join(f"{name} {why}" for name, why in left_out.items())
        raise DataError(f"{directory}: nothing to write as {form}: {said}")
    if form == "every-eval-ever":
        write_every_eval_ever(stored, some, path)
    elif form == "lm-eval":
        write_lm_eval(stored, some, path)
    else:
        _each(stored, some, form, path)
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    return ExportedFiles(files, left_out)


def _left_out(benchmarks: Benchmarks, form: Format) -> dict[str, str]:
    found = {}
    for name, groups in benchmarks.items():
        if form == "livecodebench" and groups[0][0].domain != "code":
            found[name] = "is not of programs, which alone this format holds"
        if form == "every-eval-ever" and average(groups) is None:
            found[name] = "has no scorable completion, and a score of nothing has no place there"
    return found


def _each(stored: Stored, benchmarks: Benchmarks, form: Format, path: Path) -> None:
    """A file for each benchmark."""
    ending = ".eval" if form == "inspect" else "_eval_all.json"
    names = file_names(benchmarks)
    for name, groups in benchmarks.items():
        one = path if len(benchmarks) == 1 else path / f"{names[name]}{ending}"
        if form == "inspect":
            write_eval(stored, name, groups, one)
        else:
            _write_programs(stored, groups, one)


def _write_programs(stored: Stored, groups: Sequence[Sequence[Sample]], path: Path) -> None:
    rows = list(entries(stored, chain.from_iterable(groups)))
    write_atomic(path, json_text(rows, indent=4) + "\n")
