"""LiveCodeBench's harness as an option: what programs see there, and what counts.

The expected column was not worked out by us: these programs were run through `run_test` of the harness itself (at
28fef95, Python 3.11, a terminal as its stdin), a process each, and what it said stands here.
"""

import json
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from openklear.errors import UsageError
from openklear.types import AssertTest, Attempt, CallTest, Outcome, Problem, Test
from openklear.verifiers.domains import DOMAINS, domain_under
from openklear.verifiers.judge import Judge
from openklear.verifiers.limits import OFFICIAL, Limits
from openklear.verifiers.official import OfficialGrader, extract, finding, heard, refusal
from openklear.verifiers.workers.official import Alarm, TimeoutException

TWICE = (Test("1", "2"),) * 2
CALLS = (CallTest("f", "[1]", "2"),) * 2
LIMITS = Limits(workers=1, minimum_isolation="rlimits", code_seconds=0.5)
METHOD = "class Solution:\n    def f(self, n): "

PROBES = json.loads((Path(__file__).parent / "official_probes.json").read_text())
"""Two tests each: calls of f(1), or an input of the lines 1 and 5, that must give 2."""


@pytest.fixture(scope="module")
def grader():
    made = OfficialGrader(1, 0.5, 512, "rlimits", ())
    yield made
    made.close()


def said(verdict):
    """As the harness's list of results and its error code."""
    code = int(verdict.reason.rpartition("(")[2].rstrip(")")) if verdict.reason else None
    return verdict.passed, code


STDIN = {
    "plain": ("print(int(input()) + 1)", 2, None),
    "spaces": ("print(' ', int(input()) + 1, ' ')\nprint()", 2, None),
    "decimals": ("print(float(input()) + 1)", 2, None),
    "iterates": ("import sys\nfor line in sys.stdin: print(int(line) + 1)", 0, -4),
    "imported_stdin": ("from sys import stdin\nprint(int(stdin.readline()) + 1)", 2, None),
    "imported_stdin_iterates": ("from sys import stdin\nfor line in stdin: print(int(line) + 1)", 0, -2),
    "imported_stdout": ("from sys import stdout\nstdout.write(str(int(input()) + 1))", 0, -2),
    "prelude_stdin": ("print(int(stdin.readline()) + 1)", 2, None),
    "prelude_stdout": ("stdout.write(str(int(input()) + 1))", 0, -2),
    "prelude_names": ("print(int(input()) + 1 + defaultdict(int)[0])", 2, None),
    "open_0": ("print(int(open(0).read()) + 1)", 0, -3),
    "os_read": ("import os\nprint(int(os.read(0, 100)) + 1)", 0, -3),
    "builtins_open": ("import builtins\nprint(int(builtins.open('x').read()) + 1)", 2, None),
    "buffer": ("import sys\nprint(int(sys.stdin.buffer.read()) + 1)", 2, None),
    "buffer_readlines": ("import sys\nprint(int(sys.stdin.buffer.readlines()[0]) + 1)", 0, -4),
    "reads_twice": ("import sys\nsys.stdin.read()\nprint(int(sys.stdin.read()) + 1)", 2, None),
    "stdout_buffer": ("import sys\nsys.stdout.buffer.write(str(int(input()) + 1).encode())", 0, -4),
    "os_write": ("import os\nos.write(1, str(int(input()) + 1).encode())", 0, -2),
    "fileno": ("import sys\nsys.stdin.fileno()\nprint(int(input()) + 1)", 0, -4),
    "end_of_input": ("input(); input(); input()\nprint(2)", 0, -4),
    "main_last": ('def main():\n  print(int(input()) + 1)\nif __name__ == "__main__":\n  main()', 2, None),
    "main_not_last": ("if __name__ == '__main__':\n  print(int(input()) + 1)\nx = 1", 0, -2),
    "global": ("n = 0\ndef f():\n  global n\n  n += 1\nf()\nprint(int(input()) + 1)", 0, -4),
    "exit": ("print(int(input()) + 1)\nexit()", 2, None),
    "exit_1": ("import sys\nprint(int(input()) + 1)\nsys.exit(1)", 2, None),
    "quit": ("print(int(input()) + 1)\nquit()", 0, -4),
    "raises_late": ("print(int(input()) + 1)\n1 / 0", 0, -4),
    "empty": ("", 0, -4),
    "syntax": ("print(", 0, -4),
    "future": ("from __future__ import annotations\nprint(int(input()) + 1)", 0, -4),
    "star_in_if": ("if 1:\n  from math import *\nprint(int(input()) + 1)", 0, -4),
    "returns": ("print(int(input()) + 1)\nreturn", 2, None),
    "thread": (
        "import threading, time\ndef f():\n  time.sleep(.1)\n  print(2)\nthreading.Thread(target=f).start()",
        0,
        -2,
    ),
    "thread_joined": (
        "import threading, time\ndef f():\n  time.sleep(.1)\n  print(int(input()) + 1)\n"
        "t = threading.Thread(target=f)\nt.start()\nt.join()",
        2,
        None,
    ),
    "exit_handler": ("import atexit\nn = int(input())\natexit.register(lambda: print(n + 1))", 0, -2),
    "ends_itself": ("import os\nprint(int(input()) + 1)\nos._exit(0)", 0, -5),
    "closes_stdout": ("import sys\nprint(int(input()) + 1)\nsys.stdout.close()", 0, -4),
    "getcwd": ("import os\nos.getcwd()\nprint(int(input()) + 1)", 0, -4),
    "resource": ("import resource\nprint(int(input()) + 1)", 0, -4),
    "one_process": ("import math\nmath.k = getattr(math, 'k', 0) + 1\nprint(int(input()) + math.k)", 1, -2),
    "loops": ("while True: pass", 0, -3),
    "catches_the_alarm": ("try:\n  while True: pass\nexcept Exception: print(int(input()) + 1)", 0, -2),
    "deep_in_c": (
        "import sys\nsys.setrecursionlimit(10**6)\nfrom functools import lru_cache\n@lru_cache(None)\n"
        "def f(n): return 0 if n == 0 else f(n - 1) + 1\nprint(int(input()) + f(400000) - 399999)",
        0,
        -5,
    ),
}
CALLED = {
    "method": (METHOD + "return n + 1", 2, None),
    "function": ("def f(n): return n + 1", 2, None),
    "float": (METHOD + "return n + 1.0", 2, None),
    "text": (METHOD + "return str(n + 1)", 0, -2),
    "exits": (METHOD + "exit()", 0, -5),
    "raises": (METHOD + "return 1 // 0", 0, -4),
    "missing": (METHOD.replace("f(", "g(") + "return n + 1", 0, -4),
    "class_beside": ("class Solution: pass\ndef f(n): return n + 1", 0, -4),
    "one_object": (METHOD + "self.k = getattr(self, 'k', 0) + 1; return n + self.k", 1, -2),
    "main": (METHOD + "return n + 1\nif __name__ == '__main__': 1 / 0", 2, None),
    "prints": ("print('x')\n" + METHOD + "print(n); return n + 1", 2, None),
    "open_0": (METHOD + "return int(open(0).read() or 0) + n + 1", 0, -3),
}


