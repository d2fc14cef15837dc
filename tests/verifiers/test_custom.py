"""Verifiers of the user's own, in real worker processes."""

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from openklear.errors import UsageError
from openklear.think import FormatFault
from openklear.types import AssertTest, Attempt, CallTest, Outcome, Problem, Test
from openklear.verifiers import custom
from openklear.verifiers.custom import CustomGrader, as_plain, function, verifier
from openklear.verifiers.judge import Judge, Limits
from openklear.verifiers.workers.custom import as_answer

MODULE = "own_verifiers_of_a_test"
SOURCE = '''
import os, time

UNIT = "m"

def grade(problem, completion):
    """Right where the text ends with the answer and its unit."""
    return completion.rstrip().endswith(problem["answer"] + UNIT)

def told(problem, completion):
    return {
        "outcome": "incorrect", "reason": problem["prompt_tail"] + problem["prompt"][0]["content"],
        "extracted": completion[::-1], "passed": 1, "total": 3,
    }

def by_completion(problem, completion):
    """Does what the completion says."""
    for word in completion.split():
        if word == "hang":
            while True:
                time.sleep(1)
        if word == "crash":
            os.kill(os.getpid(), 9)
        if word == "exit":
            raise SystemExit(3)
        if word == "raise":
            raise KeyError("no such unit")
        if word == "noise":
            print("{}" * 1000, flush=True)
            os.write(1, b"\\x00\\x00\\x00\\x02{}")
            os.read(0, 100)
        if word == "number":
            return 1
        if word == "pid":
            return {"outcome": "correct", "extracted": str(os.getpid())}
        if word == "once" and not os.path.exists(problem["source"]):
            open(problem["source"], "w").close()
            os._exit(1)
    return True

not_callable = 3
'''
PROBLEM = Problem("p", ({"role": "user", "content": "how far?"},), "math", answer="3")


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("own")
    (made / f"{MODULE}.py").write_text(SOURCE)
    (made / "own_broken_of_a_test.py").write_text("import no_such_module_at_all\n")
    (made / "own_raising_of_a_test.py").write_text("1 / 0\n")
    sys.path.insert(0, str(made))
    importlib.invalidate_caches()
    yield made
    sys.path.remove(str(made))


def judge(name, **limits):
    settings = {"workers": 1, "math_seconds": 5.0, **limits}
    return Judge(Limits(**settings, graders={"math": f"{MODULE}:{name}"}))


def verdict_of(name, text, tail="", problem=PROBLEM, **limits):
    with judge(name, **limits) as made:
        return made.judge([Attempt(problem, text, tail)])[0]


def test_a_bool_is_a_verdict_and_the_form_is_ours_to_judge():
    with judge("grade") as made:
        right, wrong = made.judge([Attempt(PROBLEM, "<think>x</think> It is 3m"), Attempt(PROBLEM, "3 m")])
    assert (right.outcome, right.passed, right.total, right.well_formed) == (Outcome.CORRECT, 1, 1, True)
    assert (wrong.outcome, wrong.passed, wrong.total) == (Outcome.INCORRECT, 0, 1)
    assert wrong.format_fault is FormatFault.NOT_OPENED


def test_it_is_given_the_whole_completion_and_the_problem_and_says_what_it_likes():
    verdict = verdict_of("told", "<think>a</think>bc", "<|assistant|>")
    assert verdict.outcome is Outcome.INCORRECT
    assert verdict.reason == "<|assistant|>how far?"
    assert verdict.extracted == "cb>kniht/<a>kniht<"
    assert (verdict.passed, verdict.total) == (1, 3)


def test_a_problem_without_reference_is_its_own_affair():
    bare = Problem("b", PROBLEM.prompt, "math")
    assert verdict_of("by_completion", "fine", problem=bare).correct


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("crash", "the worker ended"),
        ("exit", "the worker ended"),
        ("raise", "it raised KeyError: 'no such unit'"),
        ("number", "a result of type int; return True, False or a mapping with an outcome"),
    ],
)
def test_what_it_cannot_say_is_unscorable_with_the_reason(text, words):
    with judge("by_completion") as made:
        failed, fine = made.judge([Attempt(PROBLEM, text), Attempt(PROBLEM, "noise")])
    assert failed.outcome is Outcome.UNSCORABLE
    assert failed.reason == f"{MODULE}:by_completion, asked twice: " + (
        words if "result" not in words else f"it raised ValueError: {words}"
    )
    assert fine.correct, "the next completion finds a worker, and noise on stdout is no answer"


def test_a_hang_is_ended_by_force():
    start = time.monotonic()
    verdict = verdict_of("by_completion", "hang", math_seconds=0.05)  # 6 x 0.05 s of wall, twice
    assert verdict.outcome is Outcome.UNSCORABLE
    assert "no answer in time" in verdict.reason
    assert time.monotonic() - start < 30.0  # a hang would last for ever


def test_a_crash_is_asked_again_in_a_fresh_process(tmp_path):
    once = Problem("p", PROBLEM.prompt, "math", answer="3", source=str(tmp_path / "was-here"))
    assert verdict_of("by_completion", "once", problem=once).correct


def test_the_worker_stays(tmp_path):
    with judge("by_completion") as made:
        pids = {v.extracted for v in made.judge([Attempt(PROBLEM, f"pid {n}") for n in range(5)])}
    assert len(pids) == 1


