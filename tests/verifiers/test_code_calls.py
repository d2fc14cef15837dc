"""Functions under test: calls with expected values, asserts, and the talk between a test's code and the program."""

import gzip
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.shared_data import shared

from openklear.types import AssertTest, CallTest, Outcome, Test
from openklear.verifiers.code import CodeGrader
from openklear.verifiers.pool import WorkerLost
from openklear.verifiers.walls import LEVELS

SECONDS = 0.3


def made_at(level):
    made = CodeGrader(1, seconds=SECONDS, memory_mb=256, minimum_isolation="rlimits", level=level)
    try:
        made.isolation()
    except (WorkerLost, OSError) as error:
        pytest.skip(f"no {level} on this host: {error}")
    return made


@pytest.fixture(scope="module", params=LEVELS)
def any_level(request):
    made = made_at(request.param)
    yield made
    made.close()


@pytest.fixture(scope="module")
def grader():
    made = CodeGrader(1, seconds=SECONDS, memory_mb=256, minimum_isolation="rlimits")
    yield made
    made.close()


def call(function, args, expected):
    return CallTest(function, json.dumps(args), json.dumps(expected))


ADD = "def add(a, b): return a + b"
FORMS = {
    "call": lambda name, given, expected: call(name, given, expected),
    "assert": lambda name, given, expected: AssertTest(
        f"assert {name}(*{given}) == {expected}".replace("*[", "").replace("])", ")")
    ),
    "code": lambda name, given, expected: AssertTest(f"found = {name}(*{given})\nassert found == {expected}"),
}


@pytest.mark.parametrize("form", FORMS)
def test_functions_at_every_level(any_level, form):
    test = FORMS[form]
    grade = any_level.grade(ADD, (test("add", [2, 3], 5), test("add", [1, 1], 2), test("add", [0, 0], 1)))
    assert (grade.passed, grade.total, grade.outcome) == (2, 3, Outcome.INCORRECT)
    assert grade.reason == f"test 3 of 3: {'wrong result' if form == 'call' else 'assertion failed'}"
    assert any_level.grade(ADD, (test("add", [2, 3], 5), Test("", ""))).outcome is Outcome.CORRECT


SOLUTION = "class Solution:\n    def add(self, a, b): return a + b"


@pytest.mark.parametrize(
    ("program", "name"),
    [
        (ADD, "add"),
        (SOLUTION, "add"),
        (SOLUTION, "Solution.add"),
        (SOLUTION, "Solution().add"),
        (SOLUTION + "\nadd = Solution().add", "add"),
        (SOLUTION + "\n" + ADD.replace("+", "-"), "Solution.add"),
        (SOLUTION.replace("add", "count"), "count"),  # `count` is a name of the prelude, and no answer
        ("class Adder:\n    def add(self, a, b): return a + b", "Adder.add"),
        ("add = lambda a, b: a + b", "add"),
        (ADD + "\nif __name__ == '__main__':\n    print(add(*map(int, input().split())))", "add"),
        ("def add(a: List[int], b: Optional[int]) -> int: return reduce(xor, [0]) + math.floor(a + b)", "add"),
        ("def add(a, b): return pow(a + b, 1, 10 ** 9)", "add"),  # not math's
        ("def sum(a, b): return a + b", "sum"),
        (
            "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\ndef add(a, b): return P(a).x + b",
            "add",
        ),
        ("def add(a, b):\n    print('loud', a)\n    return a + b", "add"),
    ],
)
def test_where_a_function_is_found(grader, program, name):
    tests = [call(name, [2, 3], 5), call(name, [2, 3], 5)]
    if "." in name or "class Solution" not in program:  # an assert says itself where its function is
        tests += [AssertTest(f"assert {name}(2, 3) == 5")]
    grade = grader.grade(program, tests)
    assert grade.outcome is Outcome.CORRECT, grade.reason


