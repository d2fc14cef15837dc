import asyncio
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from openklear.types import Outcome
from openklear.verifiers.mathematics.exact import decide
from openklear.verifiers.mathematics.grader import MathGrader
from openklear.verifiers.mathematics.limits import over_limit
from openklear.verifiers.mathematics.text import normalise
from openklear.verifiers.mathematics.values import TooLarge

SLOW = r"\prod_{k=1}^{9999} k^{k}"
"""Within the static limits, and more than math-verify gets done in any time a question has."""


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
        ("50", r"50\%", True),
        ("50", "50%", True),
        ("12.5", r"12.5\%", True),
        ("50", r"51\%", False),
        (r"\frac{1}{2}", r"\frac{1}{2}\%", True),
        ("5000", r"50\%", False),
        (r"4^\circ", r"4\%", False),
        ("(1, 50)", r"(1, 50\%)", False),
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
        ("x+1", "1+x", True),
        (r"\ln x+1", r"1+\ln x", None),
        ("1/0", "5", None),
        # numbers
        ("1000.99", "1000,99", True),
        ("0,111", "0.111", True),
        ("1,234", "1.234", False),
        ("three", "3", True),
        (r"2\frac{1}{2}", "2.5", True),
        (r"2\frac{3}{2}", "3.5", None),
        ("2^{10}", "1024", True),
        (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}", False),
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}", False),
        (r"\frac{1}{2004!}", r"\frac{2006 \cdot 2005}{2006!}", True),
        (r"\sqrt{16}", "4", True),
        ("1/3", "0.3331", False),
        # percent
        (r"50\%", "50", False),
        (r"50\%", r"\frac{1}{2}", True),
        # values that are not exact can only be told apart
        (r"1 - \frac{1}{\mathrm{e}}", r"1 + \frac{1}{\mathrm{e}}", False),
        ("e^{-100}", "e^{-101}", False),
        (r"\sqrt{8}", r"2\sqrt{2}", None),
        ("3.14", r"\pi", False),
        ("3.14159265", r"\pi", None),
        ("x+1", "x+2", False),
        ("x+1", "y+1", False),
        ("(x+1)^2", "x^2+2x+1", True),
        ("e^{-x^9}", "e^{-x^8}", None),  # large where the symbol is, not large for itself
        ("1/2x", r"\frac{1}{2x}", None),  # two readings
        # several alternatives
        ("5", r"5 \text{ or } 6", False),
        ("5", "5 or 6", False),
        ("1", "x=1 or x=2", False),
        ("5", "5, 6", False),
        ("5", r"\{5, 6\}", False),
        ("5 or 6", "6 or 5", True),
        ("5 or 6", r"\{5,6\}", True),
        ("5 or 6", "5", False),
        (r"x = 1 \text{ or } x = 2", "1, 2", True),
        (r"\pm 2", "2, -2", True),
        (r"\{1 \pm \sqrt{5}, -2\}", r"\{-2, 1 - \sqrt{5}, 1 + \sqrt{5}\}", True),
        (r"\pm 2", "2", False),
        ("p=5,q=2;p=7,q=2", "(5,2),(7,2)", True),
        ("p=5,q=2;p=7,q=2", "(5,2),(2,7)", False),
        ("x=1, y=2", "y=2, x=1", True),
        ("x=1, y=2", "1, 2", True),
        ("x=1, y=2", "2, 1", False),
        ("x=1, x=2", "2, 1", True),
        # names and relations
        ("x=5", "5", True),
        ("2=x", "x=2", True),
        ("x=5", "y=5", False),
        ("f(x)=x^2", "x^2", True),
        ("2x+4y-3=0", r"y=-\frac{1}{2}x+\frac{3}{4}", None),
        (r"[2,\infty)", r"x \geq 2", None),
        # tuples, sets, intervals, unions, matrices
        (r"\{1,2\}", "[1,2]", False),
        ("(1,2]", "(1,2)", False),
        ("[1,2)", "[1,2]", False),
        (r"\{1,1\}", r"\{1\}", True),
        (r"(3,\frac{\pi}{2})", "(3,pi/2)", None),
        (r"(-\infty,2)\cup(3,\infty)", r"(3,\infty) \cup (-\infty,2)", True),
        (r"(-\infty,3]", r"(\infty,3]", False),
        (r"\mathbb{R}", r"(-\infty,\infty)", True),
        (r"\begin{pmatrix}1/2\\2\end{pmatrix}", r"\begin{bmatrix}0.5\\[2pt]2\end{bmatrix}", True),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\3\end{pmatrix}", False),
        (r"\begin{pmatrix}1\end{pmatrix}\begin{pmatrix}1\end{pmatrix}", "1", None),
        # units
        ("5 cm", "5 centimeters", True),
        (r"12 \text{ cm}^2", "12 square cm", True),
        (r"12 \text{ cm}^2", r"12 \text{ cm}", False),
        ("7", "7 nickels", True),
        ("5", "5 m", None),
        ("6", "5 m", False),
        ("10_2", "2", False),
        ("5%", "5\\ ", False),
        ("5", "5" + "%" * 4000, None),
        ("5", "5\\ ", True),
        ("5", "5 million", False),
        ("1500000", "1.5 million dollars", True),
        ("24", r"2 \text{ dozen}", True),
        # options and words
        (r"\text{(C)}", "C", True),
        ("(C)", "D", False),
        ("C", "C) 5", True),
        ("(D) Alina", "D", True),
        ("yes", "No", False),
        ("yes", r"\frac{1}{2}", False),
        # a box inside of the box is not what math-verify should find
        ("5", r"3 \boxed{5}", False),
        ("5", "\\\\" * 9 + "boxed{5}", False),
    ],
)
def test_the_exact_path(reference, answer, expected):
    assert decide(reference, answer) is expected


