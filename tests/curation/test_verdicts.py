"""Steps that read what graders said of a model's responses, or ask them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data.rows_on_disk import row, table_of
from tests.stages.test_prepare import recipe_of

from openklear.curation import engine
from openklear.curation.rules.filters import too_few_tests
from openklear.curation.vetting import steps
from openklear.curation.vetting.responses import outside_window, teacher_fails
from openklear.errors import DataError
from openklear.recipe.schema import Recipe
from openklear.recipe.verifiers import Verifiers
from openklear.types import Test

RIGHT, WRONG, LOST = ("correct", 1, 1, "4"), ("incorrect", 0, 1, "5"), ("unscorable", 0, 1, None)
GOOD = "print(sum(map(int, input().split())))"


def distilled(directory: Path, said: dict[str, list[tuple[str | None, int, int, str | None]]]) -> Path:
    """responses.parquet with the columns that vetting reads."""
    rows = [
        {
            "prompt": [{"role": "user", "content": prompt}],
            "sample": sample,
            "outcome": outcome,
            "passed": passed,
            "total": total,
            "extracted": answer,
        }
        for prompt, answers in said.items()
        for sample, (outcome, passed, total, answer) in enumerate(answers)
    ]
    directory.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), directory / "responses.parquet")
    return directory


def test_labels_follow_the_reference_model(tmp_path: Path) -> None:
    table = table_of(
        tmp_path / "t", [row(text, level="9") for text in ("Easy one", "Mid", "Hard", "Never asked", "Lost")]
    )
    said = {
        "easy  ONE": [RIGHT, RIGHT, RIGHT, WRONG],
        "Mid": [RIGHT, WRONG, LOST],
        "Hard": [WRONG] * 4 + [RIGHT],
        "Lost": [LOST, (None, 0, 0, None)],
    }
    found = steps.labelled(table, distilled(tmp_path / "d", said), 0.75, 0.25)
    assert found.marks.num_rows == 0
    table.patches.update(found.patches)  # type: ignore[arg-type]
    assert [one.problem.level for _, rows in table.rows() for one in rows] == ["easy", "medium", "hard", None, None]
    assert found.facts == {"labels": {"easy": 1, "medium": 1, "hard": 1, "not asked": 2}}


def test_a_teacher_must_agree_with_the_reference_and_pass_tests(tmp_path: Path) -> None:
    tests = (Test("1", "1"),)
    table = table_of(
        tmp_path / "t",
        [
            row("good"),
            row("bad"),
            row("code", domain="code", tests=tests),
            row("half", domain="code", tests=tests),
            row("unknown"),
        ],
    )
    said = {
        "good": [RIGHT, RIGHT, WRONG],
        "bad": [RIGHT, WRONG, WRONG],
        "code": [("incorrect", 9, 16, "x"), ("correct", 16, 16, "y")],
        "half": [("incorrect", 8, 16, "x")] * 2,
    }
    rule = partial(teacher_fails, code_pass_rate=0.5)
    marks = steps.vetted(table, distilled(tmp_path / "d", said), rule).marks.to_pylist()
    assert [(mark["row"], mark["reason"]) for mark in marks] == [
        (1, "the majority is wrong"),
        (3, "low pass rate"),
        (4, "no responses"),
    ]


def test_the_policys_window(tmp_path: Path) -> None:
    table = table_of(tmp_path / "t", [row("all"), row("some"), row("none")])
    said = {"all": [RIGHT] * 4, "some": [RIGHT, WRONG], "none": [WRONG] * 4}
    directory = distilled(tmp_path / "d", said)
    marks = steps.vetted(table, directory, lambda row, found: outside_window(found, 0.0, 1.0)).marks.to_pylist()
    assert [mark["row"] for mark in marks] == [0, 2]


def test_what_is_no_distillation_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"responses\.parquet: no such file; name the directory"):
        list(steps.responses(tmp_path))
    pq.write_table(pa.table({"prompt": ["x"]}), tmp_path / "responses.parquet")
    with pytest.raises(DataError, match="has no column sample, outcome"):
        list(steps.responses(tmp_path))


def lenient(directory: Path) -> Recipe:
    base = recipe_of(directory)
    return base.model_copy(update={"verifiers": Verifiers(workers=1, minimum_isolation="rlimits")})


def test_faulty_tests_go_and_the_rest_stays(tmp_path: Path) -> None:
    sums = (Test("1 2", "3"), Test("2 2", "5"), Test("4 5", "9"))
    rows = [
        row("sum", domain="code", tests=sums, solution=GOOD, id="a"),
        row("fine", domain="code", tests=(sums[0], sums[2]), solution=GOOD, id="b"),
        row("broken", domain="code", tests=sums, solution="print(0)", id="c"),
        row("no solution", domain="code", tests=sums, id="d"),
        row("mathematics", solution="text", id="e"),
    ]
    table = table_of(tmp_path / "t", rows)
    found = steps.solutions(table, lenient(tmp_path), tmp_path / "journal.jsonl")
    assert [(mark["row"], mark["reason"]) for mark in found.marks.to_pylist()] == [(2, "solution fails every test")]
    assert found.facts == {"faulty_tests": 1}
    table.drop(found.marks["row"].to_numpy())
    table.patches.update(found.patches)  # type: ignore[arg-type]
    left = {one.problem.id: one.problem.tests for _, some in table.rows() for one in some}
    assert left == {"a": (sums[0], sums[2]), "b": (sums[0], sums[2]), "d": sums, "e": ()}


def test_min_tests(tmp_path: Path) -> None:
    tests = (Test("1", "1"),) * 2
    table = table_of(
        tmp_path, [row("two", domain="code", tests=tests), row("one", domain="code", tests=tests[:1]), row("m")]
    )
    marks = engine.ask(table, partial(too_few_tests, minimum=2), ("domain", "tests"))
    assert marks.to_pylist() == [{"row": 1, "reason": "too few tests", "detail": "1; at least 2"}]