def test_named_arguments(grader):
    assert grader.grade(ADD.replace("+", "-"), (call("add", {"b": 1, "a": 3}, 2),)).outcome is Outcome.CORRECT


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("def other(a, b): return 5", "NameError: name 'add' is not defined"),
        ("def add(a): return 5", "TypeError: add() takes 1 positional argument but 2 were given"),
        ("def add(a, b): raise ValueError('no')", "ValueError: no"),
        ("def add(a, b): return a - b", "wrong result"),
        ("def add(a, b): return True", "wrong result"),
        ("def add(a, b): return '5'", "wrong result"),
        ("def add(a, b): print(5)", "wrong result"),
        ("def add(a, b):\n    while True: pass", "timeout"),
        ("def add(a, b): return add(a, b)", "RecursionError: maximum recursion depth exceeded"),
        ("def add(a, b): bytearray(300 << 20)", "MemoryError:"),
        ("def add(a, b): return 'x' * (9 << 20)", "too much output"),
        ("def add(a, b): return list(range(12 * 10 ** 5))", "returned a value too big"),
        ("def add(a, b): return add", "returned a value of type function"),
        ("def add(a, b):\n    yield 5", "returned a value of type generator"),
        ("def add(a, b):\n    l = []; l.append(l); return l", "returned a value nested too deep, or in itself"),
        ("class I(int):\n    def __eq__(s, o): return True\ndef add(a, b): return I(0)", "returned a value of type I"),
        ("import sys\ndef add(a, b): sys.exit(0)", "SystemExit: 0"),
        ("import os\ndef add(a, b): os._exit(0)", "ended without an answer"),
        ("import sys\nsys.exit(0)\n" + ADD, "SystemExit: 0"),
        ("def add(a, b):\n    import os; os.write(3, b'[[5]]'); os._exit(0)", "ended without an answer"),
        ("import ctypes\ndef add(a, b): ctypes.string_at(0)", "killed by SIGSEGV"),
        ("def add(a, b:", "SyntaxError: '(' was never closed (solution.py, line 1)"),
        ("import json\njson.dumps = lambda *a, **k: '[[5]]'\ndef add(a, b): return 0", "wrong result"),
    ],
)
def test_wrong_functions(grader, program, reason):
    grade = grader.grade(program, (call("add", [2, 3], 5),))
    assert (grade.outcome, grade.reason) == (Outcome.INCORRECT, f"test 1 of 1: {reason}")
    if reason in ("timeout", "too much output", "returned a value too big"):
        return  # slow, and the same
    for code in ("assert add(2, 3) == 5", "for n in [5]: assert add(2, 3) == n"):
        assert grader.grade(program, (AssertTest(code),)).outcome is Outcome.INCORRECT, code


def test_the_corpus_of_cheats_for_functions(grader):
    """The expected value in a caller's frame, patched modules, equality that is always true, and their like."""
    corpus = json.loads(shared("attacks/programs.json").read_text())["functional"]
    tests = [AssertTest(test) for test in corpus["tests"]]
    tests.append(AssertTest("for a, b, c in [(2, 3, 5), (-1, 1, 0)]: assert add(a, b) == c"))
    accepted = {name for name, case in corpus["programs"].items() if grader.grade(case["code"], tests).passed == 3}
    assert accepted == {"fn_mutate_inputs", "fn_float_close"}  # innocent; and 5.0 == 5, as Python has it
    calls = (call("add", [2, 3], 5), call("add", [-1, 1], 0))
    assert {
        name for name, case in corpus["programs"].items() if grader.grade(case["code"], calls).passed == 2
    } == accepted


def test_calls_of_one_test_share_a_process_and_those_of_two_do_not(grader):
    program = "seen = []\ndef f(x):\n    seen.append(x)\n    return len(seen)"
    together = "def check(g):\n    assert g(7) == 1\n    assert g(7) == 2\ncheck(f)"
    assert grader.grade(program, (AssertTest(together), AssertTest("assert f(7) == 1"))).outcome is Outcome.CORRECT
    assert grader.grade(program, (call("f", [7], 1), call("f", [7], 1))).outcome is Outcome.CORRECT
    keeps = "class Solution:\n    n = 0\n    def f(self):\n        self.n += 1\n        return self.n"
    once = "def check(g):\n    assert g() == 1\n    assert g() == 2\ncheck(Solution().f)"
    again = "assert Solution().f() == 1\nassert Solution().f() == 1"
    assert grader.grade(keeps, (AssertTest(once), AssertTest(again))).outcome is Outcome.CORRECT


