"""RL problems: rules by hand; solutions against tests of which some were broken on purpose, run for real."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.shared_data import shared

from openklear.curation.vetting.responses import (
    GradedResponse,
    by_problem,
    low_pass_rate,
    no_agreement,
    outside_window,
    teacher_fails,
)
from openklear.curation.vetting.solutions import check_solutions
from openklear.data.rows import Dropped, Row
from openklear.data.test_cases import check_tests
from openklear.types import AnyTest, Attempt, CallTest, Message, Outcome, Problem, Test, Verdict
from openklear.verifiers.judge import Judge, Limits


def row(
    tests: Sequence[AnyTest] = (),
    solution: str | None = None,
    domain: str = "code",
    where: str = "f:1",
    prompt: str = "p",
) -> Row:
    answer = "1" if domain == "math" else None
    problem = Problem(where, (Message(role="user", content=prompt),), domain, answer, tuple(tests))
    return Row(problem, where, solution=solution)


def responses(*said: Any) -> list[GradedResponse]:
    """(correct, passed, total, answer) each."""
    return [GradedResponse("k", index, *one) for index, one in enumerate(said)]


def code(*shares: tuple[int, int] | None) -> list[GradedResponse]:
    return responses(*((None, 0, 4) if s is None else (s[0] == s[1] and s[1] > 0, *s) for s in shares))


def math(*answers: str | None) -> list[GradedResponse]:
    """The reference is 1, also written 1.0; "?" could not be scored."""
    return responses(*((None if a == "?" else a in ("1", "1.0"), int(a in ("1", "1.0")), 1, a) for a in answers))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (code((4, 4), (1, 4)), None),
        (code((4, 4), (0, 4)), ("low pass rate", "0.500 over 2; above 0.5 is asked for")),
        (code((3, 4), (2, 4), (1, 4)), ("low pass rate", "0.500 over 3; above 0.5 is asked for")),
        (code((3, 4), None), None),
        (code((1, 2), (0, 0), (4, 4), (2, 2)), None),
        (code((1, 1), (0, 0)), ("low pass rate", "0.500 over 2; above 0.5 is asked for")),
        (code(None, None), ("no scorable response", "2 responses")),
        ([], ("no responses", "")),
    ],
)
def test_mean_pass_rate(said: list[GradedResponse], expected: tuple[str, str] | None) -> None:
    assert low_pass_rate(said, 0.5) == expected
    assert teacher_fails(row(), said, 0.5) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (math("1", "1", "2"), None),
        (math("1", "1.0", "2"), None),
        (math("1", "2", "3"), ("no majority", "1 of 3 correct, 1 say 3")),
        (math("1", "1", "2", "3"), None),
        (math("1", "x  Y", "X y"), ("the majority is wrong", "1 of 3 correct, 2 say x y")),
        (math("1", "2"), ("no majority", "1 of 2 correct, 1 say 2")),
        (math("1", "2", "?", "?"), ("no majority", "1 of 2 correct, 1 say 2")),
        (math("1", None, None, None), None),
        (math(None, None), ("no majority", "none of 2 responses has an answer")),
        (math("2", "2"), ("the majority is wrong", "0 of 2 correct, 2 say 2")),
        (math("?"), ("no scorable response", "1 responses")),
        ([], ("no responses", "")),
    ],
)
def test_agreement(said: list[GradedResponse], expected: tuple[str, str] | None) -> None:
    assert no_agreement(said) == expected
    assert teacher_fails(row(domain="math"), said, 0.5) == expected


@pytest.mark.parametrize(
    ("correct", "window", "expected"),
    [
        ([True, False], (0.0, 1.0), None),
        ([True, True], (0.0, 1.0), ("always solved by the policy", "2 of 2")),
        ([False, False, None], (0.0, 1.0), ("never solved by the policy", "0 of 2")),
        ([True, False, False, False], (0.25, 1.0), ("too hard for the policy", "1 of 4")),
        ([True, True, True, False], (0.0, 0.75), ("too easy for the policy", "3 of 4")),
        ([True, False, False], (0.25, 0.75), None),
        ([None], (0.0, 1.0), ("no scorable response", "1 responses")),
        ([], (0.0, 1.0), ("no responses", "")),
    ],
)
def test_window(correct: list[bool | None], window: tuple[float, float], expected: tuple[str, str] | None) -> None:
    said = responses(*((one, 0, 1) for one in correct))
    assert outside_window(said, *window) == expected


def test_responses_by_problem() -> None:
    one, two = GradedResponse("a", 1, True, 1, 1), GradedResponse("b", 0, None, 0, 1)
    three = GradedResponse("a", 0, False, 0, 1)
    assert by_problem([one, two, three]) == {"a": [three, one], "b": [two]}


class Told:
    """A judge that is told which stdins every solution passes; 'x' it cannot judge."""

    def __init__(self, passes: str, together: bool = True):
        self.passes, self.together = passes, together
        self.asked: list[list[Attempt]] = []

    def __call__(self, attempts: Sequence[Attempt]) -> list[Verdict]:
        assert all(attempt.exact for attempt in attempts)
        self.asked.append(list(attempts))
        return [self._one(attempt.problem.tests) for attempt in attempts]

    def _one(self, tests: Sequence[Any]) -> Verdict:
        if len(tests) > 1 and not self.together:
            return Verdict(Outcome.INCORRECT, "timeout", passed=0, total=len(tests))
        passed = sum(test.stdin in self.passes for test in tests)
        if passed == len(tests):
            return Verdict(Outcome.CORRECT, passed=passed, total=passed)
        lost = all(test.stdin in self.passes + "x" for test in tests)
        return Verdict(
            Outcome.UNSCORABLE if lost else Outcome.INCORRECT,
            "lost" if lost else "wrong output",
            passed=passed,
            total=len(tests),
        )


def named_tests(names: str) -> list[Test]:
    return [Test(name, "o") for name in names]


@pytest.mark.parametrize(
    ("names", "kept", "dropped"),
    [
        ("abcd", "abcd", None),
        ("abcz", "abc", None),
        ("abyz", "ab", None),
        ("axyz", None, ("solution fails too many tests", "1 of 4 passed; lost")),
        ("yz", None, ("solution fails every test", "wrong output")),
        ("xx", None, ("solution cannot be graded", "lost")),
        ("abx", "ab", None),
        ("z", None, ("solution fails every test", "wrong output")),
    ],
)
def test_what_becomes_of_a_row(names: str, kept: str | None, dropped: tuple[str, str] | None) -> None:
    given = row(named_tests(names), "program")
    found = check_solutions([given], Told("abcd"))
    if kept is None:
        assert found == [Dropped(given, *(dropped or ()))]
    else:
        assert found == [replace(given, problem=replace(given.problem, tests=tuple(named_tests(kept))))]


def test_who_is_asked() -> None:
    good, bad = row(named_tests("ab"), "p", where="f:1"), row(named_tests("az"), "p", where="f:2")
    others = [row(named_tests("z"), None, where="f:3"), row((), "p", where="f:4"), row((), "1", "math", where="f:5")]
    told = Told("ab")
    found = check_solutions([*others, bad, good], told)
    assert [len(attempts) for attempts in told.asked] == [2, 2]
    assert [one.where for one in found if isinstance(one, Row)] == ["f:3", "f:4", "f:5", "f:2", "f:1"]
    assert check_solutions(others, Told("")) == others


def test_a_solution_that_passes_its_tests_alone_only() -> None:
    (found,) = check_solutions([row(named_tests("ab"), "p")], Told("ab", together=False))
    assert isinstance(found, Dropped)
    assert found.reason == "solution passes only sometimes"


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    limits = Limits(workers=2, code_seconds=5.0, minimum_isolation="rlimits")
    with Judge(limits) as made:
        yield made


def test_faulty_tests_of_a_call(judge: Judge) -> None:
    tests = [
        CallTest("f", "[1]", "2"),
        CallTest("f", "[2]", "5"),
        CallTest("f", "[3]", "4"),
        CallTest("f", "not JSON", "1"),
    ]
    given = row(tests, "def f(x):\n    return x + 1")
    crash = row(tests[:1], "def f(x):\n    return nothing", where="f:2")
    found = check_solutions([given, crash], judge.judge)
    assert isinstance(found[0], Row)
    assert found[0].problem.tests == (tests[0], tests[2])
    assert isinstance(found[1], Dropped)
    assert (found[1].row.where, found[1].reason) == ("f:2", "solution fails every test")


def stdin_rows() -> list[Row]:
    raw = [json.loads(line) for line in shared("train/taco_stdin.jsonl").read_text().split("\n") if line]
    raw = [one for one in raw if len(one["inputs"]) >= 3][:10]
    return [
        row([Test(i, o) for i, o in zip(one["inputs"], one["outputs"], strict=True)], one["reference_solution"],
            where=one["id"], prompt=one["id"])
        for one in raw
    ]  # fmt: skip


def call_rows() -> list[Row]:
    raw = [json.loads(line) for line in shared("train/leetcode_functional.jsonl").read_text().split("\n")[:10]]
    return [row(check_tests(one["tests"]), one["reference_solution"], where=one["id"]) for one in raw]


def test_tests_that_were_broken_are_found(judge: Judge) -> None:
    """Every other row's second test asks for another output; all solutions pass before, and nothing else is touched."""
    whole = stdin_rows()
    assert check_solutions(whole, judge.judge) == whole
    broken = [
        replace(one, problem=replace(one.problem, tests=tuple(
            replace(test, stdout=test.stdout + "7") if place == 1 and index % 2 else test
            for place, test in enumerate(one.problem.tests)
        )))
        for index, one in enumerate(whole)
    ]  # fmt: skip
    found = check_solutions(broken, judge.judge)
    for before, after, index in zip(whole, found, range(len(whole)), strict=True):
        expected = before.problem.tests
        assert isinstance(after, Row)
        assert after.problem.tests == ((expected[0], *expected[2:]) if index % 2 else expected)


def test_solutions_that_were_broken_are_found(judge: Judge) -> None:
    rows = call_rows()
    assert check_solutions(rows, judge.judge) == rows
    torn = [replace(one, solution=(one.solution or "").replace("return", "raise", 99)) for one in rows[:4]]
    found = check_solutions([*torn, *rows[4:]], judge.judge)
    assert [one.row for one in found if isinstance(one, Dropped)] == torn
    assert found[4:] == rows[4:]
