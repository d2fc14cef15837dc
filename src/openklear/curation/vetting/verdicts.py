"""Steps that ask the verifiers, or that read what they said of a model's responses (report, sections 2.1 and 2.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from openklear import progress
from openklear.curation import engine
from openklear.curation.finished import NOTHING, Outcome
from openklear.curation.rules.filters import EVERY_LEVEL, Judge
from openklear.curation.rules.filters import correct_only as correct_only_rows
from openklear.curation.table import Table
from openklear.curation.vetting.difficulty import labels, pass_rates
from openklear.curation.vetting.rules import (
    Reason,
    Response,
    by_problem,
    check_solutions,
    outside_window,
    too_few_tests,
)
from openklear.data.rows import Row, normalise, prompt_key, prompt_text
from openklear.data.store import problem_of, test_columns
from openklear.errors import DataError
from openklear.recipe.schema import Recipe
from openklear.types import Attempt, Verdict
from openklear.types import Outcome as Verdicts
from openklear.verifiers.domains import DOMAINS
from openklear.verifiers.judge import open_judge

RESPONSES = "responses.parquet"
"""What `openklear distill` leaves in its directory."""
GRADED_AT_ONCE = 256
"""Rows between two writes of the journal: what a killed stage grades again at most."""


def correct_only(table: Table, levels: Sequence[str], recipe: Recipe, journal: Path) -> Outcome:
    """Drop demonstrations of `levels` that the recipe's judge does not find correct (Table 2)."""
    asked = [
        domain
        for batch in table.batches(("level", "domain"))
        for level, domain in zip(batch["level"].to_pylist(), batch["domain"].to_pylist(), strict=True)
        if EVERY_LEVEL in levels or level in levels
    ]
    if not asked:
        return Outcome(NOTHING)
    found: list[tuple[int, str, str]] = []
    with _judging(recipe, journal, asked, "demonstrations") as judge:
        for numbers, rows in table.rows(size=GRADED_AT_ONCE):
            sifted = correct_only_rows(rows, levels, judge)
            places = {id(row): number for number, row in zip(numbers, rows, strict=True)}
            found += [(places[id(gone.row)], gone.reason, gone.detail) for gone in sifted.dropped]
    return Outcome(engine.marks(*_columns(found)))


def min_tests(table: Table, least: int) -> Outcome:
    """Drop code problems with fewer tests (report: 16)."""
    return Outcome(engine.ask(table, partial(too_few_tests, minimum=least), ("domain", "tests")))


def solutions(table: Table, recipe: Recipe, journal: Path) -> Outcome:
    """Run the sources' own solutions: tests that a sound one fails go, or the problem; the facts count the tests."""
    asked = [
        domain
        for batch in table.batches(("domain", "solution"))
        for domain, solution in zip(batch["domain"].to_pylist(), batch["solution"].to_pylist(), strict=True)
        if DOMAINS[domain].tested and solution is not None
    ]
    if not asked:
        return Outcome(NOTHING, facts={"faulty_tests": 0})
    found: list[tuple[int, str, str]] = []
    tests: dict[int, Any] = {}
    faulty = 0
    with _judging(recipe, journal, asked, "solutions") as judge:
        for numbers, rows in table.rows(size=GRADED_AT_ONCE):
            checked = check_solutions(rows, judge)
            places = {row.problem.id: number for number, row in zip(numbers, rows, strict=True)}  # unique since `read`
            before = {row.problem.id: len(row.problem.tests) for row in rows}
            found += [(places[gone.row.problem.id], gone.reason, gone.detail) for gone in checked.dropped]
            mended = [row.problem for row in checked.kept if len(row.problem.tests) < before[row.problem.id]]
            tests |= {places[problem.id]: test_columns(problem) for problem in mended}
            faulty += len(checked.faulty)
    return Outcome(engine.marks(*_columns(found)), patches={"tests": tests}, facts={"faulty_tests": faulty})


def vetted(table: Table, directory: Path, rule: Callable[[Row, Sequence[Response]], Reason]) -> Outcome:
    """Drop problems by what a model's graded responses say of them."""
    known = by_problem(responses(directory))
    return Outcome(engine.ask(table, lambda row: rule(row, known.get(prompt_key(row), ())), ("prompt", "domain")))


def by_policy(row: Row, found: Sequence[Response], low: float, high: float) -> Reason:
    """The window of the policy's own pass rate."""
    return outside_window(found, low, high)


def labelled(table: Table, directory: Path, easy: float, hard: float) -> Outcome:
    """Label problems easy, medium or hard by a reference model's pass rate; those it was not asked lose their level."""
    names = labels(pass_rates(responses(directory)), easy, hard)
    found = {
        number: names.get(normalise(text))
        for batch in table.batches(("text",))
        for number, text in zip(batch["row"].to_pylist(), batch["text"].to_pylist(), strict=True)
    }
    counts = Counter(name or "not asked" for name in found.values())
    return Outcome(NOTHING, patches={"level": found}, facts={"labels": dict(sorted(counts.items()))})


def responses(directory: Path) -> Iterator[Response]:
    """The graded responses that `openklear distill` left in a directory.

    Raises DataError where there are none. Failed and ungraded responses say nothing of the problem.
    """
    path = directory / RESPONSES
    if not path.is_file():
        raise DataError(f"{path}: no such file; name the directory that openklear distill wrote, once it has finished")
    columns = ["prompt", "sample", "outcome", "passed", "total", "extracted"]
    with pq.ParquetFile(path, pre_buffer=False) as file:
        if lacking := [name for name in columns if name not in file.schema_arrow.names]:
            raise DataError(
                f"{path}: has no column {', '.join(lacking)}; name a directory that openklear distill wrote"
            )
        for batch in file.iter_batches(batch_size=1024, columns=columns):
            for row in batch.to_pylist():
                if row["outcome"] is not None:
                    yield _response(row)


def _response(row: Mapping[str, Any]) -> Response:
    correct = None if row["outcome"] == Verdicts.UNSCORABLE else row["outcome"] == Verdicts.CORRECT
    key = normalise(prompt_text(problem_of({"prompt": row["prompt"]})))
    return Response(key, row["sample"], correct, row["passed"] or 0, row["total"] or 0, row["extracted"])


@contextmanager
def _judging(recipe: Recipe, journal: Path, domains: Sequence[str], unit: str) -> Iterator[Judge]:
    """The recipe's judge for about as many attempts as there are `domains`; it shows how far it is."""
    correct = 0
    with (
        progress.task("prepare: grading", len(domains), unit) as advance,
        open_judge(recipe.verifiers.limits, set(domains), progress.say_once, journal=journal) as judge,
    ):

        def judged(attempts: Sequence[Attempt]) -> Sequence[Verdict]:
            nonlocal correct
            verdicts = judge.judge(attempts)
            correct += sum(verdict.correct for verdict in verdicts)
            advance(len(verdicts), correct=correct)
            return verdicts

        yield judged


def _columns(found: Sequence[tuple[int, str, str]]) -> tuple[list[int], list[str], list[str]]:
    return [row for row, _, _ in found], [reason for _, reason, _ in found], [detail for _, _, detail in found]
