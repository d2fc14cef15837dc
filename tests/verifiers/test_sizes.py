"""A program may always write what a test expects, or the test is refused before any program runs."""

import json

import pytest

from openklear.grading import Grader, Limits
from openklear.types import AssertTest, CallTest, Test
from openklear.verifiers import sizes
from openklear.verifiers.asserts import BrokenTest, calls_of, translate

MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def grader():
    with Grader(Limits(workers=1, code_seconds=5.0)) as made:
        yield made


@pytest.mark.parametrize("mebibytes", [4, 5, 9, 16])
def test_a_long_output_that_is_expected_may_be_written(grader, mebibytes):
    size = mebibytes * MEBIBYTE
    test = {"stdin": str(size), "stdout": "x" * size}
    assert grader.code("print('x' * int(input()), end='')", [test]).correct
    verdict = grader.code("print('x' * int(input()) + 'y', end='')", [test])
    assert "wrong output" in verdict.reason
    assert "too much output" in grader.code("while True: print('x' * 10**6)", [test]).reason


def test_several_long_outputs_fit_into_one_answer(grader):
    tests = [{"stdin": f"{n}", "stdout": str(n) * 10 * MEBIBYTE} for n in range(6)]
    verdict = grader.code("print(input() * (10 << 20), end='')", tests)
    assert verdict.passed == 6


def test_other_tests_keep_the_usual_limit(grader):
    test = {"stdin": "", "stdout": "x"}
    assert "too much output" in grader.code("print('x' * (5 << 20))", [test]).reason


@pytest.mark.parametrize(
    "test",
    [
        {"stdin": "", "stdout": "x" * (16 * MEBIBYTE + 1)},
        {"stdin": "", "stdout": "é" * (9 * MEBIBYTE)},
        {"stdin": "x" * (32 * MEBIBYTE + 1), "stdout": ""},
        {"call": "f", "args": [], "expected": "x" * (9 * MEBIBYTE)},
    ],
    ids=["output", "not ASCII", "input", "value"],
)
def test_a_test_that_is_too_big_is_refused(grader, test):
    verdict = grader.code("def f(): return 0\nprint(1)", [test])
    assert verdict.outcome == "unscorable"
    assert "MiB" in verdict.reason


def test_a_refused_test_is_named():
    tests = [Test("", ""), Test("", "x" * (20 * MEBIBYTE))]
    expected = "test 2 expects an output of 20.0 MiB, and at most 16 MiB can be judged"
    assert sizes.refusal(tests) == expected
    assert sizes.refusal(tests[:1]) == ""


@pytest.mark.parametrize(
    ("expected", "allowed"), [(0, 4), (3 * MEBIBYTE, 4), (4 * MEBIBYTE, 8), (7 * MEBIBYTE, 16), (16 * MEBIBYTE, 32)]
)
def test_the_limit_is_a_power_of_two_above_what_is_expected(expected, allowed):
    assert sizes.output_bytes([Test("", "x" * expected), CallTest("f", "[]", "0")]) == allowed * MEBIBYTE


def test_values_that_could_not_be_read_are_refused():
    calls_of(CallTest("f", "[]", json.dumps("x" * 7 * MEBIBYTE)))
    with pytest.raises(BrokenTest, match="8 MiB"):
        calls_of(CallTest("f", "[]", json.dumps("x" * 9 * MEBIBYTE)))
    with pytest.raises(BrokenTest, match="too big"):
        calls_of(CallTest("f", "[]", json.dumps([0] * 1_100_000)))
    short, long = (AssertTest("\n".join([f"assert f() == {'x' * 2**20!r}"] * n)) for n in (2, 9))
    assert translate(short.code) is not None
    with pytest.raises(BrokenTest, match="8 MiB"):
        translate(long.code)
