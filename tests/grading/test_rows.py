"""What a row asks, and what is said of a row that asks nothing that could be judged."""

import json

import pytest

from openklear.errors import DataError
from openklear.grading.rows import dumps, graded, to_attempt, verdict_fields
from openklear.types import AssertTest, CallTest, Outcome, Test, Verdict


def test_mathematics():
    attempt = to_attempt({"id": 7, "reference": 12.0, "completion": "12", "prompt_tail": "<think>"}, "math")
    assert (attempt.problem.id, attempt.problem.answer, attempt.text) == ("7", "12", "12")
    assert (attempt.prompt_tail, attempt.exact) == ("<think>", False)
    assert to_attempt({"reference": " 1/2 ", "completion": ""}, "math").problem.answer == "1/2"


def test_of_a_solution_as_reference_the_final_answer_is_taken():
    solution = "48/2 = <<48/2=24>>24\n48+24 = <<48+24=72>>72\n#### 1,072"
    assert to_attempt({"reference": solution, "completion": "c"}, "math").problem.answer == "1072"
    boxed = "We add both of them. So there are $\\boxed{72}$ clips."
    assert to_attempt({"reference": boxed, "completion": "c"}, "math").problem.answer == "72"
    with pytest.raises(DataError, match=r"reference is a text with no final answer: .*give the row the answer itself"):
        to_attempt({"reference": solution.rpartition(" ")[0], "completion": "c"}, "math")


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        ([{"stdin": "1", "stdout": "2"}], (Test("1", "2"),)),
        ([{"call": "f", "args": [1, [2]], "expected": None}], (CallTest("f", "[1, [2]]", "null"),)),
        ([{"call": "f", "args": {"a": 1}, "expected": "x"}], (CallTest("f", '{"a": 1}', '"x"'),)),
        (["assert f(1) == 2"], (AssertTest("assert f(1) == 2"),)),
        # columns that other rows need come out of Parquet as nulls
        ([{"stdin": "1", "stdout": "2", "call": None, "args": None, "expected": None}], (Test("1", "2"),)),
    ],
)
def test_kinds_of_tests_and_their_json_text(tests, expected):
    assert to_attempt({"program": "p", "tests": tests}, "code").problem.tests == expected
    assert to_attempt({"program": "p", "tests": json.dumps(tests)}, "code").problem.tests == expected


def test_a_program_is_graded_as_it_stands_and_a_completion_is_not():
    tests = [{"stdin": "", "stdout": ""}]
    row = {"program": "x", "completion": None, "tests": tests, "checker": "", "problem": "Do it."}
    attempt = to_attempt(row, "code")
    assert attempt.exact
    assert attempt.problem.checker is None
    assert attempt.problem.prompt[0]["content"] == "Do it."
    assert not to_attempt({"completion": "x", "tests": tests, "checker": "float:1e-6"}, "code").exact


@pytest.mark.parametrize(
    ("kind", "row", "words"),
    [
        ("math", {"id": 1, "completion": "x", "answer": "5"}, ["reference is missing", "rename that to reference"]),
        ("math", {"reference": "5", "response": "x"}, ["completion is missing", "response? Then rename"]),
        ("math", {"reference": None, "completion": "x"}, ["reference is empty"]),
        ("math", {"reference": " ", "completion": "x"}, ["reference is empty"]),
        ("math", {"reference": ["5"], "completion": "x"}, ["reference is ['5']", "a string or a number"]),
        ("math", {"reference": True, "completion": "x"}, ["reference is True"]),
        ("math", {"reference": "5", "completion": 5}, ["completion is 5, but a string"]),
        ("math", {"reference": "5", "completion": "x", "prompt_tail": 1}, ["prompt_tail is 1"]),
        ("math", {}, ["the row has no fields"]),
        ("math", dict.fromkeys(map(str, range(999))), ["10, 11, ...)"]),
        ("code", {"tests": ["assert 1"]}, ["program or completion is missing"]),
        ("code", {"program": "x", "completion": "y", "tests": ["assert 1"]}, ["both program and completion"]),
        ("code", {"program": "x"}, ["tests is missing"]),
        ("code", {"program": "x", "test_list": ["assert 1"]}, ["rename that to tests"]),
        ("code", {"program": "x", "tests": []}, ["tests is empty"]),
        ("code", {"program": "x", "tests": "assert f(1)"}, ["not the JSON of a list"]),
        ("code", {"program": "x", "tests": "[" * 100_000}, ["not the JSON of a list"]),
        ("code", {"program": "x", "tests": {"stdin": ["1"]}}, ["tests is {'stdin': ['1']}, but a list"]),
        ("code", {"program": "x", "tests": [{"stdin": 1, "stdout": "2"}]}, ["tests[0] is {'stdin': 1"]),
        ("code", {"program": "x", "tests": [{"call": "f", "args": 1, "expected": 2}]}, ["tests[0].args is 1"]),
        ("code", {"program": "x", "tests": [{"call": 3, "args": [], "expected": 2}]}, ["tests[0].call is 3"]),
        ("code", {"program": "x", "tests": ["assert 1"], "checker": "tokenz"}, ['the nearest is "tokens"']),
        ("code", {"program": "x", "tests": ["assert 1"], "checker": "os:system"}, ["is code", "--checker"]),
        ("code", {"program": "x", "tests": [None]}, ["tests[0] is None"]),
    ],
)
def test_malformed_rows_are_told_what_is_wrong_and_what_to_do(kind, row, words):
    with pytest.raises(DataError) as caught:
        to_attempt(row, kind)
    for word in words:
        assert word in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_checker_of_the_users_own_must_be_allowed_by_name():
    """Rows are data from anywhere: one must not choose what is called in this process."""
    row = {"program": "x", "tests": ["assert 1"], "checker": "operator:eq"}
    with pytest.raises(DataError, match="no row may choose"):
        to_attempt(row, "code", ("operator:ne",))
    assert to_attempt(row, "code", ("operator:eq",)).problem.checker == "operator:eq"


def test_the_verdict_stands_at_the_end_in_the_place_of_an_older_one():
    fields = verdict_fields(Verdict(Outcome.INCORRECT, "wrong \ud800", passed=1, total=2, seconds=0.12345678))
    row = graded({"seconds": 9, "b": [1, None], "verdict": "correct", "a": 1}, fields)
    assert list(row) == ["b", "a", "verdict", "reason", "passed", "total", "seconds"]
    assert (row["verdict"], row["reason"], row["passed"], row["total"]) == ("incorrect", "wrong ?", 1, 2)
    assert row["seconds"] == 0.123457


def test_a_line_of_output_is_utf8_and_reads_back():
    for value in ("ü ", "\ud800 half a character", 10**30, 0.1, float("inf")):
        line = dumps({"a": value})
        assert line.endswith(b"}\n")
        assert line.count(b"\n") == 1
        assert json.loads(line) == {"a": value}
    assert "ü".encode() in dumps({"a": "ü"})
