"""Copies within a table and between two: which go, which stay, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.rows_on_disk import living, row, table_of

from openklear.curation import duplicates
from openklear.curation.table import RowTable
from openklear.data.rows import Row, prompt_key
from openklear.types import Message, Problem


def after(step: object, table: RowTable) -> list[int]:
    """Places of the rows that a step leaves, in a table of one part."""
    gone = set(step(table).marks["row"].to_pylist())  # type: ignore[operator]
    return [number for number in table.numbers().tolist() if number not in gone]


def test_the_first_copy_of_a_problem_stays(tmp_path: Path) -> None:
    prompts = ["Find  x.", "find X.\n", "Find y.", "Find x²", "Find x2", "caf\u00e9", "cafe\u0301"]
    table = table_of(tmp_path, [row(text, where=f"f:{i}") for i, text in enumerate(prompts, 1)])
    assert after(duplicates.problems, table) == [0, 2, 3, 4, 5]
    marks = duplicates.problems(table).marks.to_pylist()
    assert marks[0] == {"row": 1, "reason": "repeated prompt", "detail": "first at f:1 (f:1)"}


def test_the_better_source_keeps_its_copy(tmp_path: Path) -> None:
    """Parts stand in the order of the sources, whatever the order of the files' rows."""
    table = table_of(
        tmp_path, [row("b", source="good"), row("a", source="bad"), row("b", source="bad"), row("a", source="good")]
    )
    table.drop(duplicates.problems(table).marks["row"].to_numpy())
    assert table.counts(table.numbers()) == {"good": {"math": 2}, "bad": {}}


def test_system_prompts_do_not_tell_problems_apart(tmp_path: Path) -> None:
    system = Message(role="system", content="Think.")
    plain = row("find x")
    instructed = Row(Problem("i", (system, *plain.problem.prompt), "math", source="s"), "f:2")
    assert prompt_key(plain.problem) == prompt_key(instructed.problem) == "find x"
    assert after(duplicates.problems, table_of(tmp_path, [plain, instructed])) == [0]


def test_several_responses_to_a_prompt_stay(tmp_path: Path) -> None:
    rows = [row("a", "1"), row("A", "2"), row(" a", "1\r\n"), row("a", "  if x:\n y"), row("a", "if x:\n   y")]
    assert after(duplicates.demonstrations, table_of(tmp_path, rows)) == [0, 1, 3, 4]


WORDS = "one farmer keeps seven brown hens in a small wooden house beside the old mill and sells eggs on market days"


def test_rows_of_one_prompt_share_the_fate_of_its_near_copy(tmp_path: Path) -> None:
    near = WORDS.replace("market days", "market days too")
    rows = [
        row(WORDS, "1"),
        row("Quite another question about trains and tunnels.", "2"),
        row(near, "3"),
        row(near, "4"),
    ]
    table = table_of(tmp_path, rows)
    assert after(lambda t: duplicates.near(t, 0.8), table) == [0, 1]
    detail = duplicates.near(table, 0.8).marks["detail"].to_pylist()
    assert all(text.endswith("alike, first at f:1 (f:1)") for text in detail)
    assert 0.8 <= float(detail[0].split()[0]) < 1.0
    assert after(lambda t: duplicates.near(t, 0.8), table_of(tmp_path / "n", [row("a"), row("a", "b")])) == [0, 1]


def test_not_in_another_table(tmp_path: Path) -> None:
    mine = table_of(tmp_path / "a", [row("Find x."), row("find  Y."), row("z")])
    other = table_of(tmp_path / "b", [row("q", id="h0"), row("Find y.", id="h1"), row("FIND Y.", id="h2")])
    assert duplicates.not_in(mine, other).marks.to_pylist() == [
        {"row": 1, "reason": "held-out prompt", "detail": "the same prompt as h1"}
    ]
    assert duplicates.not_in(mine, RowTable(())).marks.num_rows == 0
    assert duplicates.shared(RowTable(()), other).tolist() == []


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "A", "b", " b", "c", "d e", "d  e"]), max_size=10), st.randoms(use_true_random=False)
)
def test_exactly_the_first_of_each_prompt(tmp_path_factory, prompts: list[str], random) -> None:
    directory = tmp_path_factory.mktemp("t")
    rows = [row(text, source=random.choice("st")) for text in prompts]
    table = table_of(directory, rows)
    seen: set[str] = set()
    expected = [seen.add(k) or t for t in living(table) if (k := " ".join(t.lower().split())) not in seen]  # type: ignore[func-returns-value]
    marks = duplicates.problems(table).marks["row"].to_numpy()
    assert (np.diff(marks) > 0).all()
    table.drop(marks)
    assert living(table) == expected
    assert duplicates.problems(table).marks.num_rows == 0