SYMMETRIC = [
    "1/2",
    "0.5",
    r"50\%",
    "5 cm",
    "5 km",
    "(1,2)",
    r"\{1,2\}",
    "1, 2",
    "[1,2)",
    "x=1",
    "y=1",
    "x+1",
    "10_2",
    "yes",
]
SYMMETRIC += [
    "5 or 6",
    r"\pi",
    "3.1416",
    r"\infty",
    "(C)",
    r"\sqrt{2}",
    r"\begin{pmatrix}1\\2\end{pmatrix}",
    "three",
    "3",
]


def test_the_exact_path_is_symmetric():
    for left in SYMMETRIC:
        assert decide(left, left) is True
        for right in SYMMETRIC:
            assert decide(left, right) is decide(right, left), (left, right)


def test_sets_in_sets_are_compared_within_a_budget():
    inner = r"\{" + ", ".join(f"x+{i}" for i in range(20)) + r"\}"
    outer = r"\{" + ", ".join([inner] * 12) + r"\}"
    assert over_limit(outer) is None
    assert decide(inner, inner.replace("x+0", "x+20")) is False
    assert decide(outer, outer.replace("x+0,", "x+0+0,")) is None


def test_a_reference_beyond_the_limits_equals_itself_alone():
    tower = "10^{10^{10}}"
    assert decide(tower, tower) is True
    assert decide("5", tower) is False
    with pytest.raises(TooLarge, match="exponent"):
        decide(tower, "5")


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
        (r"\boxed{1} and \boxed{2}", "1, 2", Outcome.CORRECT),
        (r"\boxed{20} percent", r"20\%", Outcome.CORRECT),
        (r"\sin 30^\circ", r"\frac{1}{2}", Outcome.CORRECT),
        (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}", Outcome.CORRECT),
        ("(x+1)^2", "x^2+2x+1", Outcome.CORRECT),
        (r"10^{-50} + \int_0^1 0 dx", r"10^{-60} + \int_0^1 0 dx", Outcome.INCORRECT),
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
        ("e^{e^{e^{e^{e}}}}", "tower"),
        ("^^^^", "tower"),
        ("2**x**y**z**2", "tower"),
        (r"\sum_{k=-100000}^{5} k", "bound"),
        (r"\prod_{k=1}^{100000} k", "exponent"),
        (r"\binom{100000}{5}", "bound"),
        (r"\det " + "".join(f"x_{{{i}}}" for i in range(65)), "symbols"),
    ],
)
def test_static_limits(grader, text, word):
    assert word in over_limit(text)
    start = time.process_time()
    assert grader.grade("5", text).outcome is Outcome.INCORRECT
    assert time.process_time() - start < 1.0  # nothing was parsed
    assert grader.grade(text, "5").outcome is Outcome.UNSCORABLE