def test_a_result_is_taken_as_it_is_when_it_is_returned(grader):
    program = "kept = []\ndef f(x):\n    kept.append(x)\n    return kept"
    assert grader.grade(program, (AssertTest("assert f(1) == [1]\nassert f(2) == [1, 2]"),)).outcome is Outcome.CORRECT


NODE = (
    "class Node:\n    def __init__(self, v): self.v, self.left, self.right = v, None, None\n"
    "    def __len__(self): return 1\n"
    "def depth(n): return 0 if n is None else 1 + max(depth(n.left), depth(n.right))\n"
    "def make(v): return Node(v)\n"
    "class Stack:\n    def __init__(self): self.items = []\n    def push(self, x): self.items.append(x)\n"
    "    def pop(self): return self.items.pop()\n    def __getitem__(self, i): return self.items[i]\n"
    "class V:\n    def __init__(self, x): self.x = x\n    def __add__(self, o): return V(self.x + o.x)\n"
    "    def __repr__(self): return f'V({self.x})'\n    def __lt__(self, o): return self.x < o.x\n"
    "    def __eq__(self, o): return True\n    __hash__ = None"
)


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (ADD, "for a in range(3):\n    for b in range(3): assert add(a, b) == a + b"),
        (ADD, "import math\nassert abs(add(0.1, 0.2) - 0.3) < 1e-9 and math.isclose(add(0.1, 0.2), 0.3)"),
        (ADD, "assert add((1,), (2,)) == (1, 2) and add([1], [2]) != (1, 2) and add('a', 'b') == 'ab'"),
        (ADD, "def twice(n): return add(n, n)\nassert [twice(n) for n in range(3)] == [0, 2, 4]"),
        (ADD, "assert sorted([add(2, 1), add(0, 1)]) == [1, 3] and math.floor(add(1, 1)) == 2"),
        ("N = 5\ndef f(): return N", "assert f() == N"),
        (
            "from math import gcd\ndef f(a, b): return gcd(a, b)",
            "from math import gcd\nassert f(4, 6) == gcd(4, 6) == 2",
        ),
        ("def gcd(a, b): return 'mine'", "found = gcd(4, 6)\nassert found == 'mine'"),
        (
            "def ap(f, *a): return f(*a)",
            "assert ap(lambda x: x + 1, 3) == 4 and ap(max, [1, 5]) == 5 and ap(int, '7') == 7",
        ),
        ("def ap(f): return f(f)", "import operator\nassert ap(lambda g: g is not None)"),
        ("def f(l): l.sort()", "l = [3, 1]\nkept = l\nf(l)\nassert l == [1, 3] and kept is l"),
        ("def f(d): d['a'] = [1]", "d = {'b': 2}\nf(d=d)\nassert d == {'a': [1], 'b': 2}"),
        (
            "def f(s, l):\n    s.add(5)\n    l[0][0] = 6",
            "s, l = {1}, [[1]]\nf(s, l)\nassert s == {1, 5} and l == [[6]]",
        ),
        ("def f(n):\n    for i in range(n): yield i", "assert list(f(3)) == [0, 1, 2] and 2 in f(3) and 5 not in f(3)"),
        (
            "def f(n):\n    while True: yield n",
            "g = f(7)\nassert next(g) == 7 and [a for a, _ in zip(g, range(2))] == [7, 7]",
        ),
        ("def f(): return {1, 2}, {'a': (1, [2])}", "a, b = f()\nassert a == {2, 1} and b == {'a': (1, [2])}"),
        (NODE, "r = Node(1)\nr.left = Node(2)\nr.left.right = make(3)\nassert depth(r) == 3 and r.left.v == 2"),
        (
            NODE,
            "r = Node(1)\nr._end = 7\nassert r._end == 7 and isinstance(r, Node) and not isinstance(r, Stack) and not isinstance(5, Node)",
        ),
        (
            NODE,
            "r = Node(1)\nr.left = r\nassert r.left is r and r.left == r and r != Node(1) and r in {r} and r and len(r) == 1",
        ),
        (NODE, "s = Stack()\ns.push(4)\ns.push([1])\nassert s[0] == 4 and s.pop() == [1] and s.items == [4]"),
        (NODE, "try: Stack().pop()\nexcept IndexError as e: assert 'empty' in str(e)\nelse: assert False"),
        (
            NODE,
            "try: Node(1).nothing\nexcept AttributeError: pass\nelse: assert False\nassert not hasattr(Node(1), 'x')",
        ),
        (
            NODE,
            "assert str(V(1) + V(2)) == 'V(3)' and V(1) < V(2) and f'{V(5)!r}' == 'V(5)' and max(V(1), V(4)).x == 4",
        ),
        (NODE, "assert [make(n).v for n in range(3)] == [0, 1, 2] and list(map(make, [1]))[0].v == 1"),
        (
            "class E(ValueError): pass\ndef f(): raise E('so')",
            "try: f()\nexcept ValueError as e: assert str(e) == 'so'\nelse: assert 0",
        ),
        (
            "class E(Exception): pass\ndef f(): raise E('so')",
            "ok = False\ntry: f()\nexcept Exception: ok = True\nassert ok",
        ),
        ("def f(): return b'\\xff'.decode()", "ok = False\ntry: f()\nexcept ValueError: ok = True\nassert ok"),
        ("import sys\nprint('noise')\ndef f(): print('more'); return 1", "print('mine')\nassert [f()] == [1]"),
        ("def f(n): return lambda x: x + n", "assert f(2)(3) == 5"),
        (
            "def f(n): return n",
            "n = f(10 ** 100)\nassert n == 10 ** 100 and f(float('inf')) > n and f('\\ud83d') == '\\ud83d'",
        ),
        ("def f(r): return list(r)", "assert f(range(3)) == [0, 1, 2]"),
    ],
)
def test_code_that_talks_with_a_right_program(grader, program, code):
    grade = grader.grade(program, (AssertTest(code),))
    assert grade.outcome is Outcome.CORRECT, grade.reason


