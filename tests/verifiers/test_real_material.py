"""Attacks and real programs, where the material is at hand."""

import json
import os
from pathlib import Path

import pytest

from openklear.errors import VerifierError
from openklear.types import Outcome, Test
from openklear.verifiers.code import CodeGrader

DATA = Path(os.environ.get("OPENKLEAR_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason="no material: set OPENKLEAR_DATA"),
]


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
