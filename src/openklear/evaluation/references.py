"""The problems of an evaluation that is there, with what their attempts are held against.

They come from the run that it belongs to, from where it says that its data was, or, of answers alone, from its own
prompts.jsonl.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from openklear.data.store import prepared, read_problems
from openklear.errors import DataError, OpenKlearError
from openklear.evaluation.catalogue.definition import choose
from openklear.evaluation.catalogue.reading import read
from openklear.evaluation.stored import Asked, Place, Stored
from openklear.types import Problem
from openklear.verifiers.domains import domain_named

ERRATA = "-errata"


def references(stored: Stored, wanted: Collection[Place]) -> dict[Place, Problem]:
    """The problems of an evaluation with their references, by place.

    DataError where one is held against tests, and these are nowhere to be found.
    """
    found = dict(_of_run(stored))
    for name in dict.fromkeys(benchmark for benchmark, _ in wanted):
        if any((name, problem) not in found for benchmark, problem in wanted if benchmark == name):
            found |= _of_benchmark(stored, name)
    for place in set(wanted) - found.keys():
        found[place] = _alone(stored.asked[place], stored)
    return found


def _of_run(stored: Stored) -> Iterator[tuple[Place, Problem]]:
    """Of a run's stage: what its `prepare` kept."""
    heldout = prepared(stored.directory.parent / "prepare").heldout
    if heldout.is_file():
        for problem in read_problems(heldout):
            yield (problem.source, problem.id), problem


def _of_benchmark(stored: Stored, name: str) -> dict[Place, Problem]:
    """From where its data was; nothing where that is gone."""
    rows: Sequence[Mapping[str, Any]] = stored.settings.get("benchmarks", ())
    row = next((row for row in rows if row.get("name") == name), {})
    if not row.get("data"):
        return {}
    with suppress(OpenKlearError):
        posing = read(
            replace(choose(row.get("benchmark") or name.removesuffix(ERRATA)), path=row["data"]), unpinned=True
        )
        return {(name, one.problem.id): one.problem for one in posing.problems}
    return {}


def _alone(asked: Asked, stored: Stored) -> Problem:
    """A problem from what the evaluation kept of it, which is its answer."""
    if domain_named(asked.domain).tested or asked.reference is None:
        raise DataError(
            f"{stored.directory}: the tests of {asked.problem} cannot be found where the evaluation had its data; give "
            "that file its place again"
        )
    return Problem(
        asked.problem, asked.prompt, asked.domain, answer=asked.reference, checker=asked.checker, level=asked.level
    )