LIES = (
    "class L:\n"
    + "".join(
        f"    def __{name}__(self, *a): return True\n" for name in ("eq", "ne", "lt", "gt", "le", "ge", "contains")
    )
    + "".join(
        f"    def __{name}__(self, *a): return 0\n" for name in ("sub", "rsub", "add", "radd", "mul", "index", "len")
    )
    + "    def __hash__(self): return 1\n    def __getattr__(self, n): return lambda *a: True\ndef f(*a): return L()\n"
)


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("def f(): return 1", "assert [f()] == [2]"),
        (LIES, "assert [f()] == [5]"),
        (LIES, "assert 5 == f(3) or f(3) == 5"),
        (LIES, "assert abs(f(1) - 5) < 1e-6"),
        (LIES, "assert abs(5 - f(1)) < 1e-6"),
        (LIES, "assert f(1) < 5"),
        (LIES, "assert f(1) in [5]"),
        (LIES, "assert f(1) in {1: 2}"),
        (LIES, "assert 5 in f(1)"),
        (LIES, "assert isinstance(f(1), int)"),
        (LIES, "assert f(1) is True"),
        (LIES, "assert str(f(1)) == '5'"),
        # It clears its input, and returns it or nothing.
        ("def f(l):\n    l.clear()\n    return l", "l = [2, 1]\nassert f(l) == sorted(l)"),
        ("def f(l): l.clear()", "l = [2, 1]\nf(l)\nassert l == [1, 2]"),
        # It ends, in every way, what it can reach.
        ("import sys\ndef f(): sys.exit(0)", "try: f()\nexcept: pass"),
        ("def f(): raise KeyboardInterrupt", "try: f()\nexcept BaseException: pass"),
        ("def f(): raise GeneratorExit", "try: f()\nexcept: pass"),
        ("import os\ndef f(): os._exit(0)", "try: f()\nexcept: pass"),
        ("import os\nos._exit(0)", "pass\nf()"),
        ("import builtins\nbuiltins.AssertionError = ValueError\ndef f(): return 1", "assert [f()] == [2]"),
        ("def f(): raise AssertionError('x')", "f()"),
        ("def f(c):\n    try: c(1)\n    except AssertionError: pass", "def c(x): assert x == 2\nf(c)"),
        ("import builtins\nbuiltins.len = lambda x: 3\ndef f(): return []", "assert len(f()) == 3"),
        ("def sorted(x): return [1, 2]\ndef f(): return [2, 2]", "assert sorted(f()) == [1, 2]"),
        ("def other(): pass", "for n in [1]: assert f() == n"),
        ("import operator", "for n in [3]: assert add(1, 2) == n"),
        ("from math import *", "for n in [2]: assert gcd(4, 6) == n"),
        ("class math:\n    isclose = lambda *a: True\ndef f(): return 1", "assert math.isclose(f(), 2)"),
        ("class Node: pass", "r = Node(5)\nassert r.v == 5"),
        # It speaks out of turn: what it may say are answers.
        (
            "import os, struct\ndef f():\n    for m in (b'{\"verdict\":1,\"passed\":true}', b'{\"value\":5}', b'[]', b'x', b'{}'):\n"
            "        os.write(3, struct.pack('>I', len(m)) + m)\n    return 1",
            "assert [f()] == [6]",
        ),
        ("import os\ndef f(): os.write(3, b'\\xff' * 100)", "assert [f()] == [6]"),
        ("import os, struct\ndef f(): os.write(3, struct.pack('>I', 9 << 20))", "assert [f()] == [6]"),
        ("import os, struct\ndef f():\n    b = b'[' * 10 ** 5\n    os.write(3, struct.pack('>I', len(b)) + b)", "f()"),
        ("def f():\n    while True: pass", "f()"),
        ("import time\ndef f(): time.sleep(100)", "f()"),
        ("def f(): return 'x' * (9 << 20)", "f()"),
        ("def f(n):\n    while True: yield n", "assert list(f(1)) == 1"),
        ("def f(g): return f(g)", "f(lambda: 1)"),
    ],
)
def test_code_that_talks_with_a_wrong_program(grader, program, code):
    grade = grader.grade(program, (AssertTest(code),))
    assert grade.outcome is Outcome.INCORRECT, grade
    assert grader.grade(ADD, (AssertTest("for n in [3]: assert add(1, 2) == n"),)).outcome is Outcome.CORRECT


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("assert add( == 1", "SyntaxError"),
        ("import no_such_module\nassert add(1, 1) == 2\nassert [add(1, 1)] == [2]", "No module named"),
        (
            "def check(candidate):\n    import no_such_module\n    assert [candidate(1, 1)] == [2]\ncheck(add)",
            "No module",
        ),
        ("x = 1 / 0\nassert [add(1, 1)] == [2]", "ZeroDivisionError"),
        ("while True: pass", "timeout"),
        ("class Own: pass\nadd(Own(), 1)", "an object of type Own"),
        ("add(iter([]), 1)", "an object of type list_iterator"),
    ],
)
def test_a_test_that_cannot_run_is_nobodys_fault(grader, code, why):
    for program in (ADD, "def add(a, b): return 7")[: 1 if why == "timeout" else 2]:
        grade = grader.grade(program, (AssertTest(code),))
        assert grade.outcome is Outcome.UNSCORABLE
        assert grade.reason.startswith("test 1 of 1 cannot run: ")
        assert why in grade.reason
    # Where another test fails anyway, there is nothing to excuse.
    assert grader.grade(ADD, (AssertTest(code), call("add", [1, 1], 3))).outcome is Outcome.INCORRECT