@pytest.mark.parametrize("name", STDIN)
def test_programs_over_stdin(grader, name):
    program, passed, code = STDIN[name]
    verdict = grader.grade(program, TWICE)
    assert said(verdict) == (passed, code), verdict
    assert verdict.correct == (code is None)


@pytest.mark.parametrize("name", PROBES)
def test_probes(grader, name):
    probe = PROBES[name]
    tests = CALLS if probe["function"] else (Test("1\n5", "2"),) * 2
    assert said(grader.grade(probe["program"], tests)) == (probe["passed"], probe["code"])


def test_what_is_written_past_stdout_is_nobody_s(grader):
    program = "import os\nfor _ in range(90): os.write(1, b'x' * 100_000)\nprint(int(input()) + 1)"
    assert grader.grade(program, TWICE).correct


@pytest.mark.parametrize("name", CALLED)
def test_calls(grader, name):
    program, passed, code = CALLED[name]
    verdict = grader.grade(program, CALLS)
    assert said(verdict) == (passed, code), verdict
    assert verdict.correct == (code is None)


@pytest.mark.parametrize(
    ("returned", "expected", "correct"),
    [("(n + 1,)", "[2]", True), ("[(n,)]", "[[1]]", False), ("n == 1", "1", True), ("{n}", "[1]", False)],
)
def test_results_are_compared_as_python_compares_them(grader, returned, expected, correct):
    assert grader.grade(METHOD + f"return {returned}", (CallTest("f", "[1]", expected),)).correct == correct


def test_a_result_that_claims_to_be_equal_is_not_believed(grader):
    program = "class Any(int):\n    def __eq__(self, other): return True\n" + METHOD + "return Any(7)"
    assert said(grader.grade(program, CALLS)) == (0, -2)


def test_the_first_failure_is_the_end(grader):
    tests = (Test("1", "2"), Test("2", "x"), Test("3", "4"))
    verdict = grader.grade("print(int(input()) + 1)", tests)
    assert (verdict.passed, verdict.total, verdict.reason) == (1, 3, "test 2 of 3: wrong output (-2)")


