"""Programs on a SandboxFusion server: its answers read rightly, its failures never taken for the program's."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from openklear.errors import UsageError, VerifierError
from openklear.grading import Grader, Limits
from openklear.types import AssertTest, Outcome, Test
from openklear.verifiers import sandbox_fusion
from openklear.verifiers.sandbox_fusion import SandboxFusionGrader

DOUBLE = tuple(Test(f"{n}\n", f"{2 * n}\n") for n in range(1, 4))


@pytest.fixture(scope="module")
def url():
    command = [sys.executable, Path(__file__).with_name("sandbox_server.py")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().decode().strip()}"
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(sandbox_fusion, "PAUSE_SECONDS", 0.01)


def grade(url, program, tests=DOUBLE, **options):
    return SandboxFusionGrader(url, 0.5, 256).grade(program, tests, **options)


@pytest.mark.parametrize(
    ("program", "outcome", "reason", "passed"),
    [
        ("print(int(input()) * 2)", "correct", "", 3),
        ("print(2)", "incorrect", "test 2 of 3: wrong output", 1),
        ("n = int(input())\nprint(n * 2 // (n - 2) * (n - 2))", "incorrect", "test 2 of 3: ZeroDivisionError", 2),
        ("x =", "incorrect", "test 1 of 3: SyntaxError: invalid syntax", 0),
        ("import sys; sys.exit(3)", "incorrect", "test 1 of 3: exit status 3", 0),
        ("import os; os.kill(os.getpid(), 9)", "incorrect", "test 1 of 3: killed by SIGKILL", 0),
        ("if input() == '2':\n    while True: pass\nprint(2)", "incorrect", "test 2 of 3: timeout", 1),
        ("raise ValueError(object())", "incorrect", "test 1 of 3: ValueError: <object object at 0x...>", 0),
        ("raise SystemExit", "incorrect", "test 1 of 3: wrong output", 0),
    ],
)
def test_verdicts(url, program, outcome, reason, passed):
    found = grade(url, program)
    assert (found.outcome, found.passed, found.total) == (outcome, passed, 3)
    assert found.reason.startswith(reason) if reason else found.reason == ""


def test_tests_stop_at_the_first_failure_where_that_is_wanted(url):
    program = "print(2 if input() == '1' else 6)"
    assert grade(url, program).passed == 2
    assert grade(url, program, stop_early=True).passed == 1


def test_checkers(url):
    tests = (Test("", "1.0 2"),)
    assert grade(url, "print('1.0000001 2')", tests).reason == "test 1 of 1: wrong output"
    assert grade(url, "print('1.0000001 2')", tests, checker="float:1e-3").outcome is Outcome.CORRECT
    found = grade(url, "print(1)", tests, checker="operator:eq")  # takes two arguments, not three
    assert found.outcome is Outcome.UNSCORABLE
    assert "test 1 of 1 cannot run: checker operator:eq: TypeError" in found.reason


def test_what_is_sent_holds_no_expected_output(url):
    grade(f"{url}/run_code", "print(input())", (Test("in", "secret expected"),))
    with urllib.request.urlopen(f"{url}/seen") as answer:
        asked = json.loads(answer.read())[-1]
    assert asked == {
        "code": "print(input())",
        "language": "python",
        "stdin": "in",
        "compile_timeout": 2.0,
        "run_timeout": 2.0,
        "memory_limit_MB": 256,
        "files": {},
        "fetch_files": [],
    }


def test_a_busy_server_is_asked_again(url):
    assert grade(f"{url}/busy-1", "print(int(input()) * 2)").outcome is Outcome.CORRECT


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("broken", "the sandbox server answered 500"),
        ("garbage", "the sandbox server answered no JSON"),
        ("sandbox", "the sandbox failed: no pods"),
    ],
)
def test_what_the_server_breaks_is_unscorable(url, path, reason):
    found = grade(f"{url}/{path}", "print(int(input()) * 2)")
    assert (found.outcome, found.reason) == (Outcome.UNSCORABLE, f"test 1 of 3: {reason}")


def test_a_silent_server_is_unscorable(url, monkeypatch):
    monkeypatch.setattr(sandbox_fusion, "PATIENCE_SECONDS", -3.9)  # leaves 0.1 s
    found = grade(f"{url}/silent", "print(1)")
    assert (found.outcome, found.reason) == (
        Outcome.UNSCORABLE,
        "test 1 of 3: the sandbox server did not answer in time",
    )


def test_no_server_is_unscorable():
    found = grade("http://127.0.0.1:9", "print(1)")
    assert found.outcome is Outcome.UNSCORABLE
    assert "cannot be reached" in found.reason


def test_a_program_that_breaks_the_server_twice_is_at_fault(url):
    """An innocent program still runs: a way to break the server must not be a way out of a wrong answer."""
    found = grade(f"{url}/closing", "# BREAK\nprint(int(input()) * 2)")
    assert (found.outcome, found.reason) == (Outcome.INCORRECT, "test 1 of 3: lost the sandbox twice")


def test_an_address_that_is_no_sandbox(url):
    with pytest.raises(VerifierError, match="answers 404"):
        SandboxFusionGrader(f"{url}/x/run_code/y", 1.0, 256).grade("print(1)", DOUBLE)
    for wrong in ("localhost:8080", "ftp://x", "http://", "http://x:y"):
        with pytest.raises(UsageError, match="no address"):
            SandboxFusionGrader(wrong, 1.0, 256)


def test_other_kinds_of_tests_are_refused(url):
    found = grade(url, "def f(): return 1", (AssertTest("assert f() == 1"),))
    assert found.outcome is Outcome.UNSCORABLE
    assert "stdin/stdout tests only" in found.reason


def test_rows_are_graded_on_the_server(url):
    with Grader(Limits(workers=2, graders={"code": url})) as grader:
        tests = [{"stdin": "4", "stdout": "8"}]
        assert grader.isolation() is None
        assert grader.code("print(int(input()) * 2)", tests).correct
        assert grader.code("print(int(input()) * 3)", tests).reason == "test 1 of 1: wrong output"
        assert grader.math("2", "2").correct
