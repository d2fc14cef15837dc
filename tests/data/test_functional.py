"""Tests that say they are functional are calls of a function, or errors; they are never run over stdin."""

import json

import pytest
from tests.shared_data import shared

from openklear.data.rows import Row
from openklear.data.shapes import parse_rows
from openklear.data.test_cases import function_named, in_out_tests, parse_tests
from openklear.errors import DataError
from openklear.grading.rows import to_attempt
from openklear.types import CallTest, Test

CALL = CallTest("f", "[[1, 2], 3]", "6")


@pytest.mark.parametrize(
    "test",
    [
        {"input": "[1, 2]\n3", "output": "6", "testtype": "functional", "fn_name": "f"},
        {"input": "[1, 2]\n3\n", "output": "6\n", "testtype": "Functional", "func_name": "f"},
        {"input": "[1, 2]\n3", "output": "6", "testtype": "functional", "metadata": {"func_name": "f"}},
        {"input": "[1, 2]\n3", "output": "6", "testtype": "functional", "metadata": '{"func_name": "f"}'},
        {"input": "[1, 2]\n3", "output": "6", "fn_name": "f"},
        {"input": [[1, 2], 3], "output": 6, "type": "function_call", "fn_name": "f"},
        {"input": [[1, 2], 3], "output": [6], "type": "function_call", "fn_name": "f"},
        {"stdin": "[1, 2]\n3", "stdout": "6", "testtype": "functional", "fn_name": "f"},
        {"call": "f", "args": [[1, 2], 3], "expected": 6, "testtype": "functional"},
    ],
)
def test_a_test_that_names_its_function_is_a_call(test):
    assert parse_tests([test], "f:1") == (CALL,)
    assert parse_tests(json.dumps([test]), "f:1") == (CALL,)


@pytest.mark.parametrize(
    ("test", "wanted"),
    [
        ({"input": "1", "output": "2"}, CallTest("f", "[1]", "2")),
        ({"input": "", "output": "null", "testtype": "functional"}, CallTest("f", "[]", "null")),
        ({"input": '"a\\nb"', "output": '"c"', "testtype": "functional"}, CallTest("f", '["a\\nb"]', '"c"')),
        ({"input": {"n": 1}, "output": 2, "testtype": "functional"}, CallTest("f", '{"n": 1}', "2")),
        ({"input": "1", "output": "2", "testtype": "functional", "fn_name": "g"}, CallTest("g", "[1]", "2")),
        ({"input": "1", "output": "2", "testtype": "stdin"}, Test("1", "2")),
        ({"input": "1", "output": "2", "type": "stdin_stdout", "fn_name": None}, Test("1", "2")),
        ({"stdin": "1", "stdout": "2"}, Test("1", "2")),
    ],
)
def test_the_row_names_it_for_tests_that_do_not(test, wanted):
    assert parse_tests([test], "f:1", function="f") == (wanted,)


def test_results_in_lists_of_one_are_meant_where_all_are():
    tests = [{"input": [1], "output": [[3]], "fn_name": "f"}, {"input": [2], "output": [4], "fn_name": "f"}]
    assert parse_tests(tests, "f:1") == (CallTest("f", "[1]", "[3]"), CallTest("f", "[2]", "4"))
    tests[1]["output"] = [4, 5]
    assert parse_tests(tests, "f:1") == (CallTest("f", "[1]", "[[3]]"), CallTest("f", "[2]", "[4, 5]"))


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ({"input": "1", "output": "2", "testtype": "functional"}, "nothing names its function; give it fn_name"),
        ({"stdin": "1", "stdout": "2", "testtype": "functional"}, "nothing names its function"),
        ({"input": [1], "output": 2, "type": "function_call", "fn_name": ""}, "nothing names its function"),
        (
            {"input": "1", "output": "2", "testtype": "interactive"},
            "testtype is 'interactive', but stdin or functional",
        ),
        ({"input": "1", "output": "2", "testtype": ["x"]}, "testtype is ['x'], but stdin or functional"),
        ({"input": "1", "output": "2", "fn_name": 5}, "fn_name is 5, but the name of a function"),
        ({"input": "one", "output": "2", "fn_name": "f"}, "not the JSON of"),
        ({"input": [1], "output": 2}, "both strings"),
    ],
)
def test_a_functional_test_that_cannot_be_called_is_an_error(test, words):
    with pytest.raises(DataError) as error:
        parse_tests([test], "f:1")
    assert words in str(error.value)


def test_inputs_and_outputs_that_say_they_are_functional():
    cell = {"inputs": ["[1, 2]\n3"], "outputs": ["6"]}
    for named in ({"fn_name": "f"}, {"func_name": "f"}, {"metadata": {"func_name": "f"}}, {"call": "f"}):
        assert in_out_tests({**cell, **named, "testtype": "functional"}, "f:1", "c") == (CALL,)
    assert in_out_tests(cell, "f:1", "c", "f") == (CALL,)
    assert in_out_tests({**cell, "testtype": "stdin"}, "f:1", "c", "f") == (Test("[1, 2]\n3", "6"),)
    with pytest.raises(DataError, match="nothing names its function"):
        in_out_tests({**cell, "testtype": "functional"}, "f:1", "c")


def test_what_names_a_function():
    assert function_named({"fn_name": " f ", "func_name": "g"}) == "f"
    assert function_named({"metadata": '{"func_name": "g"}', "fn_name": None}) == "g"
    for nothing in ({}, {"metadata": "{}"}, {"metadata": "text"}, {"metadata": [1]}, {"fn_name": 5}, {"fn_name": " "}):
        assert function_named(nothing) is None


FUNCTIONAL = [{"input": "[1, 2]\n3", "output": "6", "testtype": "functional"}]


@pytest.mark.parametrize("named", [{"fn_name": "f"}, {"func_name": "f"}, {"metadata": {"func_name": "f"}}])
@pytest.mark.parametrize("column", ["tests", "test_cases", "public_test_cases"])
def test_rows_of_data_sets(column, named):
    ask = "question_content" if column == "public_test_cases" else "prompt"
    raw = {ask: "p", column: FUNCTIONAL, **named}
    (row,) = parse_rows(raw, "f:1", role="problems", source="s", domain="code")
    assert isinstance(row, Row)
    assert row.problem.tests == (CALL,)
    with pytest.raises(DataError, match="names its function"):
        parse_rows({ask: "p", column: FUNCTIONAL}, "f:1", role="problems", source="s", domain="code")


def test_rows_to_grade():
    row = {"program": "def f(a, k): return sum(a) + k", "tests": FUNCTIONAL}
    with pytest.raises(DataError, match="functional, but nothing names its function"):
        to_attempt(row, "code")
    assert to_attempt({**row, "metadata": '{"func_name": "f"}'}, "code").problem.tests == (CALL,)


def test_real_problems_of_livecodebench_are_called_or_run_as_they_say():
    """Of the 633, 301 are from LeetCode."""
    for name in ("problems_2023-05_2025-01", "problems_leetcode_2025-02_2025-03"):
        for line in shared(f"evaluation/livecodebench/{name}.jsonl").read_text().splitlines():
            raw = json.loads(line)
            (row,) = parse_rows(raw, "f:1", role="problems", source="s", domain="code")
            kind = CallTest if raw["platform"] == "leetcode" else Test
            assert {type(test) for test in row.problem.tests} <= {kind}