BABBLE = "import os, struct\nwhile True:\n    os.write(3, struct.pack('>I', 2) + {!r})"


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("def f(g): return g(1)", "f(lambda x: iter([]))"),
        ("def f(g): return g(object())", "assert f(lambda x: x / 0) == 5"),
        ("def f(g): g(f)", "assert f(lambda x: x / 0) == 5"),
        ("def f(x):\n    for _ in range(99): x = [x]\n    return x", "f([f(1)])"),
        ("def f(x): return [0] * 600_000", "f([f(1), f(1)])"),
        *(
            (BABBLE.format(word), "for n in [1]: assert f(1) == n")
            for word in (b"[]", b"{}", b"5 ", b"xx", b"\xff\xff")
        ),
        ("def f(x): pass", "import re\nf(re.match('a', 'a' if f(1) is None else 'b'))"),
    ],
)
def test_a_program_cannot_make_a_test_unable_to_run(grader, program, code):
    grade = grader.grade(program, (AssertTest(code),))
    assert grade.outcome is Outcome.INCORRECT, grade


def test_reasons_hold_no_addresses(grader):
    program = "def f(): raise ValueError(object())"
    for code in ("assert f() == 1", "for n in [1]: assert f() == n"):
        grade = grader.grade(program, (AssertTest(code),))
        assert grade.reason == "test 1 of 1: ValueError: <object object at 0x...>"


