"""Steps that ask the verifiers, or that read what they said of a model's responses (report, sections 2.1 and 2.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openklear import progress
from openklear.curation import engine
from openklear.curation.finished import NOTHING, StepResult
from openklear.curation.rules import Reason
from openklear.curation.rules.filters import EVERY_LEVEL, Judge, no_reference
from openklear.curation.rules.filters import correct_only as correct_only_rows
from openklear.curation.table import ROW_COLUMNS, RowTable
from openklear.curation.vetting.responses import GradedResponse, by_problem, labels, pass_rates
from openklear.curation.vetting.solutions import check_solutions
from openklear.data.rows import Dropped, Row, normalise, prompt_key
from openklear.data.store import problem_of, test_columns
from openklear.errors import DataError
from openklear.recipe.schema import Recipe
from openklear.types import Attempt, Outcome, Verdict
from openklear.verifiers.domains import DOMAINS
from openklear.verifiers.judge import open_judge
from openklear.verifiers.unscorable import refuse_verdicts, unscorable

RESPONSES = "responses.parquet"
"""What `openklear distill` leaves in its directory."""
GRADED_AT_ONCE = 256
"""Rows between two writes of the journal: what a killed stage grades again at most."""


def gradable(table: RowTable, recipe: Recipe) -> StepResult:
    """Drop problems that nothing can grade: without a reference, or with one that cannot tell right from wrong."""
    marked = engine.ask(table, no_reference, ROW_COLUMNS)
    missing = set(marked["row"].to_pylist())
    probed = {name for name, domain in DOMAINS.items() if domain.undecidable is not None}
    if probed.isdisjoint(domain for domain, _ in _pairs(table, "domain", "level")):
        return StepResult(marked)
    dropped: dict[int, Dropped] = {}
    with open_judge(recipe.verifiers.limits, (), progress.say_once) as judge:
        for numbers, rows in table.rows(("domain", "answer"), GRADED_AT_ONCE):
            asked = {number: row for number, row in zip(numbers, rows, strict=True) if number not in missing}
            found = judge.undecidable([row.problem for row in asked.values()])
            for (number, row), why in zip(asked.items(), found, strict=True):
                if why is not None:
                    dropped[number] = Dropped(row, *why)
    return StepResult(pa.concat_tables([marked, _marks(dropped)]).sort_by("row"))


def correct_only(table: RowTable, levels: Sequence[str], recipe: Recipe, journal: Path) -> StepResult:
    """Drop demonstrations of `levels` that the recipe's judge does not find correct (Table 2)."""
    pairs = _pairs(table, "level", "domain")
    asked = [domain for level, domain in pairs if EVERY_LEVEL in levels or level in levels]
    if not asked:
        return StepResult(NOTHING)
    dropped: dict[int, Dropped] = {}
    with _judging(recipe, journal, asked, "demonstrations") as judge:
        for numbers, rows in table.rows(size=GRADED_AT_ONCE):
            found = zip(numbers, correct_only_rows(rows, levels, judge), strict=True)
            dropped |= {number: item for number, item in found if isinstance(item, Dropped)}
    return StepResult(_marks(dropped))


def solutions(table: RowTable, recipe: Recipe, journal: Path) -> StepResult:
    """Run the sources' own solutions: tests that a sound one fails go, or the problem; the facts count the tests."""
    pairs = _pairs(table, "domain", "solution")
    asked = [domain for domain, solution in pairs if DOMAINS[domain].tested and solution is not None]
    dropped: dict[int, Dropped] = {}
    tests: dict[int, Any] = {}
    faulty = 0
    if asked:
        with _judging(recipe, journal, asked, "solutions") as judge:
            for numbers, rows in table.rows(size=GRADED_AT_ONCE):
                for number, row, item in zip(numbers, rows, check_solutions(rows, judge), strict=True):
                    if isinstance(item, Dropped):
                        dropped[number] = item
                    elif removed := len(row.problem.tests) - len(item.problem.tests):
                        tests[number] = test_columns(item.problem)
                        faulty += removed
    return StepResult(_marks(dropped), {"tests": tests}, facts={"faulty_tests": faulty})


def vetted(table: RowTable, directory: Path, rule: Callable[[Row, Sequence[GradedResponse]], Reason]) -> StepResult:
    """Drop problems by what a model's graded responses say of them."""
    known = by_problem(responses(directory))

    def by_responses(row: Row) -> Reason:
        return rule(row, known.get(prompt_key(row.problem), ()))

    return StepResult(engine.ask(table, by_responses, ("prompt", "domain")))


def labelled(table: RowTable, directory: Path, easy: float, hard: float) -> StepResult:
    """Label problems easy, medium or hard by a reference model's pass rate; those it was not asked lose their level."""
    names = labels(pass_rates(responses(directory)), easy, hard)
    found: dict[int, str | None] = {}
    for batch in table.batches(("text",)):
        rows, texts = batch["row"].to_pylist(), batch["text"].to_pylist()
        found |= {row: names.get(normalise(text)) for row, text in zip(rows, texts, strict=True)}
    counts = Counter(name or "not asked" for name in found.values())
    return StepResult(NOTHING, patches={"level": found}, facts={"labels": dict(sorted(counts.items()))})


def responses(directory: Path) -> Iterator[GradedResponse]:
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


def _response(row: Mapping[str, Any]) -> GradedResponse:
    correct = None if row["outcome"] == Outcome.UNSCORABLE else row["outcome"] == Outcome.CORRECT
    key = prompt_key(problem_of({"prompt": row["prompt"]}))
    return GradedResponse(key, row["sample"], correct, row["passed"] or 0, row["total"] or 0, row["extracted"])


@contextmanager
def _judging(recipe: Recipe, journal: Path, domains: Sequence[str], unit: str) -> Iterator[Judge]:
    """The recipe's judge for about as many attempts as there are `domains`; it shows its progress."""
    correct = 0
    lost: list[Verdict] = []
    share = recipe.stop.unscorable_share
    with (
        progress.task("prepare: grading", len(domains), unit) as advance,
        open_judge(recipe.verifiers.limits, set(domains), progress.say_once, journal=journal) as judge,
    ):

        def judged(attempts: Sequence[Attempt]) -> Sequence[Verdict]:
            nonlocal correct
            judge.trial([attempt.problem for attempt in attempts])
            verdicts = judge.judge(attempts)
            lost.extend(unscorable(verdicts))
            refuse_verdicts(lost, len(domains), share, f"prepare: grading {unit}")
            correct += sum(verdict.correct for verdict in verdicts)
            advance(len(verdicts), correct=correct)
            return verdicts

        yield judged


def _pairs(table: RowTable, first: str, second: str) -> Iterator[tuple[Any, Any]]:
    """Two columns of the living rows, in order."""
    for batch in table.batches((first, second)):
        yield from zip(batch[first].to_pylist(), batch[second].to_pylist(), strict=True)


def _marks(dropped: Mapping[int, Dropped]) -> pa.Table:
    gone = dropped.values()
    return engine.marks([*dropped], [one.reason for one in gone], [one.detail for one in gone])
