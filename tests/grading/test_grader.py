"""Grading from Python: what the documentation shows, order, bounded memory, errors."""

import ast
import os
import signal
import sys
import threading
from contextlib import suppress
from itertools import count, islice
from pathlib import Path

import pytest

import openklear.grading
from openklear.errors import DataError, UsageError, VerifierError
from openklear.grading import Grader, Limits, grade_rows
from openklear.types import Outcome
from openklear.verifiers import stream
from openklear.verifiers.domains import DOMAINS
from openklear.verifiers.pool import WorkerLost
from openklear.verifiers.walls import Boxes

TWO = Limits(workers=2, code_seconds=1.0)


@pytest.fixture(scope="module")
def grader():
    with Grader(TWO) as made:
        yield made


def test_the_documented_example_holds():
    example = ast.parse(openklear.grading.__doc__.partition("\n\n")[2])
    rows = [
        {"id": 1, "reference": "2", "completion": "The answer is 2."},
        {"id": 2, "reference": "2", "completion": "3"},
    ]
    seen = []

    class Note(ast.NodeTransformer):
        """Every expression whose value the example shows is noted."""

        def visit_Expr(self, node):
            return ast.copy_location(ast.Expr(ast.Call(ast.Name("note", ast.Load()), [node.value], [])), node)

    tree = ast.fix_missing_locations(Note().visit(example))
    exec(compile(tree, "example", "exec"), {"rows": rows, "note": seen.append})
    assert seen[:2] == [True, 1]
    assert [value[0] for value in seen[2:4]] == ["correct", "incorrect"]
    assert seen[4][0] == "reference  1/2"


def test_single_answers(grader):
    assert grader.math("1/2", r"<think>7</think>\boxed{0.5}").correct
    assert grader.math("7", r"so 7</think> it is \boxed{7}", prompt_tail="<think>\n").correct
    assert grader.math("7", r"<think>\boxed{7}").reason == "no answer after the reasoning"


def test_single_programs_stand_as_they_are(grader):
    """Fences and tags in a program's own strings are its own affair."""
    program = 'text = """\n```\n</think>\n```\n"""\nprint(len(text))'
    verdict = grader.code(program, [{"stdin": "", "stdout": "18"}])
    assert (verdict.outcome, verdict.passed, verdict.total) == (Outcome.CORRECT, 1, 1)
    assert verdict.extracted == program
    verdict = grader.code("print(1)", [{"stdin": "", "stdout": "1"}, {"stdin": "", "stdout": "2"}])
    assert (verdict.reason, verdict.passed) == ("test 2 of 2: wrong output", 1)


def test_calls_and_asserts(grader):
    program = "def add(a, b): return a + b"
    assert grader.code(program, [{"call": "add", "args": [1, 2], "expected": 3}]).correct
    assert not grader.code(program, [{"call": "add", "args": [1, 2], "expected": 4}]).correct
    assert grader.code(program, ["assert add(1, 2) == 3", "assert add('a', 'b') == 'ab'"]).correct


def test_checkers(grader):
    tests = [{"stdin": "", "stdout": "1.0 2"}]
    assert not grader.code("print('1.0000001 2')", tests).correct
    assert grader.code("print('1.0000001 2')", tests, checker="float:1e-3").correct


def test_tests_that_are_none_are_an_error(grader):
    with pytest.raises(DataError, match="tests is empty"):
        grader.code("print(1)", [])


def test_any_thread_may_ask(grader):
    found = {}

    def ask(n):
        found[n] = grader.math(str(n), rf"\boxed{{{n + n % 2}}}").correct

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: n % 2 == 0 for n in range(40)}


def test_rows_come_back_in_order_with_their_fields():
    rows = [{"id": n, "reference": str(n), "completion": str(n + n % 3), "z": {"n": n}} for n in range(3000)]
    rows[5] = {"id": 5, "completion": "x"}
    found = list(grade_rows(iter(rows), "math", TWO))
    assert [row["id"] for row in found] == list(range(3000))
    assert [row["verdict"] == "correct" for row in found] == [n % 3 == 0 and n != 5 for n in range(3000)]
    assert found[5]["verdict"] == "unscorable"
    assert found[5]["reason"].startswith("malformed row: reference is missing")
    assert found[7]["z"] == {"n": 7}


def test_a_stream_is_read_as_far_as_it_is_graded():
    read = count()
    rows = ({"reference": str(n), "completion": "0"} for n in iter(read.__next__, None))
    found = grade_rows(rows, "math", TWO)
    assert [row["reference"] for row in islice(found, 3)] == ["0", "1", "2"]
    assert next(read) <= stream.IN_FLIGHT * DOMAINS["math"].batch + 1
    found.close()


def test_a_batch_ends_by_characters_too(grader, monkeypatch):
    monkeypatch.setattr(stream, "BATCH_CHARACTERS", 100)
    asked = [grader.asked({"reference": "1", "completion": "x" * 60}, "math") for _ in range(5)]
    assert [len(batch) for batch in stream.batches(asked, 1000)] == [2, 2, 1]


@pytest.mark.parametrize(
    "wrong", [{"workers": 0}, {"code_seconds": -1.0}, {"code_memory_mb": 0}, {"minimum_isolation": "steel"}]
)
def test_limits_that_cannot_be(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong)).removeprefix("minimum_")):
        Limits(**wrong)


def test_errors_of_the_judge_reach_the_reader(monkeypatch):
    """Programs cannot run here at all: no rows come back, nothing hangs."""

    def denied(boxes, level):
        raise WorkerLost("no permission")

    monkeypatch.setattr(Boxes, "start_at", denied)
    rows = [{"program": f"print({n})", "tests": [{"stdin": "", "stdout": ""}]} for n in range(500)]
    with pytest.raises(VerifierError):
        list(grade_rows(rows, "code", TWO))


def children(pid):
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = stat.read_text().rpartition(")")[2].split()[1]
            found += [int(stat.parent.name)] if int(parent) == pid else []
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_killed_between_two_questions_does_not_shift_the_answers():
    """Its parent once said "killed" to nobody's question, and every later answer was taken for the next one's."""
    before = set(children(os.getpid()))
    with Grader(Limits(workers=1)) as grader:
        assert grader.math(r"\sum_{k=1}^{2} k", r"\boxed{3}").correct  # sums take math-verify
        (worker,) = set(children(os.getpid())) - before
        killed = children(worker)
        assert killed, "mathematics has no second process any more"
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        answers = []
        for n in range(3, 11):
            claimed = n * (n + 1) // 2 + n % 2
            answers.append(grader.math(rf"\sum_{{k=1}}^{{{n}}} k", rf"\boxed{{{claimed}}}").outcome)
        assert answers == [Outcome.INCORRECT, Outcome.CORRECT] * 4
