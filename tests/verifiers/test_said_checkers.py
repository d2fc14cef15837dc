"""A statement that takes letters in any case asks for a checker; every room takes it at the same word."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from openklear.curation.rules.filters import no_reference
from openklear.data.shapes import parse_rows
from openklear.data.store import problem_columns, problem_of
from openklear.grading import Grader, Limits
from openklear.types import Attempt, Outcome, Problem, Test
from openklear.verifiers.domains import DOMAINS
from openklear.verifiers.judge import Judge
from openklear.verifiers.stream import judged

ANY_CASE = "Print YES or NO. You can print each letter in any case."
MANY = f"{ANY_CASE} If there are several answers, print any of them."
TESTS = (Test("", "YES\n"),)


def problem(statement, checker=None, tests=TESTS):
    return Problem("p", ({"role": "user", "content": statement},), "code", tests=tests, checker=checker)


def row_of(statement, **columns):
    raw = {"prompt": statement, "tests": [{"stdin": "", "stdout": "YES\n"}], **columns}
    (row,) = parse_rows(raw, "f:1", role="problems", source="s", domain="code")
    return row


@pytest.fixture(scope="module")
def judge():
    with Judge(Limits(1, 2.0, 5.0)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("asked", "outcome"),
    [
        (problem(ANY_CASE), Outcome.CORRECT),
        (problem(ANY_CASE, "lines"), Outcome.INCORRECT),
        (problem("Print YES or NO."), Outcome.INCORRECT),
        (problem("Print YES or NO.", "anycase"), Outcome.CORRECT),
        (problem(MANY), Outcome.UNSCORABLE),
    ],
)
def test_the_judge_takes_it(judge, asked, outcome):
    assert judge.judge([Attempt(asked, "print('yes')", exact=True)])[0].outcome is outcome


def test_data_rows_keep_it_for_stages_without_the_statement():
    row = row_of(ANY_CASE)
    assert row.problem.checker == "anycase"
    assert no_reference(row) is None
    assert problem_of(problem_columns(row.problem)).checker == "anycase"
    assert row_of(ANY_CASE, checker="tokens").problem.checker == "tokens"
    assert row_of(MANY).problem.checker is None
    assert no_reference(row_of(MANY)) == ("many valid answers and no checker", "")
    assert row_of("Print YES or NO.").problem.checker is None


def test_only_programs_with_tests_are_completed():
    complete = DOMAINS["code"].complete
    assert complete(problem(ANY_CASE)) == replace(problem(ANY_CASE), checker="anycase")
    assert complete(problem(ANY_CASE, tests=())).checker is None
    assert DOMAINS["math"].complete(replace(problem(ANY_CASE), domain="math")).checker is None


def test_a_server_of_programs_is_held_to_it_too():
    command = [sys.executable, Path(__file__).with_name("sandbox_server.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            url = f"http://127.0.0.1:{process.stdout.readline().decode().strip()}"
            with Grader(Limits(1, graders={"code": url})) as grader:
                rows = [
                    {"problem": statement, "program": "print('yes')", "tests": [{"stdin": "", "stdout": "YES"}]}
                    for statement in (ANY_CASE, "Print YES or NO.", MANY)
                ]
                asked = [grader.asked(row, "code") for row in rows]
                found = [verdict for group in judged(grader.judge, asked, 3) for _, verdict in group]
        finally:
            process.kill()
    assert [verdict.outcome for verdict in found] == [Outcome.CORRECT, Outcome.INCORRECT, Outcome.UNSCORABLE]
