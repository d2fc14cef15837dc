"""Differences between our judge and LiveCodeBench's harness, each with its reason; and real programs by both."""

import pytest
from benchmarks.livecodebench import PROBLEMS, RUNS, read_problems, read_runs
from tests.shared_data import shared

from openklear.evaluation.harnesses import UNEXPLAINED, both, differences, official, why
from openklear.types import Attempt, CallTest, Outcome, Problem, Test, Verdict
from openklear.verifiers.limits import Limits

LIMITS = Limits(workers=2, minimum_isolation="rlimits", code_seconds=2.0)
TESTS = (Test("1", "2"), Test("3", "4"))

# (program, why the two differ): ours takes it for correct where the reason says what the harness does to it.
CASES = {
    "iterates": ("import sys\nfor line in sys.stdin: print(int(line) + 1)", "reads stdin by iteration"),
    "imported": ("from sys import stdin\nfor line in stdin: print(int(line) + 1)", "reads stdin by iteration"),
    "thread": (
        "import threading, time\ndef f():\n  time.sleep(.1)\n  print(int(n) + 1)\n"
        "n = input()\nthreading.Thread(target=f).start()",
        "prints in a thread that is not joined",
    ),
    "rest": (
        "import sys\nn = sys.stdin.readline()\nrest = sys.stdin.read()\nprint(int(n) + 1 + len(rest))",
        "reads a line and then the rest, which is the whole input there",
    ),
    "buffer": (
        "import sys\nfor line in sys.stdin.buffer: print(int(line) + 1)",
        "reads sys.stdin.buffer other than by read()",
    ),
    "bytes_out": (
        "import sys\nsys.stdout.buffer.write(b'%d' % (int(input()) + 1))",
        "writes to sys.stdout.buffer, which there is none",
    ),
    "global": (
        "n = 0\ndef f():\n  global n\n  n += 1\nf()\nprint(int(input()) + n)",
        "a global name of the program is local to the function that is made of it",
    ),
    "main": (
        "if __name__ == '__main__':\n  print(int(input()) + 1)\nx = 1",
        "its __main__ block is not its last statement",
    ),
    "quit": ("print(int(input()) + 1)\nquit()", "calls a function that the harness takes away"),
    "resource": ("import resource\nprint(int(input()) + 1)", "imports a module that the harness takes away"),
    "os_write": ("import os\nos.write(1, b'%d' % (int(input()) + 1))", "prints past sys.stdout"),
    "handler": ("import atexit\nn = int(input())\natexit.register(lambda: print(n + 1))", "prints in an exit handler"),
    "star": ("if 1:\n  from math import *\nprint(int(input()) + 1)", "cannot be made a function"),
    "ends": ("import os\nprint(int(input()) + 1, flush=True)\nos._exit(0)", "ends its process by itself"),
    "prelude": (
        "d = defaultdict(int)\nprint(int(input()) + 1)",
        "uses a name that the harness opens before a program",
    ),
    "status": (
        "import sys\nprint(int(input()) + 1)\nsys.exit(1)",
        "ends with an exit status, which the harness passes over",
    ),
    "decimals": ("print(int(input()) + 1.0)", "right only as decimals, or without white space before lines"),
}


def attempt(program, tests=TESTS, statement="?"):
    return Attempt(Problem("p", ({"role": "user", "content": statement},), "code", tests=tests), program, exact=True)


def test_every_difference_has_its_reason():
    attempts = [attempt(program) for program, _ in CASES.values()]
    attempts.append(attempt("print(int(input()) + 1)"))
    attempts.append(attempt("print(int(input()) - 1)"))
    found = list(differences(attempts, *both(attempts, LIMITS, lambda _: None)))
    assert {name: one.why for name, one in zip(CASES, found, strict=True)} == {k: v for k, (_, v) in CASES.items()}
    assert [one.place for one in found] == list(range(len(CASES)))
    assert [one.attempt for one in found] == attempts[: len(CASES)]


@pytest.mark.slow
def test_a_harness_that_waits_for_its_terminal():
    attempts = [attempt("print(int(open(0).read()) + 1)", TESTS[:1])]
    ((one),) = differences(attempts, *both(attempts, LIMITS, lambda _: None))
    assert one.why == "reads descriptor 0, which is not the input there"


def test_other_differences():
    several = attempt("print(2)", statement="If there are several solutions, print any of them.")
    called = attempt("class Solution:\n  def f(self, n): return n == 1", (CallTest("f", "[1]", "1"),))
    text = Attempt(attempt("x").problem, "```python\nprint(int(input()) + 1)\n```\nIt reads ``` nothing.")
    pairs = [several, called, text]
    found = list(differences(pairs, *both(pairs, LIMITS, lambda _: None)))
    assert [one.why for one in found] == [
        "takes True for 1, a tuple for a list, or a subclass for its base",
        "another program is taken from the completion",
    ]
    right, wrong = Verdict(Outcome.CORRECT), Verdict(Outcome.INCORRECT, "test 1 of 1: wrong output (-2)")
    assert why(called, right, wrong) == UNEXPLAINED
    assert why(called, Verdict(Outcome.UNSCORABLE, "no tests"), right) == "ours cannot judge it: no tests"


def test_the_harness_has_its_own_limits():
    limits = official(LIMITS)
    assert (limits.harness, limits.code_seconds, limits.code_memory_mb) == ("official", 6.0, 4096)
    assert (limits.workers, limits.minimum_isolation) == (2, "rlimits")


@pytest.mark.long
def test_real_programs_have_their_official_verdicts():
    """Every eighth of the real rows that can be compared; benchmarks/livecodebench.py takes all."""
    data = shared("evaluation/livecodebench")
    problems, _ = read_problems(data / PROBLEMS[0])
    runs = [run for run in read_runs(data / RUNS, problems) if run.comparable]
    assert len(runs) == 1042
    some = [run for run in runs[::8] if "timeout" not in run.artifact]  # those hang on the speed of a machine
    limits = Limits(workers=2, minimum_isolation="rlimits", code_seconds=6.0, code_memory_mb=1024)
    ours, theirs = both([run.attempt for run in some], limits, lambda _: None)
    agreed = sum(one.correct == run.official for run, one in zip(some, theirs, strict=True))
    assert agreed >= 0.98 * len(some)
    passes = [one for run, one in zip(some, ours, strict=True) if run.official]
    assert all(one.correct or "many valid answers" in one.reason for one in passes)
    found = list(differences([run.attempt for run in some], ours, theirs))
    assert found
    assert all(one.why != UNEXPLAINED for one in found)
