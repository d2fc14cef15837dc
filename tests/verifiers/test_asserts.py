"""Code that asserts: which of it is translated into calls, and what the calls' results must be."""

import gzip
import json

import pytest
from tests.shared_data import shared

from openklear.types import CallTest
from openklear.verifiers.asserts import BrokenTest, Check, calls_of, holds, read_results, translate
from openklear.verifiers.workers import values


def read(code):
    calls = translate(code)
    if calls is None:
        return None
    pairs = [(values.unpack(a), values.unpack(b)) for a, b in calls.arguments]
    return calls.function, [
        (*pair, check.relation, check.expected) for pair, check in zip(pairs, calls.checks, strict=True)
    ]


@pytest.mark.parametrize(
    ("code", "function", "calls"),
    [
        ("assert f(1) == 2", "f", [([1], {}, "==", 2)]),
        ("assert f(-1, [2.5, 'a'], x=(1,)) == {1, 2}", "f", [([-1, [2.5, "a"]], {"x": (1,)}, "==", {1, 2})]),
        ("assert f() != None", "f", [([], {}, "!=", None)]),
        ("assert f() is None, 'none'", "f", [([], {}, "is", None)]),
        ("assert f() is not True", "f", [([], {}, "is not", True)]),
        ("assert f()", "f", [([], {}, "true", None)]),
        ("assert not f()", "f", [([], {}, "false", None)]),
        ("assert (5) == (f())", "f", [([], {}, "==", 5)]),
        ("assert f(1) == 2\r\nassert f(2) == 3\r\n", "f", [([1], {}, "==", 2), ([2], {}, "==", 3)]),
        ("import math\nX = {'a': 1}\n'doc'\nassert True, 'ok'\nassert f(1) == 2", "f", [([1], {}, "==", 2)]),
        ("assert Solution().f(1) == 2", "Solution().f", [([1], {}, "==", 2)]),
        ("def check(g):\n  '''d'''\n  assert g(1) == 2\n  assert not g(2)\ncheck(f)", "f", None),
        ("def check(g):\n    assert g(x=1) == 2\n\ncheck(Solution().f)", "Solution().f", None),
        ("def check(g):\n    assert g(1) == 2\n\ncheck(Solution.f)", "Solution.f", None),
    ],
)
def test_calls_with_literals_are_translated(code, function, calls):
    found = read(code)
    assert found is not None
    assert found[0] == function
    assert calls is None or found[1] == calls


@pytest.mark.parametrize(
    "code",
    [
        "assert f(1) == g(1)",
        "assert f(1) == 2\nassert g(1) == 2",
        "assert f(x) == 2",
        "assert f(1 + 1) == 2",
        "assert f(*[1]) == 2",
        "assert f(**{'a': 1}) == 2",
        "assert f(1) == X",
        "assert f(1) is 5",
        "assert f(1) < 5",
        "assert 1 < f(1) < 5",
        "assert f(1) in [1]",
        "assert abs(f(1) - 1) < 0.1",
        "assert f(f(1)) == 1",
        "assert a.b.f(1) == 1",
        "assert False",
        "x = f(1)\nassert x == 1",
        "f(1)\nassert f(1) == 1",
        "for n in range(3):\n    assert f(n) == n",
        "f = 5\nassert f(1) == 1",
        "from m import f\nassert f(1) == 1",
        "import f\nassert f.g(1) == 1",
        "def f(x): return x\nassert f(1) == 1",
        "def check(g):\n    assert g(1) == 2",
        "def check(g):\n    assert g(1) == 2\ncheck(f)\ncheck(h)",
        "def check(g, n=1):\n    assert g(1) == 2\ncheck(f)",
        "def check(g):\n    assert f(1) == 2\ncheck(f)",
        "def check(g):\n    g = 1\n    assert g(1) == 2\ncheck(f)",
        "def check(g):\n    assert g(1) == 2\ncheck(f())",
        "@d\ndef check(g):\n    assert g(1) == 2\ncheck(f)",
        "assert f(...) == 1",
        "pass",
        "",
    ],
)
def test_any_other_code_must_run(code):
    assert translate(code) is None


@pytest.mark.parametrize("code", ["assert f( == 1", "return 5", "\0", "(" * 1000, "assert f() == \ud83d"])
def test_code_that_does_not_compile_is_a_broken_test(code):
    with pytest.raises(BrokenTest, match="Error"):
        translate(code)


@pytest.mark.parametrize(
    ("relation", "expected", "right", "wrong"),
    [
        # As Python has it: a tuple is no list, but True is 1.
        ("==", (1, 2), [((1, 2),), ((True, 2.0),)], [([1, 2],), ("of type T", True)]),
        ("==", True, [(True,), (1,)], [(False,), (2,), ("of type T", True)]),
        ("!=", 3, [(4,), ("3",), ("of type T", True)], [(3,), (3.0,)]),
        ("is", None, [(None,)], [(0,), ("of type T", True)]),
        ("is", True, [(True,)], [(1,)]),
        ("is not", None, [(0,), ("of type T", False)], [(None,)]),
        ("true", None, [(1,), ("a",), ("of type T", True)], [(0,), ("",), (None,), ("of type T", False)]),
        ("false", None, [(0,), ([],), ("of type T", False)], [(1,), ("of type T", True)]),
    ],
)
def test_relations(relation, expected, right, wrong):
    check = Check(relation, expected)
    assert [result for result in right if not holds(check, result)] == []
    assert [result for result in wrong if holds(check, result)] == []


def test_results_are_believed_under_their_nonce_alone():
    assert read_results("n" + '[[5],["of type T",true]]', "n", 2) == [(5,), ("of type T", True)]
    for text in (None, "", "n", "[[5],[6]]", "m[[5],[6]]", "n[[5]]", "n[[5],[6],[7]]", "n[[5],[]]", "n[[5],6]", "n{}"):
        assert read_results(text, "n", 2) is None


@pytest.mark.parametrize(
    ("args", "expected"), [("5", "1"), ("", "1"), ("[", "1"), ("[1]", "x"), ("[" * 200 + "]" * 200, "1")]
)
def test_a_call_that_is_no_json_is_a_broken_test(args, expected):
    with pytest.raises(BrokenTest):
        calls_of(CallTest("f", args, expected))


def test_how_much_of_the_public_sets_is_translated():
    """Slow where it falls: code that runs costs two boxes."""
    mbpp = [json.loads(line) for line in shared("benchmarks/mbpp.jsonl").read_text().splitlines()]
    codes = [f"{row['test_setup_code']}\n{test}" for row in mbpp for test in row["test_list"]]
    assert (len(codes), sum(translate(code) is None for code in codes)) == (2922, 21)
    with gzip.open(shared("benchmarks/humaneval.jsonl.gz"), "rt") as file:
        rows = [json.loads(line) for line in file]
    codes = [f"{row['test']}\ncheck({row['entry_point']})" for row in rows]
    assert (len(codes), sum(translate(code) is None for code in codes)) == (164, 18)
