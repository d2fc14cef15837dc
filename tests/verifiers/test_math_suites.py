"""Three peers' suites, the known errors of math-verify and the adversarial inputs: all of them, each verdict accounted for."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.shared_data import shared

from openklear.types import Outcome
from openklear.verifiers.answers import extract_answer
from openklear.verifiers.mathematics.grader import MathGrader
from openklear.verifiers.workers import equivalence

REVIEWED = Path(__file__).parent / "math_disagreements.json"
SIZES = {"known_errors": 11, "math_verify_cases": 179, "lighteval_cases": 154, "inspect_math_cases": 41}


def cases(name):
    return json.loads(shared(f"grading/{name}.json").read_text())


@pytest.fixture(scope="module")
def grader():
    made = MathGrader(2, seconds=5.0)
    yield made
    made.close()


def reference_of(case):
    """What a data set would hold: some references of the suites are whole solutions that state their answer."""
    gold = case["gold"]
    return extract_answer(gold) if "answer is" in gold else gold


def grade(grader, case):
    reference = reference_of(case)
    answer = extract_answer(case["pred"], reference)
    return Outcome.INCORRECT if answer is None else grader.grade(reference, answer).outcome


def grade_all(grader, rows):
    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(lambda row: grade(grader, row), rows))


@pytest.mark.parametrize("name", SIZES)
def test_every_disagreement_with_a_suite_is_on_the_reviewed_list(grader, name):
    rows = cases(name)
    assert len(rows) == SIZES[name]
    found = {}
    for i, (row, outcome) in enumerate(zip(rows, grade_all(grader, rows), strict=True)):
        expected = bool(row.get("expected", row.get("human_expected")))
        assert outcome is not Outcome.UNSCORABLE
        if (outcome is Outcome.CORRECT) != expected:
            found[i] = "correct" if outcome is Outcome.CORRECT else "not correct"
    reviewed = [row for row in json.loads(REVIEWED.read_text()) if row["suite"] == name]
    assert found == {row["case"]: row["ours"] for row in reviewed}


def test_every_review_gives_a_reason():
    rows = json.loads(REVIEWED.read_text())
    assert len({(row["suite"], row["case"]) for row in rows}) == len(rows)
    for row in rows:
        assert row["suite"] in SIZES
        assert {row["ours"], row["suite_says"]} == {"correct", "not correct"}
        assert len(row["reason"].split()) >= 8
        assert row["suite"] != "known_errors"  # a person judged those


def test_adversarial_answers_are_judged_in_time_and_no_worker_is_lost(grader, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = cases("adversarial")
    assert len(rows) == 44
    before = time.monotonic()
    outcomes = grade_all(grader, rows)
    assert time.monotonic() - before < 60
    for row, outcome in zip(rows, outcomes, strict=True):
        assert outcome is not Outcome.UNSCORABLE, row["name"]
        if row["expected"] != "any":
            assert (outcome is Outcome.CORRECT) == (row["expected"] == "correct"), row["name"]
        # Innocent twins: the reference answers itself, and the next plain answer is graded as if nothing had been.
        gold = row["gold"]
        assert grader.grade(gold, extract_answer(gold, gold)).outcome is Outcome.CORRECT, row["name"]
    with ThreadPoolExecutor(2) as threads:
        twins = list(threads.map(lambda _: grader.grade(r"\ln x+1", r"1+\ln x").outcome, rows))
    assert set(twins) == {Outcome.CORRECT}
    assert len(grader.pool.pids()) <= 2
    assert not list(tmp_path.iterdir())
    assert not Path("/marker").exists()  # the workers' directory


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks into /proc")
def test_the_memory_of_a_worker_is_bounded(grader):
    grader.grade(r"\ln x+1", r"1+\ln x")
    for pid in grader.pool.pids():
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        assert children
        for child in children:
            limit = next(
                line for line in Path(f"/proc/{child}/limits").read_text().splitlines() if "address space" in line
            )
            assert limit.split()[3] == str(equivalence.MEMORY_BYTES)


_TRAPPED = """
import builtins, json, logging, sys, types
package = types.ModuleType("okworkers")
package.__path__ = [sys.argv[1]]
sys.modules["okworkers"] = package
from okworkers import equivalence
logging.disable(logging.CRITICAL)
equivalence.warm_up()
import sympy, sympy.parsing.sympy_parser
reached = []
def trap(*arguments, **options):
    reached.append(repr(arguments[0])[:80])
    raise RuntimeError("a string reached the evaluator")
builtins.eval = trap
for name in ("eval_expr", "stringify_expr"):
    setattr(sympy.parsing.sympy_parser, name, trap)
numeral = sympy.parsing.sympy_parser.parse_expr
assert numeral is equivalence.numeral
def watched(text, *arguments, **options):
    try:
        return numeral(text, *arguments, **options)
    except ValueError:
        trap(text)
sympy.parsing.sympy_parser.parse_expr = watched
try:
    sympy.sympify("x + 1")
except Exception:
    pass
assert reached, "the trap does not hold"
reached.clear()
for reference, answer in json.load(sys.stdin):
    for pair in ((reference, answer), (answer, reference)):
        try:
            equivalence.equal(*pair)
        except Exception:
            pass
print(json.dumps(reached))
"""


def test_no_string_reaches_an_evaluator(tmp_path):
    hostile = [row for row in cases("adversarial") if "payload" in row["name"] or "injection" in row["name"]]
    assert len(hostile) == 7
    pairs = [["5", extract_answer(row["pred"])] for row in hostile]
    pairs += [["5", f"\\text{{{answer}}}"] for _, answer in pairs] + [["5", f"${answer}$"] for _, answer in pairs]
    pairs += [["5", "2**3"], ["5", "1/2 + 3*4"], ["x", "lambda: 5"], ["1/2", "The answer is 1/2."], ["0.5", "50%"]]
    for name in SIZES:
        pairs += [[row["gold"][:500], extract_answer(row["pred"]) or ""] for row in cases(name)[::3]]
    workers = Path(equivalence.__file__).parent
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _TRAPPED, str(workers)],
        input=json.dumps(pairs), capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == []
    assert not list(tmp_path.iterdir())
