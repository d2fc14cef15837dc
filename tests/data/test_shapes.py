"""Public shapes become problems and demonstrations; what is wrong is named with file:line and column."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest

from openklear.data.rows import Dropped, Row
from openklear.data.shapes import Role, parse_rows
from openklear.errors import DataError
from openklear.types import AnyTest, AssertTest, CallTest, Problem, Test

ASK = {"role": "user", "content": "1+1?"}
SAY = {"role": "assistant", "content": "2"}


def parse(raw: dict[str, Any], role: Role = "problems", domain: str | None = "math") -> Row | Dropped:
    (row,) = parse_rows(raw, "f.jsonl:7", role=role, source="set", domain=domain)
    return row


def kept(raw: dict[str, Any], role: Role = "problems", domain: str | None = "math") -> Row:
    row = parse(raw, role, domain)
    assert isinstance(row, Row)
    return row


def error_of(raw: dict[str, Any], role: Role = "problems", domain: str | None = "math") -> str:
    with pytest.raises(DataError) as caught:
        parse(raw, role, domain)
    assert str(caught.value).startswith("f.jsonl:7: ")
    return str(caught.value)


@pytest.mark.parametrize(
    "raw",
    [
        {"messages": [ASK, SAY]},
        {"messages": json.dumps([ASK, SAY])},
        {"conversations": [{"from": "human", "value": "1+1?"}, {"from": "gpt", "value": "2"}]},
        {"conversations": [{"from": "user", "value": "1+1?"}, {"from": "assistant", "value": "2"}]},
        {"prompt": "1+1?", "response": "2"},
        {"prompt": [ASK], "response": "2"},
        {"problem": "1+1?", "response": "2"},
        {"question": "1+1?", "response": "2"},
    ],
)
def test_demonstration_shapes_mean_the_same(raw: dict[str, Any]) -> None:
    row = kept({**raw, "id": 5, "level": 3, "answer": 2}, "demonstrations")
    assert row == Row(Problem("set/5", (ASK,), "math", "2", level="3", source="set"), "f.jsonl:7", "2")


def test_turns_before_the_last_are_the_prompt() -> None:
    turns = [{"role": "system", "content": "Be short."}, ASK, SAY, {"role": "user", "content": "Sure?"}, SAY]
    row = kept({"messages": turns}, "demonstrations")
    assert row.problem.prompt == tuple(turns[:4])
    assert row.response == "2"


@pytest.mark.parametrize(
    "raw",
    [
        {"prompt": "1+1?", "answer": "2"},
        {"problem": "1+1?", "ground_truth": 2},
        {"question": "1+1?", "answer": 2.0},
        {"prompt": [ASK], "reward_model": {"ground_truth": 2, "style": "rule"}},
        {"messages": [ASK], "ground_truth": "2"},
        {"messages": [ASK, SAY], "answer": " 2 "},
        {"conversations": [{"from": "human", "value": "1+1?"}], "answer": "2"},
    ],
)
def test_problem_shapes_mean_the_same(raw: dict[str, Any]) -> None:
    row = kept(raw)
    assert row.problem.prompt == (ASK,)
    assert row.problem.answer == "2"
    assert row.response is None


@pytest.mark.parametrize(
    "tests",
    [
        [{"input": "1\n", "output": "2\n"}],
        [{"stdin": "1\n", "stdout": "2\n"}],
        json.dumps([{"input": "1\n", "output": "2\n"}]),
    ],
)
def test_tests(tests: Any) -> None:
    assert kept({"prompt": "p", "tests": tests}, domain="code").problem.tests == (Test("1\n", "2\n"),)


CALLS = (CallTest("f", "[1, [2]]", '{"a": null}'), CallTest("C.f", '{"x": 1}', "null"))


@pytest.mark.parametrize(
    ("tests", "meant"),
    [
        (["assert f(1) == 2", "check(f)"], (AssertTest("assert f(1) == 2"), AssertTest("check(f)"))),
        (json.dumps(["assert f(1) == 2"]), (AssertTest("assert f(1) == 2"),)),
        (
            [
                {"call": "f", "args": [1, [2]], "expected": {"a": None}},
                {"call": "C.f", "args": {"x": 1}, "expected": None},
            ],
            CALLS,
        ),
        ([{"call": test.call, "args": test.args, "expected": test.expected} for test in CALLS], CALLS),
        # As a data frame gives them: every object has all the fields.
        (
            [
                {"stdin": "1", "stdout": "2", "call": None, "args": None, "expected": None, "code": None},
                {"stdin": None, "stdout": None, "call": "f", "args": "[]", "expected": "1", "code": None},
                {"stdin": None, "stdout": None, "call": None, "args": None, "expected": None, "code": "assert 1"},
            ],
            (Test("1", "2"), CallTest("f", "[]", "1"), AssertTest("assert 1")),
        ),
    ],
)
def test_tests_of_every_kind(tests: Any, meant: tuple[AnyTest, ...]) -> None:
    assert kept({"prompt": "p", "tests": tests}, domain="code").problem.tests == meant


def test_a_checker_is_known_or_refused_with_the_nearest() -> None:
    row = {"prompt": "p", "tests": [{"input": "1", "output": "2"}]}
    assert kept({**row, "checker": "float:1e-6"}, domain="code").problem.checker == "float:1e-6"
    assert kept({**row, "checker": ""}, domain="code").problem.checker is None
    message = error_of({**row, "checker": "unordred"}, domain="code")

    assert 'no checker "unordred"; the nearest is "unordered"' in message
    for name in ("os:system", "my.module:check"):
        assert "is code, which no row may choose" in error_of({**row, "checker": name}, domain="code")
    assert "checker is 5, but the name of a checker" in error_of({**row, "checker": 5}, domain="code")


@pytest.mark.parametrize("tests", [None, "", []])
def test_no_tests(tests: Any) -> None:
    assert kept({"prompt": "p", "tests": tests, "answer": None}).problem.tests == ()


def test_a_missing_id_is_a_stable_hash_of_the_prompt() -> None:
    first, other = kept({"prompt": "1+1?", "answer": "2"}), kept({"prompt": "1+2?", "answer": "3"})
    # blake2b, 8 bytes, of [["user", "1+1?"]]
    assert first.problem.id == f"set/{first.problem.content_hash}"
    assert first.problem.id == kept({"question": "1+1?", "answer": "9"}).problem.id != other.problem.id


@pytest.mark.parametrize(
    ("raw", "role", "reason"),
    [
        ({"prompt": " ", "answer": "2"}, "problems", "empty prompt"),
        ({"prompt": None, "answer": "2"}, "problems", "empty prompt"),
        ({"messages": [SAY]}, "demonstrations", "empty prompt"),
        ({"messages": []}, "demonstrations", "empty prompt"),
        ({"messages": [ASK]}, "demonstrations", "no response"),
        ({"prompt": "p", "response": None}, "demonstrations", "no response"),
        ({"prompt": "half a pair: \ud83d", "answer": "2"}, "problems", "not valid Unicode"),
    ],
)
def test_rows_that_say_nothing_are_dropped(raw: dict[str, Any], role: Role, reason: str) -> None:
    dropped = parse(raw, role)
    assert isinstance(dropped, Dropped)
    assert dropped.reason == reason


@pytest.mark.parametrize(
    ("raw", "role", "words"),
    [
        ({"messages": 5}, "demonstrations", "messages is 5, but a list of {role, content} is expected"),
        ({"messages": "hello"}, "demonstrations", "messages is text, but not the JSON"),
        ({"messages": [ASK, "hi"]}, "demonstrations", "messages[1] is 'hi'"),
        ({"messages": [{"role": "user", "content": 5}]}, "demonstrations", "messages[0].content is 5"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "demonstrations", "messages[0].role is 'tool'"),
        ({"conversations": [{"from": "bing", "value": "x"}]}, "demonstrations", "conversations[0].from is 'bing'"),
        ({"prompt": 5, "answer": "2"}, "problems", "prompt is 5"),
        ({"prompt": "p", "response": ["x"]}, "demonstrations", "response is ['x'], but a string"),
        ({"prompt": "p", "answer": ["2"]}, "problems", "answer is ['2'], but a string or a number"),
        ({"prompt": "p", "answer": True}, "problems", "answer is True"),
        ({"prompt": "p", "reward_model": {"ground_truth": {}}}, "problems", "reward_model.ground_truth is {}"),
        ({"prompt": "p", "answer": "2", "level": [1]}, "problems", "level is [1]"),
        ({"prompt": "p", "tests": "def check(f): pass"}, "problems", "tests is text, but not the JSON"),
        ({"prompt": "p", "tests": {"input": []}}, "problems", "tests is {'input': []}, but a list"),
        ({"prompt": "p", "tests": [{"input": "1"}]}, "problems", "tests[0] is {'input': '1'}"),
        ({"prompt": "p", "tests": [{"input": 1, "output": 2}]}, "problems", "both strings"),
        ({"prompt": "p", "tests": [" "]}, "problems", "tests[0] is ' '"),
        ({"prompt": "p", "tests": [5]}, "problems", "or an assert string"),
        ({"prompt": "p", "tests": [{"call": "f", "args": [1]}]}, "problems", "call, args and expected"),
        ({"prompt": "p", "tests": [{"call": 5, "args": [], "expected": 1}]}, "problems", "tests[0].call is 5"),
        ({"prompt": "p", "tests": [{"call": "f", "args": 5, "expected": 1}]}, "problems", "tests[0].args is 5"),
        ({"prompt": "p", "tests": [{"call": "f", "args": "5", "expected": "1"}]}, "problems", "tests[0].args is '5'"),
        (
            {"prompt": "p", "tests": [{"call": "f", "args": "[]", "expected": 1}]},
            "problems",
            "but JSON text, like args",
        ),
        ({"prompt": "p", "tests": [{"call": "f", "args": "[]", "expected": "a"}]}, "problems", "expected is 'a'"),
    ],
)
def test_wrong_types(raw: dict[str, Any], role: Role, words: str) -> None:
    assert words in error_of(raw, role)


def test_unknown_shapes_show_the_columns_and_the_nearest() -> None:
    message = error_of({"problem": "p", "final_answer": "2"})
    assert "the columns problem, final_answer" in message
    assert "lacks answer | ground_truth | tests" in message
    assert 'is it "final_answer"?' in message
    message = error_of({"message": [ASK, SAY]}, "demonstrations")
    assert 'nearest is {messages}, which lacks messages; is it "message"?' in message
    message = error_of({"problem": "p", "answer": "2"}, "demonstrations")
    assert "which lacks response" in message


@pytest.mark.parametrize(
    ("raw", "role"),
    [
        ({"ask": "1+1?", "say": "2"}, "problems"),
        ({"ask": "1+1?", "answer": "2"}, "problems"),
        ({"problem": "1+1?", "say": "2"}, "problems"),
        ({"ask": "1+1?", "say": "2"}, "demonstrations"),
        ({"ask": "1+1?"}, "benchmark"),
    ],
)
def test_the_mapping_that_an_unknown_shape_is_told_settles_it(raw: dict[str, Any], role: Role) -> None:
    written = error_of(raw, role).rpartition("as in ")[2]
    for column in ("ask", "say"):  # their column, in the order of the row
        written = written.replace('"their_column"', f'"{column}"', 1) if column in raw else written
    mapping = tomllib.loads(written)["columns"]
    rows = parse_rows(raw, "f.jsonl:7", role=role, source="s", domain="math", mapping=mapping)
    assert [row.problem.prompt[0]["content"] for row in rows if isinstance(row, Row)] == ["1+1?"]


def test_domain() -> None:
    row = {"prompt": "p", "answer": "2"}
    assert kept({**row, "domain": "code"}, domain=None).problem.domain == "code"
    assert kept({**row, "domain": "Algebra"}, domain="math").problem.domain == "math"
    assert "there is no domain" in error_of(row, domain=None)
    assert "domain is 'puzzle'" in error_of({**row, "domain": "puzzle"}, domain=None)
    assert 'domain is "code", but the recipe says this source is "math"' in error_of({**row, "domain": "code"})
