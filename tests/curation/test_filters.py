"""Rules that look at one row, and the correctness policy."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.data.rows_on_disk import row as made

from openklear.curation.rules.filters import bad_format, correct_only, length_rule, no_reference
from openklear.data.rows import Row, sift
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
        ({"min_response": 3}, "p", "ab", ("response too short", "2 characters; at least 3")),
        ({"max_response": 1}, "p", None, None),
        ({"min_response_words": 3}, "p", "a  b\n", ("response too short", "2 words; at least 3")),
        ({"max_response_words": 2}, "p", "a  b\nc", ("response too long", "3 words; at most 2")),
        ({"max_response_words": 3}, "p", "a  b\nc", None),
    ],
)
def test_lengths(limits: dict[str, int], prompt: str, response: str | None, expected: tuple[str, str] | None) -> None:
    rule = pickle.loads(pickle.dumps(length_rule(**limits)))
    assert rule(row(prompt, response)) == expected


def kept_places(rows: Sequence[Row]) -> list[int]:
    place = {id(one): i for i, one in enumerate(rows)}
    return [place[id(one)] for one in sift(rows, no_reference).kept]


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
    sifted = sift([made("p", response)], bad_format)
    assert [d.reason for d in sifted.dropped] == ([] if reason is None else [reason])


def test_require_reference() -> None:
    tests = (Test("1", "2"),)
    rows = [
        made("a", answer="1"),
        made("b", answer=None, tests=tests),
        made("c", domain="code", answer="1"),
        made("d", domain="code", answer=None, tests=tests),
    ]
    assert kept_places(rows) == [0, 3]
    assert [d.reason for d in sift(rows, no_reference).dropped] == ["no reference answer", "no tests"]


def test_require_reference_wants_a_checker_where_many_answers_are_right() -> None:
    tests = (Test("1", "2"),)
    plain = made("Print any permutation.", domain="code", tests=tests)
    checked = Row(replace(plain.problem, checker="unordered"), "f:2")
    said = Row(replace(plain.problem, checker="lines"), "f:3")
    other = made("Print the first permutation.", domain="code", tests=tests)
    mathematical = made("Give any solution.", answer="1")
    rows = [plain, checked, said, other, mathematical]
    assert kept_places(rows) == [1, 2, 3, 4]
    assert [d.reason for d in sift(rows, no_reference).dropped] == ["many valid answers and no checker"]


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

    sifted = correct_only(GRADED, ("1",), spy)
    assert asked == ["a", "b", "d"]
    assert [r.problem.prompt[0]["content"] for r in sifted.kept] == ["a", "c", "f"]
    assert [d.reason for d in sifted.dropped] == ["wrong", "unscorable", "no reference answer"]
    assert [d.detail for d in sifted.dropped] == ["not equal", "lost worker", ""]


def test_correct_only_all_and_none() -> None:
    assert [r.problem.prompt[0]["content"] for r in correct_only(GRADED, ("*",), judge).kept] == ["a"]

    def never(attempts: Sequence[Attempt]) -> list[Verdict]:
        raise AssertionError("nothing is to be graded")

    assert correct_only(GRADED, (), never).kept == tuple(GRADED)
    assert correct_only(GRADED, ("7",), never).kept == tuple(GRADED)