def test_reasons_say_what_happened(grader):
    assert grader.grade("print(1 / 0)", TWICE).reason == "test 1 of 2: ZeroDivisionError('division by zero') (-4)"
    reason = grader.grade("print(", TWICE).reason
    assert reason.startswith("test 1 of 2: error during testing: SyntaxError: '(' was never closed")
    assert grader.grade("while True: pass", TWICE).reason == "test 1 of 2: timeout (-3)"


def test_a_program_cannot_choose_what_it_is_said_to_answer(grader):
    frame = "import os, json, struct\ndef say(body): os.write(3, struct.pack('>I', len(body)) + body)\n"
    assert grader.grade(frame + 'say(b\'{"out": "2"}\')\nsay(b\'{"out": "2"}\')\nos.read(3, 99)', TWICE).correct
    for body in ("b'{\"passed\": true}'", "b'[' * 99999", "b'null'", "b'\\xff'", "b'{\"value\": 2}'"):
        assert grader.grade(frame + f"say({body})\nos._exit(0)", TWICE).outcome is Outcome.INCORRECT
    assert grader.grade("import os\nos.write(3, b'\\xff' * 99)\nprint(3)", TWICE).outcome is Outcome.INCORRECT
    assert grader.grade("import os\nos.close(3)\nprint(3)", TWICE).outcome is Outcome.INCORRECT


def test_what_is_expected_is_not_in_the_process(grader):
    look = """
import gc, sys
sought = input()[::-1] + '-' + 'only'
frame, seen, waiting = sys._getframe(), set(), gc.get_objects()
while frame is not None:
    waiting += [frame.f_locals, frame.f_globals]
    frame = frame.f_back
while waiting:
    one = waiting.pop()
    if id(one) in seen: continue
    seen.add(id(one))
    if type(one) is str and one is not sought and sought in one: print('found'); sys.exit()
    if type(one) is not str: waiting += gc.get_referents(one)
print('not found')
"""
    given, kept = "hgfedcba", "abcdefgh-only-the-judge-knows"
    assert grader.grade(look, (Test(f"{given}\n{kept}", "found"),)).correct  # where it is in memory, it is seen
    assert grader.grade(look, (Test(given, "not found"), Test(given, kept))).passed == 1


@pytest.mark.parametrize(
    ("program", "reasons"),
    [
        ("import time\ntime.sleep(99)", "timeout (-3)"),
        ("x = bytearray(2**40)", "MemoryError() (-4)"),
        ("x = []\nwhile True: x.append(bytearray(2**28))", "MemoryError() (-4)"),  # soon: its pages take time
        ("print('x' * 2**33)", "MemoryError() (-4)"),
    ],
)
def test_limits_hold(grader, program, reasons):
    assert grader.grade(program, TWICE).reason == f"test 1 of 2: {reasons}"


@pytest.mark.slow
def test_a_program_that_silences_the_alarm_is_ended_all_the_same(grader):
    program = "import signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile True: pass"
    assert grader.grade(program, TWICE[:1]).reason == "test 1 of 1: timeout (-5)"
    assert grader.grade("print(int(input()) + 1)", TWICE).correct


def test_an_alarm_does_not_count_what_a_crowded_machine_took():
    before = signal.getsignal(signal.SIGALRM)
    waited = iter([1.0, 1.2, 1.2])  # at the start, when it rings, when it rings again
    alarm = Alarm(0.05)
    alarm._starved = lambda: next(waited)
    began = time.monotonic()
    try:
        alarm.start()
        with pytest.raises(TimeoutException):
            time.sleep(9)
    finally:
        alarm.stop()
        signal.signal(signal.SIGALRM, before)
    assert 0.25 <= time.monotonic() - began < 5


def test_findings():
    test, call = Test("", "2"), CallTest("f", "[]", "[1]")
    for said, found in (
        ({"out": " 2 \n"}, ""),
        ({"out": "2.0"}, ""),
        ({"out": "3"}, "wrong output (-2)"),
        ({}, "wrong result (-2)"),
    ):
        assert finding(test, said, {}) == found
    assert (
        finding(test, None, {}) == finding(test, None, {"ended": "exit", "code": 0}) == "ended without an answer (-5)"
    )
    assert finding(test, None, {"ended": "exit", "code": -11}) == "killed by SIGSEGV (-5)"
    assert finding(test, None, {"ended": "wall", "code": -9}) == "timeout (-5)"
    for value, found in ((["l", 1], ""), (["t", 1], ""), (["l", 2], "wrong result (-2)"), (["x"], "wrong result (-2)")):
        assert finding(call, {"value": value}, {}) == found


