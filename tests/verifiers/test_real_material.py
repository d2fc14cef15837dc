"""Reference solutions over stdin, where the material is at hand (benchmarks/code_references.py runs all, with twins)."""

import json

import pytest
from tests.shared_data import shared

from openklear.types import Outcome, Test
from openklear.verifiers.code import CodeGrader

pytestmark = pytest.mark.slow
GRID = "taco-177"
"""Its recorded output has empty lines that the reference does not print."""


def test_reference_programs_pass():
    rows = [json.loads(line) for line in shared("train/taco_stdin.jsonl").read_text().splitlines()]
    grader = CodeGrader(2, seconds=10.0, memory_mb=1024, minimum_isolation="rlimits")
    for row in [*rows[:60:2], next(row for row in rows if row["id"] == GRID)]:
        tests = tuple(map(Test, row["inputs"], row["outputs"]))
        checker = "tokens" if row["id"] == GRID else None
        assert grader.grade(row["reference_solution"], tests, checker).outcome is Outcome.CORRECT, row["id"]
    grader.close()
