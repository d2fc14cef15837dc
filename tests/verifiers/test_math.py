import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from openklear.types import Outcome
from openklear.verifiers.math import MathGrader, decide, normalise, over_limit


@pytest.fixture(scope="module")
def grader():
    made = MathGrader(1, seconds=1.0)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("reference", "answer", "expected"),
    [
        ("1/2", "0.5", True),
        (r"\frac{1}{2}", "0.5", True),
        (r"\frac12", r"\dfrac{1}{2}", True),
        (r"-\frac{1}{2}", "-1/2", True),
        (r"\frac{-1}{2}", "-0.50", True),
        ("1/2", "1/3", False),
        ("42", "42.0", True),
        ("42", "43", False),
        ("1234567", "1,234,567", True),
        ("1234", r"1{,}234", True),
        ("12345678", r"12\,345\,678", True),
        ("50", r"50\%", False),
        ("0.5", r"50\%", True),
        ("(1, 2)", "(1,2)", True),
        ("(1, 2)", "(2, 1)", False),
        ("(0.5, 2)", r"\left(\frac{1}{2}, 2\right)", True),
        ("(1,2)", r"\{1,2\}", False),
        (r"\{1,2\}", r"\{2,1\}", True),
        ("1, 2", "2, 1", True),
        ("(1,2)", "(1,2,3)", False),
        (r"5\text{ cm}", r"5\text{ km}", False),
        (r"5\text{ cm}", "5", True),
        ("5 cm", "6 cm", False),
        ("10_2", "10", False),
        ("10_2", "10_{2}", True),
        (r"\text{Monday}", "monday", True),
        ("Monday", "Tuesday", False),
        (r"\pi", "pi", True),
        ("90^\\circ", "90", True),
        ("5", "", False),
        ("1/3", "0.333333", None),  # a rounded form? math-verify decides
        ("x+1", "1+x", None),
        ("1/0", "5", None),
    ],
)
def test_the_exact_path(reference, answer, expected):
    assert decide(reference, answer) is expected


def test_a_matrix_keeps_its_line_breaks():
    matrix = r"\begin{pmatrix}1 & 0 \\ 0 & 1 \\[2pt] 2 & 3\end{pmatrix}"
    assert normalise(matrix) == matrix


@pytest.mark.parametrize(
    ("reference", "answer", "outcome"),
    [
        ("x+1", "1+x", Outcome.CORRECT),
        ("x+1", "x-1", Outcome.INCORRECT),
        (r"\sqrt{8}", r"2\sqrt{2}", Outcome.CORRECT),
        (r"(3,\frac{\pi}{2})", "(3,pi/2)", Outcome.CORRECT),
        ("1/3", "0.333333", Outcome.CORRECT),
        ("1/3", "0.3331", Outcome.INCORRECT),
        ("5", r"\frac{0}{0}", Outcome.INCORRECT),
        ("5", "__import__('os').system('touch marker')", Outcome.INCORRECT),
    ],
)
def test_what_math_verify_decides(grader, reference, answer, outcome):
    assert grader.grade(reference, answer).outcome is outcome


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("1" * 5000, "characters"),
        ("(" * 65 + ")" * 65, "nested"),
        ("+1" * 1025, "operators"),
        ("1" * 257, "digits"),
        ("3^{20000}", "exponent"),
        ("10**10001", "exponent"),
        ("10001!", "factorial"),
        ("9!!!!!", "factorial"),
    ],
)
def test_static_limits(grader, text, word):
    assert word in over_limit(text)
    start = time.perf_counter()
    assert grader.grade("5", text).outcome is Outcome.INCORRECT
    assert time.perf_counter() - start < 0.2  # nothing was parsed
    assert grader.grade(text, "5").outcome is Outcome.UNSCORABLE


def test_within_the_limits():
    assert over_limit("(" * 64 + ")" * 64) is None
    assert over_limit("1" * 256) is None
    assert over_limit("2^{10000}") is None


def test_an_answer_that_hangs_is_incorrect_and_the_next_one_is_graded(grader):
    grader.grade("x+1", "1+x")
    start = time.perf_counter()
    grade = grader.grade("5", "((9!)!)!")
    assert grade.outcome is Outcome.INCORRECT
    assert "timeout" in grade.reason
    assert time.perf_counter() - start < 8.0
    assert grader.grade("x+1", "1+x").outcome is Outcome.CORRECT


def test_a_reference_that_hangs_is_unscorable(grader):
    grade = grader.grade("((9!)!)!", "5x")
    assert grade.outcome is Outcome.UNSCORABLE
    assert "timeout" in grade.reason


_HOLDER = """
import sys
from openklear.verifiers.math import MathGrader
grader = MathGrader(1, 61.0)
grader.grade("x+1", "1+x")
print(grader._pool.pids()[0], flush=True)
grader.grade("5", "((9!)!)!")
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_a_killed_parent_leaves_no_worker_behind():
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    parent = subprocess.Popen([sys.executable, "-c", _HOLDER], env=environment, stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    time.sleep(0.3)  # the worker's own child is in the middle of a question
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while _session(worker):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _session(leader):
    """Living processes of a worker's session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(entry.name)
    return found
