"""What counts as equal, and which statements say that equality is not it."""

import json
import math

import pytest
from tests.shared_data import shared

from openklear.errors import UsageError
from openklear.verifiers.checkers import checker, needs_checker, same_output, same_value


def test_outputs_are_equal_but_for_trailing_space():
    assert same_output("1 2\n3\n", "1 2  \r\n3\n\n\n")
    assert same_output("", "\n")
    assert not same_output("1 2\n", "1  2\n")
    assert not same_output("1\n2\n", "1\n\n2\n")
    assert not same_output("a\n", " a\n")


@pytest.mark.parametrize(
    ("name", "expected", "same", "other"),
    [
        (None, "1 2\n3\n", ["1 2 \n3", "1 2\r\n3\n\n"], ["1  2\n3", "1 2 3", "3\n1 2"]),
        ("lines", "1 2\n3\n", ["1 2 \n3"], ["1 2 3"]),
        ("tokens", "1 2\n3\n", ["1  2 3", "\n1\t2\n\n3"], ["1 2", "1 2 3 4", "12 3", "1.0 2 3", "3 1 2"]),
        (
            "float:1e-6",
            "1 2.5\nyes 1000000",
            ["1.0000009 2.5 yes 1000000.9", "1 25e-1 yes 1e6", "+1 2.5 yes 1000000"],
            ["1.000002 2.5 yes 1000000", "1 2.5 yes 1000002", "1 2.5 no 1000000", "1 2.5 yes", "nan 2.5 yes 1000000"],
        ),
        ("float:1e-6", "0", ["0.0000009", "-0"], ["0.000002", "inf", "", "0x0", "0_0"]),
        ("float:1e-6", "inf", ["inf"], ["1e999", "nan", "-inf"]),
        ("unordered", "a b\nc\nc\n", ["c\na b\nc", "c\n\nc\na b "], ["a b\nc", "b a\nc\nc", "a b\nc\nc\nc"]),
        ("unordered_tokens", "a b\nc\n", ["c b a", "b\na\nc"], ["a b", "a b c c"]),
    ],
)
def test_text(name, expected, same, other):
    compare = checker(name).text
    assert compare("", expected, expected)
    assert [text for text in same if not compare("", expected, text)] == []
    assert [text for text in other if compare("", expected, text)] == []


NAN = math.nan
TENTH = 0.1 + 0.2


@pytest.mark.parametrize(
    ("name", "expected", "same", "other"),
    [
        (None, 5, [5, 5.0], [True, "5", 5.5, None, 5 + 0j, [5]]),
        (None, 5.0, [5], ["5.0"]),
        (None, 1, [1], [True]),
        (None, True, [True], [1, "true"]),
        (None, None, [None], [0, "", [], False]),
        (None, 0.3, [0.3], [TENTH]),
        (None, NAN, [NAN], [0.0, "nan"]),
        (None, 10**400, [10**400], [10.0**308]),
        (None, "ab", ["ab"], [b"ab", ["a", "b"]]),
        (None, [1, [2]], [[1, [2]], (1, (2,)), (1.0, [2])], [[1, 2], [[2], 1], {1, 2}, [True, [2]], range(1, 3)]),
        (None, [1, 2], [], [{1, 2}, frozenset({1, 2}), {1: 2}, range(1, 3)]),
        (None, {"a": 1, "2": 3}, [{"a": 1, 2: 3}, {2: 3.0, "a": 1}], [{"a": 1}, {"a": True, 2: 3}, {"a": 1, "2": 4}]),
        (None, {"true": 1}, [{True: 1}, {"true": 1}], [{"True": 1}, {1: 1}]),
        (None, {"1": 2}, [{1: 2}], [{(1,): 2}, {b"1": 2}]),
        ("float:1e-6", [0.3, "a"], [[TENTH, "a"], (0.3000001, "a")], [[0.301, "a"], [True, "a"], [0.3, "b"], [0.3]]),
        ("float:1e-6", 10**400, [10**400], [1.0, math.inf]),
        ("unordered", [[1, 2], [3]], [[[3], [1, 2]], [(3,), [1.0, 2]]], [[[2, 1], [3]], [[1, 2]], [[1, 2], [3], [3]]]),
        ("unordered", [1, 2], [{1, 2}, (2, 1)], [[1, True], [1, "2"], {"1": 2}]),
        ("unordered_tokens", [[1, 2], [3]], [[[3], [2, 1]]], [[[3], [2, 2]]]),
        ("unordered", {"b": [1, 2]}, [{"b": [1, 2]}], [{"b": [2, 1]}]),
    ],
)
def test_values(name, expected, same, other):
    compare = checker(name).value
    assert compare("[]", expected, expected)
    assert [value for value in same if not compare("[]", expected, value)] == []
    assert [value for value in other if compare("[]", expected, value)] == []


