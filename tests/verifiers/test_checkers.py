"""What counts as equal."""

import math
import time
from itertools import product

import pytest

from openklear.errors import UsageError
from openklear.verifiers.checkers import checker, same_output, same_value


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
            [
                "1.000002 2.5 yes 1000000",
                "1 2.5 yes 1000002",
                "1 2.5 yes 1000001",
                "1 2.5 no 1000000",
                "1 2.5 yes",
                "nan 2.5 yes 1000000",
            ],
        ),
        ("float:1e-6", "0", ["0.0000009", "-0"], ["0.000002", "inf", "", "0x0", "0_0"]),
        ("float:1e-6", "inf", ["inf"], ["1e999", "nan", "-inf"]),
        (
            "float:1e-6",
            "1000000000",
            ["1000000000.0", "1e9", "1000000500.0", "+1000000000", "01000000000"],
            ["1000000500"],
        ),
        ("float:1e-6", "5 -0 0", ["5.0 0 -0", "5 +0 00"], ["6 0 0", "-5 0 0"]),
        (
            "float:1e-6",
            "9" * 5000,
            ["9" * 5000, "0" + "9" * 5000],
            ["9" * 4999 + "8", "-" + "9" * 5000],
        ),
        ("float:1e-6", "123456789012345678901", ["123456789012345678901.0"], ["123456789012345678902"]),
        (
            "anycase",
            "YES\nAlice 3\n",
            ["yes\nALICE 3", "yEs \naLiCe 3\n\n"],
            ["ye\nAlice 3", "YESAlice 3", "yes\nAlice  3"],
        ),
        (
            "livecodebench",
            "1.50 2\nab\n",
            ["1.5 2.0\nab", " 15e-1   2 \n ab \n\n", "\n1.50 2\nab"],
            ["1.5 2\nAB", "1.51 2\nab"],
        ),
        ("livecodebench", "50000000000000000", ["50000000000000000.0", "5e16"], ["50000000000000001", "5", ""]),
        ("livecodebench", "a 1.0\n\nb", ["a 1.0 \n \nb"], ["a 1\n\nb", "a 1.0\nb", "a  1.0\n\nb"]),
        ("livecodebench", "nan inf", ["nan inf"], ["nan  inf", "NaN inf", "sNaN inf", "1 inf"]),
        (
            "livecodebench",
            "inf",
            ["Infinity", "+inf"],
            ["-inf", "sNaN", "1e999999999", "1e9999999999999999999999", "1" * 9999],
        ),
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
        ("float:1e-6", [10**9, 0.5], [[10**9, 0.5000001], [10.0**9 + 500, 0.5]], [[10**9 + 500, 0.5], [10**9, 1]]),
        (
            "anycase",
            ["YES", {"a": "No"}],
            [["yes", {"a": "NO"}], ("Yes", {"a": "no"})],
            [["y", {"a": "no"}], ["yes", {"A": "no"}]],
        ),
        ("anycase", 5, [5, 5.0], [6, "5", True]),
        (
            "livecodebench",
            [1, [2.0]],
            [[1, [2]], (1, [2]), [True, [2]]],
            [[1, (2,)], [1, [2.0000001]], {1, 2}, "[1, [2.0]]"],
        ),
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


HOSTILE = {
    "digits": "9" * 999_999,
    "exponent": "1e" + "9" * 999_999,
    "zeros": "0" * 999_999,
    "fraction": "." + "9" * 999_999,
}


@pytest.mark.parametrize("word", [*HOSTILE, "1e999999999", "sNaN", "nan", "-inf", "1_0", "1e", "\u0663"])
@pytest.mark.parametrize("name", ["livecodebench", "float:1e-6", "anycase"])
def test_hostile_numbers_are_compared_in_no_time(name, word):
    word = HOSTILE.get(word, word)
    start = time.process_time()
    compare = checker(name).text
    taken = [compare("", one, other) for one, other in product((word, "2", "1e999999998", "5 " * 99_999), repeat=2)]
    assert [place for place, same in enumerate(taken) if same] == [0, 5, 10, 15]  # each is itself alone
    assert time.process_time() - start < 1.0