def test_verdicts_are_known_by_the_source_of_the_function(tmp_path):
    """Another version of the file is another verifier; equal ones are believed, with what they extracted."""
    path, attempt = tmp_path / "verdicts.jsonl", Attempt(PROBLEM, "<think>a</think>bc")
    source = Path(sys.modules[MODULE].__file__ if MODULE in sys.modules else function(f"{MODULE}:told").file)
    limits = Limits(1, graders={"math": f"{MODULE}:told"})
    for _ in range(2):
        with Judge(limits, journal=path) as made:
            verdict = made.judge([attempt])[0]
        assert verdict.extracted == "cb>kniht/<a>kniht<"
    assert len(path.read_text().splitlines()) == 1
    source.write_text(SOURCE + "\n# another version\n")
    try:
        with Judge(limits, journal=path) as made:
            made.judge([attempt])
    finally:
        source.write_text(SOURCE)
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere_at_all.grading:grade", "nowhere_at_all.grading cannot be imported: ModuleNotFoundError"),
        (f"{MODULE}:nothing", f"{MODULE} has no nothing; name one of its functions"),
        (f"{MODULE}:not_callable", "has an uncallable not_callable"),
        (f"{MODULE}:", 'is not of the form "module:function"'),
        ("own_broken_of_a_test:f", "No module named 'no_such_module_at_all'"),
        ("own_raising_of_a_test:f", "cannot be imported: ZeroDivisionError"),
        ("not-installed", 'no installed package has an entry point "not-installed" in the group openklear.verifiers'),
    ],
)
def test_what_cannot_be_loaded_is_told_at_once(name, words):
    with pytest.raises(UsageError) as caught:
        CustomGrader(name, 1)
    assert words in str(caught.value)


def test_an_entry_point_is_found_by_its_name(tmp_path, monkeypatch):
    info = tmp_path / "own_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{custom.GROUP}]\nunits = {MODULE}:grade\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert verifier("units").target == f"{MODULE}:grade"
    with Judge(Limits(1, graders={"math": "units"})) as made:
        assert made.judge([Attempt(PROBLEM, "3m")])[0].correct


class Told:
    outcome = Outcome.CORRECT
    reason = None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, ("correct", "", None, 1, 1)),
        (False, ("incorrect", "wrong answer", None, 0, 1)),
        (Told(), ("correct", "", None, 1, 1)),
        ({"outcome": Outcome.INCORRECT, "total": 4, "passed": 3}, ("incorrect", "wrong answer", None, 3, 4)),
        ({"outcome": "correct", "total": 4}, ("correct", "", None, 4, 4)),
        ({"outcome": "unscorable", "reason": "no unit", "extracted": 3}, ("unscorable", "no unit", "3", 0, 1)),
    ],
)
def test_results(value, expected):
    assert tuple(as_answer(value).values()) == expected


def test_numpys_bools_are_bools():
    import numpy as np

    assert as_answer(np.float64(1) < np.float64(2))["outcome"] == "correct"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "type NoneType"),
        (1.0, "type float"),
        ({}, "the outcome None"),
        ({"outcome": "right"}, "the outcome 'right'; it is one of correct"),
        ({"outcome": "correct", "score": 1}, "a result with score; its fields are"),
        ({"outcome": "correct", "passed": 5, "total": 4}, "5 passed of 4"),
        ({"outcome": "incorrect", "total": 0}, "0 passed of 0"),
        ({"outcome": "correct", "passed": "many"}, "many"),
    ],
)
def test_results_that_are_none(value, words):
    with pytest.raises(ValueError, match=words):
        as_answer(value)


def test_problems_as_plain_data():
    tests = (Test("1\n", "2\n"), CallTest("f", "[1]", "2"), AssertTest("assert f(1) == 2"))
    plain = as_plain(Problem("c", PROBLEM.prompt, "code", tests=tests, level="2", source="s"), "<think>")
    assert list(plain["tests"]) == [
        {"stdin": "1\n", "stdout": "2\n"},
        {"call": "f", "args": "[1]", "expected": "2"},
        {"code": "assert f(1) == 2"},
    ]
    assert (plain["id"], plain["domain"], plain["level"], plain["prompt_tail"]) == ("c", "code", "2", "<think>")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks into /proc")
def test_no_orphan_when_the_judge_is_killed(folder):
    """The function hangs in the worker while the process that asks is killed: both processes of the worker go."""
    code = f"""
import sys; sys.path.insert(0, {str(folder)!r})
from openklear.types import Attempt, Problem
from openklear.verifiers.judge import Limits, Judge
judge = Judge(Limits(1, graders={{"math": "{MODULE}:by_completion"}}))
problem = Problem("p", ({{"role": "user", "content": "x"}},), "math", answer="3")
print(judge.judge([Attempt(problem, "pid")])[0].extracted, flush=True)
judge.judge([Attempt(problem, "hang")])
"""
    asking = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    worker = int(asking.stdout.readline())
    time.sleep(0.5)  # it hangs by now; if it did not yet, the test is only weaker
    asking.send_signal(signal.SIGKILL)
    asking.wait()
    asking.stdout.close()
    deadline = time.monotonic() + 20.0
    while time.monotonic() < deadline and alive(worker):
        time.sleep(0.02)
    assert not alive(worker)


def alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