def test_kinds_may_be_mixed(grader):
    program = "def f(x): return x + 1\nif __name__ == '__main__': print(f(int(input())))"
    tests = (
        *(Test("1\n", "2\n"), call("f", [1], 2), AssertTest("assert f(1) == 2"), AssertTest("assert [f(1)] == [2]")),
        *(Test("2\n", "9\n"), call("f", [1], 9), Test("3\n", "4\n"), AssertTest("assert f(")),
    )
    grade = grader.grade(program, tests)
    assert (grade.outcome, grade.passed, grade.total) == (Outcome.INCORRECT, 5, 8)
    assert grade.reason == "test 5 of 8: wrong output"
    early = grader.grade(program, tests, stop_early=True)
    assert (early.outcome, early.passed, early.reason) == (Outcome.INCORRECT, 4, "test 5 of 8: wrong output")


def test_many_threads_share_few_boxes():
    """A talk holds two boxes; those who wait for the second must not keep each other waiting for ever."""
    made = CodeGrader(2, seconds=SECONDS, memory_mb=256, minimum_isolation="rlimits")
    tests = (
        AssertTest("assert [add(1, 2)] == [3]"),
        call("add", [1, 2], 3),
        AssertTest("x = add(1, 2)\nassert x == 3"),
    )
    programs = [ADD if n % 3 else ADD.replace("+", "-") for n in range(48)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda program: made.grade(program, tests).passed, programs))
    assert found == [3 if program == ADD else 0 for program in programs]
    made.close()


def test_checkers_compare_results_of_calls(grader):
    program = "def f(x): return [[x + 0.1 + 0.2, 'b'], [1]]"
    test = (call("f", [0], [[1], [0.3, "b"]]),)
    assert grader.grade(program, test, "unordered").passed == 0
    assert grader.grade(program.replace("x + 0.1 + 0.2", "0.3"), test, "unordered").passed == 1
    assert grader.grade(program, (call("f", [0], [[0.3, "b"], [1]]),), "float:1e-9").passed == 1


def test_a_checker_that_raises_is_tried_on_what_is_right(grader, tmp_path, monkeypatch):
    (tmp_path / "raising_checkers.py").write_text(
        "def reads(given, expected, actual): return int(actual) == int(expected)\ndef fails(*given): return 1 / 0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    tests = (Test("", "5\n"),)
    assert grader.grade("print('05')", tests, "raising_checkers:reads").outcome is Outcome.CORRECT
    garbage = grader.grade("print('x')", tests, "raising_checkers:reads")
    assert garbage.outcome is Outcome.INCORRECT
    assert "checker raising_checkers:reads: ValueError" in garbage.reason
    assert grader.grade("print('5')", tests, "raising_checkers:fails").outcome is Outcome.UNSCORABLE


def sample(name, every):
    path = shared(name)
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        return [json.loads(line) for line in file][::every]


def test_reference_solutions(grader):
    """One in twenty or so; benchmarks/code_references.py runs all of them, each beside a broken twin."""
    programs = [
        (row["prompt"] + row["canonical_solution"], [f"{row['test']}\ncheck({row['entry_point']})"])
        for row in sample("benchmarks/humaneval.jsonl.gz", 16)
    ]
    mbpp = sample("benchmarks/mbpp.jsonl", 1)
    hard = [row for row in mbpp if row["task_id"] in (40, 126, 367, 486, 533, 590, 596, 601, 653, 912, 927)]
    programs += [
        (row["code"], [f"{row['test_setup_code']}\n{test}" for test in row["test_list"]])
        for row in (*mbpp[::40], *hard)
    ]
    programs += [(row["reference_solution"], [row["tests"]]) for row in sample("train/leetcode_functional.jsonl", 25)]
    found = Counter(grader.grade(program, [*map(AssertTest, tests)]).outcome for program, tests in programs)
    assert found == {Outcome.CORRECT: 11 + 25 + 11 + 17}