def test_output_comes_in_pieces(grader):
    said = iter(['{"more": "ab"}', '{"more": "c"}', '{"out": "d"}'])
    assert heard(lambda: next(said), 9) == {"out": "abcd"}
    said = iter(['{"more": "ab"}', '{"more": "c"}', '{"out": "d"}'])
    assert heard(lambda: next(said), 2) == {"code": -2, "error": "too much output"}
    for words in ([None], ['{"more": "a"}', None], ["[1]"], ["["], ["[" * 99999]):
        said = iter(words)
        assert heard(lambda said=said: next(said), 9) is None
    long = "\U0001f600" * 1_200_000
    assert grader.grade("print(chr(0x1f600) * 1200000)", (Test("", long), Test("", long))).correct
    assert grader.grade("print('x' * 9_000_000)", (Test("", "x"),)).reason == "test 1 of 1: too much output (-2)"


@pytest.mark.parametrize(
    ("expected", "output", "equal"),
    [
        ("1 2\n", "1  2", True),
        ("1 2\n3", "1 2\n\n3", False),
        ("0.5", "5e-1", True),
        ("0.5", "0.50001", False),
        ("50000000000000001", "50000000000000000", False),
        ("a b", "a  b", False),
        ("nan", "nan", True),
        ("1 nan", "1.0 nan", False),
        ("", "\n \n", True),
        ("YES", "yes", False),
    ],
)
def test_outputs_are_compared_line_by_line(expected, output, equal):
    assert (finding(Test("", expected), {"out": output}, {}) == "") == equal


def test_what_is_extracted():
    assert extract("```python\na\n```\ntext\n```\nb\n```") == "b"
    assert extract("<think>```\nx\n```") == "x"
    assert extract("```python\na\n```\nand ```more``` words") == ""  # the words' line is a fence to the harness
    assert extract("``` only one") is None


def test_tests_that_the_harness_cannot_run(grader):
    assert refusal(TWICE) == refusal(CALLS) == ""
    for tests in ((AssertTest("assert f(1) == 2"),), (*TWICE, *CALLS), (CallTest("f", '{"n": 1}', "2"),)):
        assert refusal(tests)
        assert grader.grade("f = 1", tests).outcome is Outcome.UNSCORABLE
    assert refusal((*CALLS, CallTest("g", "[1]", "2")))
    assert grader.grade("x", ()).outcome is Outcome.UNSCORABLE


def test_statements_of_several_answers_are_judged_all_the_same():
    prompt = ({"role": "user", "content": "If there are several solutions, print any of them."},)
    problem = Problem("p", prompt, "code", tests=TWICE)
    attempt = Attempt(problem, "```python\nprint(int(input()) + 1)\n```")
    with Judge(LIMITS) as ours, Judge(replace(LIMITS, harness="official")) as official:
        assert ours.judge([attempt])[0].outcome is Outcome.UNSCORABLE
        assert official.judge([attempt])[0].correct


def test_journals_never_mix_the_two(tmp_path):
    problem = Problem("p", ({"role": "user", "content": "?"},), "code", tests=TWICE)
    attempt = Attempt(problem, "import sys\nfor line in sys.stdin: print(int(line) + 1)", exact=True)
    path = tmp_path / "verdicts.jsonl"
    for _ in range(2):
        for harness, correct in (("openklear", True), ("official", False)):
            with Judge(replace(LIMITS, harness=harness), journal=path) as judge:
                assert judge.judge([attempt])[0].correct == correct
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({row["key"] for row in rows}) == len(rows) == 2


def test_the_whole_completion_is_looked_at():
    assert not DOMAINS["code"].whole
    assert domain_under(Limits(**OFFICIAL), "code").whole
    assert domain_under(Limits(**OFFICIAL), "math") is DOMAINS["math"]
    problem = Problem("p", ({"role": "user", "content": "?"},), "code", tests=TWICE)
    attempt = Attempt(problem, "<think>\n```python\nprint(int(input()) + 1)\n```\n and then")
    with Judge(replace(LIMITS, harness="official")) as judge:
        assert judge.judge([attempt, replace(attempt, text="none")])[0].correct
        assert judge.judge([replace(attempt, text="none")])[0].reason == "no answer found"


def test_limits_that_cannot_be():
    with pytest.raises(UsageError, match="unknown; there are openklear and official"):
        Limits(harness="lcb")
    with pytest.raises(UsageError, match="leave one of the two out"):
        Limits(harness="official", graders={"code": "http://127.0.0.1:1/"})
