"""Peers' cases, attacks and real programs, where the material is at hand. Floors are what was reached: raise them."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from openklear.errors import VerifierError
from openklear.types import Outcome, Test
from openklear.verifiers.code import CodeGrader
from openklear.verifiers.format import extract_answer, extract_boxed
from openklear.verifiers.math import MathGrader

DATA = Path(os.environ.get("OPENKLEAR_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason="no material: set OPENKLEAR_DATA"),
]


@pytest.fixture(scope="module")
def mathematics():
    grader = MathGrader(2, seconds=1.0)
    yield grader
    grader.close()


def outcomes(grader, rows):
    def one(row):
        reference = extract_boxed(row["gold"]) or row["gold"]
        answer = extract_answer(row["pred"])
        return Outcome.INCORRECT if answer is None else grader.grade(reference, answer).outcome

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(one, rows))


@pytest.mark.parametrize(
    ("name", "agree", "too_kind"),
    [("inspect_math_cases", 38, 0), ("known_errors", 9, 2), ("lighteval_cases", 126, 1), ("math_verify_cases", 157, 2)],
)
def test_peers_cases(mathematics, name, agree, too_kind):
    rows = json.loads((DATA / "grading" / f"{name}.json").read_text())
    expected = [bool(row.get("expected", row.get("human_expected"))) for row in rows]
    got = [outcome is Outcome.CORRECT for outcome in outcomes(mathematics, rows)]
    assert sum(a == b for a, b in zip(expected, got, strict=True)) >= agree
    assert sum(b and not a for a, b in zip(expected, got, strict=True)) <= too_kind


def test_adversarial_answers(mathematics):
    rows = json.loads((DATA / "grading" / "adversarial.json").read_text())
    for row, outcome in zip(rows, outcomes(mathematics, rows), strict=True):
        if row["name"] == "backslash flood":  # an escaped backslash before "boxed{5}": the last number is 5
            continue
        assert outcome is not Outcome.UNSCORABLE or row["expected"] == "any"
        assert row["expected"] == "any" or (outcome is Outcome.CORRECT) == (row["expected"] == "correct"), row["name"]
    assert not Path("marker").exists()


@pytest.fixture(scope="module")
def programs():
    grader = CodeGrader(2, seconds=0.5, memory_mb=256, minimum_isolation="namespaces")
    try:
        grader.isolation()
    except VerifierError as error:
        pytest.skip(str(error))
    yield grader
    grader.close()


def test_attacks(programs):
    corpus = json.loads((DATA / "attacks" / "programs.json").read_text())["stdio"]
    tests = (Test(corpus["stdin"], corpus["expected"]),)
    either = {"daemonize", "hold_stdout_open", "unremovable_file", "fifo_trap", "sitecustomize_plant"}
    for name, case in corpus["programs"].items():
        outcome = programs.grade(case["code"], tests).outcome
        if name not in either:
            assert outcome is (Outcome.CORRECT if case["verdict"] == "AC" else Outcome.INCORRECT), name
        assert programs.grade("print(sum(map(int, input().split())))", tests).outcome is Outcome.CORRECT, name
    assert not Path("/tmp/PWNED_write").exists()


def test_reference_programs_pass(programs):
    rows = [json.loads(line) for line in (DATA / "train" / "taco_stdin.jsonl").read_text().splitlines()][:60]
    for row in rows:
        if row["id"] == "taco-177":  # its recorded output has empty lines that the reference does not print
            continue
        tests = tuple(map(Test, row["inputs"], row["outputs"]))
        grade = programs.grade(row["reference_solution"], tests)
        assert grade.outcome is Outcome.CORRECT or "timeout" in grade.reason or "Memory" in grade.reason, row["id"]
