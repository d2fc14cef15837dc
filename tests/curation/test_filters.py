"""Rules that look at one row, and the correctness policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.data.rows_on_disk import row as made

from openklear.curation.rules.filters import (
    bad_format,
    bad_length,
    correct_only,
    no_reference,
    too_few_tests,
)
from openklear.data.rows import Dropped, Row
from openklear.types import Attempt, Message, Outcome, Problem, Test, Verdict


def row(prompt: str, response: str | None = None) -> Row:
    turns = (Message(role="system", content="x" * 100), Message(role="user", content=prompt))
    return Row(Problem("i", turns, "math", "1"), "f:1", response)


@pytest.mark.parametrize(
    ("limits", "prompt", "response", "expected"),
    [
        ({}, "", "", None),
        ({"min_prompt": 4}, "four", None, None),
        ({"min_prompt": 5}, "four", None, ("prompt too short", "4 characters; at least 5")),
        ({"max_prompt": 4}, "four", None, None),
        ({"max_prompt": 3}, "four", None, ("prompt too long", "4 characters; at most 3")),
        ({"max_prompt": 4}, "fünf", None, None),
        ({"max_response": 1999}, "p", "ab " * 700, ("response too long", "2,100 characters; at most 1,999")),
        ({"max_response": 1}, "p", None, None),
    ],
)
def test_lengths(limits: dict[str, int], prompt: str, response: str | None, expected: tuple[str, str] | None) -> None:
    every = {"min_prompt": None, "max_prompt": None, "max_response": None} | limits
    assert bad_length(row(prompt, response), **every) == expected


def kept(found: Sequence[Row | Dropped]) -> list[Row]:
    return [item for item in found if isinstance(item, Row)]


def gone(found: Sequence[Row | Dropped]) -> list[tuple[str, str]]:
    return [(item.reason, item.detail) for item in found if isinstance(item, Dropped)]


def judge(attempts: Sequence[Attempt]) -> list[Verdict]:
    """Right where the response holds the answer, unscorable where it holds a question mark."""
    return [
        Verdict(Outcome.UNSCORABLE, "lost worker")
        if "?" in a.text
        else Verdict(Outcome.CORRECT if (a.problem.answer or "") in a.text else Outcome.INCORRECT, "not equal")
        for a in attempts
    ]


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("<think>a</think>1", None),
        ("\n<think>a</think>\n1", None),
        ("1", "no reasoning"),
        ("<think>a", "reasoning not closed or not opened"),
        ("a</think>1", "reasoning not closed or not opened"),
        ("<think>a</think><think>b</think>1", "more than one reasoning"),
        ("<think>a</think>b</think>1", "more than one reasoning"),
        ("<think>a</think> \n", "no answer after the reasoning"),
        ("Well. <think>a</think>1", "text before the reasoning"),
        ("</think>a<think>1", "text before the reasoning"),
    ],
)
def test_require_format(response: str, reason: str | None) -> None:
    found = bad_format(made("p", response))
    assert (found and found[0]) == reason


def test_require_reference() -> None:
    tests = (Test("1", "2"),)
    rows = [
        made("a", answer="1"),
        made("b", answer=None, tests=tests),
        made("c", domain="code", answer="1"),
        made("d", domain="code", answer=None, tests=tests),
    ]
    assert [no_reference(one) for one in rows] == [None, ("no reference answer", ""), ("no tests", ""), None]


def test_require_reference_wants_a_checker_where_many_answers_are_right() -> None:
    tests = (Test("1", "2"),)
    plain = made("Print any permutation.", domain="code", tests=tests)
    checked = Row(replace(plain.problem, checker="unordered"), "f:2")
    said = Row(replace(plain.problem, checker="lines"), "f:3")
    other = made("Print the first permutation.", domain="code", tests=tests)
    mathematical = made("Give any solution.", answer="1")
    rows = [plain, checked, said, other, mathematical]
    assert [no_reference(one) for one in rows] == [("many valid answers and no checker", ""), *[None] * 4]


def test_too_few_tests() -> None:
    def program(count: int) -> Row:
        return made("p", domain="code", tests=tuple(Test("", str(n)) for n in range(count)))

    assert too_few_tests(program(16), 16) is None
    assert too_few_tests(program(15), 16) == ("too few tests", "15; at least 16")
    assert too_few_tests(program(2), 2) is None
    assert too_few_tests(made("p", domain="math"), 16) is None


GRADED = [
    made("a", "1", level="1"),
    made("b", "2", level="1"),
    made("c", "2", level="2"),
    made("d", "?", level="1"),
    made("e", "1", level="1", answer=None),
    made("f", "2", level=None),
]


def test_correct_only_grades_the_named_levels() -> None:
    asked: list[str] = []

    def spy(attempts: Sequence[Attempt]) -> list[Verdict]:
        asked.extend(a.problem.prompt[0]["content"] for a in attempts)
        return judge(attempts)

    found = correct_only(GRADED, ("1",), spy)
    assert asked == ["a", "b", "d"]
    assert [r.problem.prompt[0]["content"] for r in kept(found)] == ["a", "c", "f"]
    assert gone(found) == [("wrong", "not equal"), ("unscorable", "lost worker"), ("no reference answer", "")]
    assert [item if isinstance(item, Row) else item.row for item in found] == GRADED


def test_correct_only_all_and_none() -> None:
    assert [r.problem.prompt[0]["content"] for r in kept(correct_only(GRADED, ("*",), judge))] == ["a"]

    def never(attempts: Sequence[Attempt]) -> list[Verdict]:
        raise AssertionError("nothing is to be graded")

    assert correct_only(GRADED, (), never) == GRADED
    assert correct_only(GRADED, ("7",), never) == GRADED