@pytest.mark.parametrize(
    ("answer", "word"), [("((9!)!)!", "factorial"), ("10**10**10", "exponent"), (r"\binom{10^{9}}{5}", "bound")]
)
def test_limits_of_values(grader, answer, word):
    assert over_limit(answer) is None
    assert grader.grade("5", answer).outcome is Outcome.INCORRECT
    grade = grader.grade(answer, "5")
    assert grade.outcome is Outcome.UNSCORABLE
    assert word in grade.reason
    assert grader.grade(answer, f" {answer}").outcome is Outcome.CORRECT


def test_within_the_limits():
    assert over_limit("(" * 64 + ")" * 64) is None
    assert over_limit("1" * 256) is None
    assert over_limit("2^{10000}") is None
    assert over_limit("2^{2^{2^{n}}}") is None
    assert over_limit("a^2 + b^2 + c^2 + d^2 + e^2") is None
    assert over_limit(r"\sum_{k=1}^{10000} k") is None


@pytest.mark.parametrize("text", ["^" + " " * 4000 + "x", "5" * 256 + " " * 3000, "! " * 2000])
def test_limits_take_no_time_over_white_space(text):
    start = time.process_time()
    over_limit(text)
    assert time.process_time() - start < 1.0  # a quadratic pass would take seconds


def test_an_answer_that_hangs_is_incorrect_and_the_next_one_is_graded(grader):
    grader.grade(r"\ln x+1", r"1+\ln x")
    start = time.perf_counter()
    grade = grader.grade("5", SLOW)
    assert grade.outcome is Outcome.INCORRECT
    assert "timeout" in grade.reason
    assert time.perf_counter() - start < 60.0  # it would take for ever
    assert grader.grade(r"\ln x+1", r"1+\ln x").outcome is Outcome.CORRECT


def test_a_reference_that_hangs_is_unscorable(grader):
    grade = grader.grade(SLOW, "5x")
    assert grade.outcome is Outcome.UNSCORABLE
    assert "timeout" in grade.reason


def _graded(grader, sender):
    sender.send([grader.grade(r"\ln x+1", other).outcome for other in (r"1+\ln x", r"\ln x-\frac{3}{7}") * 8])


def test_threads_an_event_loop_and_a_fork_share_a_grader(grader):
    expected = [Outcome.CORRECT, Outcome.INCORRECT] * 8
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_graded, args=(grader, sender))
    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(grader.grade, r"\ln x+1", other) for other in (r"1+\ln x", r"\ln x-\frac{3}{7}") * 8]
        child.start()
        assert [answer.result().outcome for answer in answers] == expected
    assert receiver.poll(60)
    assert receiver.recv() == expected
    child.join()

    async def ask():
        return await asyncio.gather(*(asyncio.to_thread(grader.grade, r"\ln x+1", r"1+\ln x") for _ in range(4)))

    assert {grade.outcome for grade in asyncio.run(ask())} == {Outcome.CORRECT}


_HOLDER = """
import sys
from openklear.verifiers.mathematics.grader import MathGrader
grader = MathGrader(1, 61.0)
grader.grade("\\\\ln x+1", "1+\\\\ln x")
print(grader.pool.pids()[0], flush=True)
grader.grade("5", r"\\prod_{k=1}^{9999} k^{k}")
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


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("", "an empty reference"),
        (r"\text{ }", "an empty reference"),
        ("10^{10^{10}}", "a reference beyond the limits"),
        ("9" * 300, "a reference beyond the limits"),
        ("x" * 5000, "a reference beyond the limits"),
        (r"\gcd(n, p - 1)", "a reference that cannot be compared"),
        (SLOW, "a reference that cannot be compared"),
        *[
            (known, None)
            for known in ("17", "1/2", "12:00", "3:4", r"5\% \text{ increase}", "x+1", "yes", "2024-01-05")
        ],
        *[
            (known, None)
            for known in (r"\text{(C)}", "x=1, y=2", "(1,2)", "1011_2", r"90^\circ", "f'(x)", r"1:\sqrt{3}")
        ],
    ],
)
def test_a_reference_that_cannot_tell_right_from_wrong_is_known(grader, reference, reason):
    found = grader.undecidable(reference)
    assert (found and found[0]) == reason
