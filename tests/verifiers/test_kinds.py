"""What real answers and real programs look like: cases by kind, from the field. A reader adds one to a table of kinds/.

A case is a row of `openklear grade` with what is expected of it and why; one with `control` was right before its kind
was. Cases with a `reference` are mathematics, those with `tests` are programs.
"""

import tomllib
from pathlib import Path

import pytest

from openklear.grading import Grader, Limits
from openklear.verifiers.stream import judged

TABLES = sorted(Path(__file__).with_name("kinds").glob("*.toml"))
CASES = []
for table in TABLES:
    for kind, cases in tomllib.loads(table.read_text(encoding="utf-8")).items():
        CASES += [pytest.param(case, id=f"{table.stem}-{kind}-{number}") for number, case in enumerate(cases)]


@pytest.fixture(scope="module")
def grader():
    with Grader(Limits(workers=1, code_seconds=5.0, code_memory_mb=512)) as made:
        yield made


@pytest.mark.parametrize("case", CASES)
def test_case(grader, case):
    asked = grader.asked(case, "math" if "reference" in case else "code")
    [[(_, verdict)]] = judged(grader.judge, [asked], 1)
    assert verdict.outcome.value == case["expected"], (case["why"], verdict.reason)
