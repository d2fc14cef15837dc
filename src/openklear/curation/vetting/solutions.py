"""A source's own solutions against its tests: which of the two is at fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from openklear.curation.rules import Reason
from openklear.curation.rules.filters import Judge
from openklear.data.rows import Dropped, Row
from openklear.types import Attempt, Outcome, Problem, Verdict
from openklear.verifiers.domains import DOMAINS

KEPT_TESTS = 0.5
"""Share of its tests that a reference solution must pass for the tests, and not it, to be at fault (ours)."""


def check_solutions(rows: Sequence[Row], judge: Judge) -> list[Row | Dropped]:
    """Run the rows' own solutions against their tests; drop the tests that a sound solution fails, or the row.

    A solution that passes at least `KEPT_TESTS` of its tests is believed, and those it fails go. One that passes fewer,
    or none, shows that the problem or the solution is broken: which of them nobody can say, and the row goes. A test
    that cannot be judged is not passed: a reward must not depend on it. Rows of mathematics and rows without a solution
    stay as they are. The judge is asked once about all solutions, and once more about each test of those that fail.
    """
    tested = [row for row in rows if DOMAINS[row.problem.domain].tested and row.problem.tests]
    asked = [row for row in tested if row.solution is not None]
    verdicts = _judged([(row, row.problem) for row in asked], judge)
    failing = [row for row, verdict in zip(asked, verdicts, strict=True) if not verdict.correct]
    single: list[tuple[Row, Problem]] = []
    for row in failing:
        single += [(row, replace(row.problem, tests=(test,))) for test in row.problem.tests]
    alone = iter(_judged(single, judge))
    decided = {id(row): _decided(row, list(islice(alone, len(row.problem.tests)))) for row in failing}
    return [decided.get(id(row), row) for row in rows]


def _judged(asked: Sequence[tuple[Row, Problem]], judge: Judge) -> Sequence[Verdict]:
    attempts = [Attempt(problem, row.solution or "", exact=True) for row, problem in asked]
    return judge(attempts) if attempts else ()


def _decided(row: Row, verdicts: Sequence[Verdict]) -> Row | Dropped:
    """What becomes of a row whose solution failed, given a verdict for each test alone."""
    if reason := _broken(verdicts):
        return Dropped(row, *reason)
    tests = tuple(test for test, verdict in zip(row.problem.tests, verdicts, strict=True) if verdict.correct)
    return replace(row, problem=replace(row.problem, tests=tests))


def _broken(verdicts: Sequence[Verdict]) -> Reason:
    """Why a row whose solution failed cannot be kept."""
    passed = sum(verdict.correct for verdict in verdicts)
    bad = next((verdict for verdict in verdicts if not verdict.correct), None)
    if bad is None:  # it fails the tests together and none of them alone: its time, or chance
        return "solution passes only sometimes", f"{passed} of {passed} alone, not together"
    unscorable = next((one for one in verdicts if one.outcome is Outcome.UNSCORABLE), None)
    if unscorable is not None and not passed:
        return "solution cannot be graded", unscorable.reason
    if not passed:
        return "solution fails every test", bad.reason
    counted = f"{passed} of {len(verdicts)} passed; {bad.reason}"
    return None if passed >= KEPT_TESTS * len(verdicts) else ("solution fails too many tests", counted)