def test_two_keys_that_json_would_make_one_are_not_one():
    assert not same_value({"1": 2}, {1: 2, "1": 2})


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("line", "lines"), ("unorderd", "unordered"), ("floats", "float:1e-6"), ("token", "tokens")],
)
def test_an_unknown_checker_names_the_nearest(name, nearest):
    with pytest.raises(UsageError, match=f'no checker "{name}"; the nearest is "{nearest}"'):
        checker(name)


@pytest.mark.parametrize("name", ["float:", "float:x", "float:0", "float:2", "float:nan", "float:-1e-6"])
def test_tolerances_lie_between_0_and_1(name):
    with pytest.raises(UsageError, match="between 0 and 1"):
        checker(name)


def test_functions_of_the_users_own(tmp_path, monkeypatch):
    (tmp_path / "own_checkers.py").write_text(
        "def longest(given, expected, actual): return (given, expected, actual) == ('3', '1', '2') or actual == given\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = checker("own_checkers:longest")
    assert own.custom
    assert own.text("3", "1", "2")
    assert not own.text("3", "1", "1")
    assert own.value("[3]", 5, [3])  # the arguments come parsed
    with pytest.raises(UsageError, match="has no shortest"):
        checker("own_checkers:shortest")
    with pytest.raises(UsageError, match="cannot be imported"):
        checker("no_such_module_here:f")


@pytest.mark.parametrize(
    "statement",
    [
        "If there are multiple answers, print any.",
        "If there are several solutions, output any of them.",
        "If there is more than one possible array, you may print any one of them.",
        "If multiple answers exist, you can print any.",
        "Print any valid permutation.",
        "You may return any solution.",
        "Find any such pair and print it.",
        "Any of them will be accepted.",
        "Any valid answer is accepted.",
        "You can return the answer in any order.",
        "Print the numbers, in arbitrary order.",
        "Note that the returned array may be in any order.",
        "Your answer is correct if its absolute or relative error does not exceed $10^{-6}$.",
        "Answers within 10^-5 of the actual value will be accepted.",
        "Answers within 10-5 of the actual value will be accepted.",
    ],
)
def test_statements_that_take_other_answers(statement):
    assert needs_checker(f"Read n. {statement} Note: n is odd.")


@pytest.mark.parametrize(
    "statement",
    [
        "You may perform the operations in any order. Print the smallest sum.",
        "He can drink the cups in any order.",
        "A permutation is an array of the numbers from 1 to n in arbitrary order.",
        "Return the maximum number of components in any valid split of the tree.",
        "If there are several possible variants, output the one in which the price is maximal.",
        "If there are multiple such strings, print the lexicographically smallest one.",
        "Given a string s, find any substring of length 2 which is also present in the reverse of s.",
        "Print the answer modulo 10^9 + 7.",
        "The tree has no multiple edges. Output the length of any longest path.",
        "Print -1 if there is no answer.",
        "A point is within distance 10 of the origin.",
        "You can use any road several times.",
        "In one move you can choose any pair of adjacent elements and swap them. Print the number of moves.",
        "Find the smallest number of operations that can be done in any order.",
        "Print YES if any subset of the array sums to k.",
    ],
)
def test_statements_with_one_answer(statement):
    assert not needs_checker(statement)


def test_real_statements():
    """Every one that fires was read: 19 take any of several answers or any order, 2 take a tolerance; none of taco."""
    named = [json.loads(line) for line in shared("train/leetcode_functional.jsonl").read_text().splitlines()]
    found = [row["id"].removeprefix("leetcode_") for row in named if needs_checker(row["problem"])]
    assert found == [
        *("test-22", "test-30", "test-31", "test-50", "test-65", "test-77", "test-175"),
        *("train-0", "train-15", "train-22", "train-35", "train-64", "train-67", "train-114", "train-122"),
        *("train-137", "train-165", "train-172", "train-213", "train-296", "train-391"),
    ]
    taco = [json.loads(line)["problem"] for line in shared("train/taco_stdin.jsonl").read_text().splitlines()]
    assert not any(map(needs_checker, taco))
