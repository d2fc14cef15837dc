"""An evaluation of another tool as a directory of ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from openklear import __version__
from openklear.durable.files import hash_file, json_line, whole_directory, write_json
from openklear.errors import DataError, UsageError
from openklear.evaluation.exchange.holding import held
from openklear.evaluation.exchange.rows import ImportedFiles, JudgedRow
from openklear.evaluation.outcome import leave
from openklear.evaluation.results import ProblemResult, results
from openklear.evaluation.stored import (
    COMPLETIONS,
    EXTRACTED_SHOWN,
    FORMAT,
    PROMPTS,
    SAMPLES,
    SETTINGS,
    Asked,
    Place,
    Sample,
    write_asked,
    write_samples,
)
from openklear.think import split_thought
from openklear.types import Outcome
from openklear.verifiers.domains import DOMAINS

LONGEST_ID = 1000
"""Characters: ids name files in zips."""


def write_imported(found: ImportedFiles, files: Sequence[Path], output: Path) -> dict[str, Any]:
    """Writes the directory, whole or not at all, and returns what evaluation.json says.

    UsageError where `output` is there already; DataError where the files hold no row, or one sample twice.
    """
    if output.exists():
        raise UsageError(f"{output}: exists already; name another directory, or remove it")
    if not found.rows:
        raise DataError(f"{files[0]}: holds no judged completion")
    rows = _numbered(found.rows)
    asked: dict[Place, Asked] = {}
    for row in rows:
        asked.setdefault(row.asked.place, row.asked)
    with whole_directory(output) as directory:
        samples = _write_completions(directory / COMPLETIONS, rows)
        write_asked(directory / PROMPTS, asked.values())
        write_samples(directory / SAMPLES, samples)
        settings = _settings(found, files, samples)
        write_json(directory / SETTINGS, settings)
        asked_how = {one["name"]: one for one in settings["benchmarks"]}
        leave(directory, found.model or found.tool, samples, asked_how)
    return settings


def _numbered(rows: Iterable[JudgedRow]) -> list[JudgedRow]:
    """By problem and sample, counted from 0 on within each problem. DataError where two have one number."""
    groups: dict[Place, dict[int, JudgedRow]] = {}
    for row in rows:
        _check(row)
        group = groups.setdefault(row.asked.place, {})
        number = len(group) if row.sample is None else row.sample
        if number in group:
            raise DataError(
                f"{row.asked.benchmark}, problem {row.asked.problem}: sample {number} is there twice; give each file "
                "once, and the files of one run of one model"
            )
        group[number] = row
    found: list[JudgedRow] = []
    for group in groups.values():
        found += (replace(group[number], sample=place) for place, number in enumerate(sorted(group)))
    return found


def _check(row: JudgedRow) -> None:
    """DataError where a row cannot be a row of ours."""
    name = row.asked.problem
    if len(name) > LONGEST_ID:
        raise DataError(f"{row.asked.benchmark}: an id of {len(name):,} characters is none; shorten it")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{row.asked.benchmark}: the id of a problem is no text: {name!r}; give it another") from error
    if row.asked.domain not in DOMAINS:
        known = ", ".join(DOMAINS)
        raise DataError(f"{row.asked.benchmark}: no domain is called {row.asked.domain}; give --domain, one of {known}")


def _write_completions(path: Path, rows: Sequence[JudgedRow]) -> list[Sample]:
    samples, end = [], 0
    with path.open("wb") as file:
        for row in rows:
            line = b"" if row.text is None else json_line(_completion(row))
            file.write(line)
            samples.append(_sample(row, end if line else None, len(line)))
            end += len(line)
    return samples


def _completion(row: JudgedRow) -> dict[str, Any]:
    return {
        "key": None,  # of our own draws: nobody can draw this one again
        "benchmark": row.asked.benchmark,
        "problem": row.asked.problem,
        "sample": row.sample,
        "stop_reason": str(row.stop_reason),
        "tokens": row.tokens,
        "ids": None,
        "text": row.text,
        "beside": dict(row.beside),
    }


def _sample(row: JudgedRow, start: int | None, length: int) -> Sample:
    fault = "" if row.text is None else split_thought(row.text, row.asked.prompt_tail).fault
    return Sample(
        benchmark=row.asked.benchmark,
        problem=row.asked.problem,
        domain=row.asked.domain,
        sample=row.sample or 0,
        outcome=row.mark.outcome,
        level=row.asked.level,
        reason=row.mark.reason,
        extracted=None if row.extracted is None else row.extracted[:EXTRACTED_SHOWN],
        format_fault=str(fault),
        stop_reason=row.stop_reason,
        tokens=row.tokens,
        start=start,
        length=length,
    )


def _settings(found: ImportedFiles, files: Sequence[Path], samples: Sequence[Sample]) -> dict[str, Any]:
    counted = results(samples)
    names = dict.fromkeys(one.benchmark for one in counted)
    parts = sum(0.0 < (row.mark.score or 0.0) < 1.0 for row in found.rows)
    return {
        "format": FORMAT,
        "model": {} if found.model is None else {"name": found.model},
        "sampling": dict(found.sampling),
        "benchmarks": [_benchmark(name, counted) for name in names],
        "versions": {"openklear": __version__},
        "imported": {
            "tool": found.tool,
            "version": found.version,
            "score": found.score,
            "files": [{"name": path.name, "hash": hash_file(path)} for path in files],
            "completions": len(samples),
            "unscorable": sum(one.outcome is Outcome.UNSCORABLE for one in samples),
            "parts_of_a_mark": parts,
            "scores": held(found.claims, found.rows),
            "notes": found.notes,
        },
    }


def _benchmark(name: str, counted: Sequence[ProblemResult]) -> dict[str, Any]:
    mine = [one for one in counted if one.benchmark == name]
    counts = sorted({one.samples for one in mine})
    return {"name": name, "problems": len(mine), "samples": counts[-1], "fewest_samples": counts[0]}
