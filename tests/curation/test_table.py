"""Rows on disk: what a step is shown is what was written, less what steps before it dropped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.rows_on_disk import living, row, table_of

from openklear.curation import engine
from openklear.curation.table import FILE_ROWS, PART_BITS, RowTable, numbered
from openklear.types import CallTest, Test

MANY = FILE_ROWS + 100  # more than one file


@pytest.fixture(scope="module")
def rows() -> list:
    first = [row(f"a {i}", f"r{i}", source="a", where=f"a:{i}", level=str(i % 3)) for i in range(MANY)]
    tests = (Test("1", "2"), CallTest("f", "[1]", "2"))
    return [*first, *(row(f"b {i}", source="b", domain="code", tests=tests, where=f"b:{i}") for i in range(10))]


@pytest.fixture
def table(rows: list, tmp_path: Path) -> RowTable:
    return table_of(tmp_path, rows)


def test_rows_come_back_as_they_were(table: RowTable, rows: list) -> None:
    numbers, found = zip(*((n, r) for ns, rs in table.rows() for n, r in zip(ns, rs, strict=True)), strict=True)
    assert list(found) == rows
    assert list(numbers) == table.numbers().tolist() == [*range(MANY), *((1 << PART_BITS) + i for i in range(10))]


def test_dropped_rows_are_seen_no_more(table: RowTable) -> None:
    gone = np.array([0, 5, MANY - 1, (1 << PART_BITS) + 3])
    table.drop(gone)
    assert len(table) == MANY + 10 - 4
    assert not set(gone.tolist()) & set(table.numbers().tolist())
    framed = sorted(table.frame("text").to_pydict()["row"])
    assert framed == table.numbers().tolist()
    assert living(table)[:5] == ["a 1", "a 2", "a 3", "a 4", "a 6"]
    assert table.counts(table.numbers()) == {"a": {"math": MANY - 3}, "b": {"code": 9}}
    assert table.texts(gone) == ["a 0", "a 5", f"a {MANY - 1}", "b 3"]  # dead rows can still be looked up


@pytest.mark.parametrize("again", [[3], [4, 4], [6, 4]], ids=["gone", "twice", "order"])
def test_a_row_is_dropped_once_and_in_order(table: RowTable, again: list[int]) -> None:
    table.drop(np.array([3]))
    with pytest.raises(AssertionError):
        table.drop(np.array(again))


def test_lookup_keeps_the_order_it_is_asked_in(table: RowTable) -> None:
    wanted = np.array([(1 << PART_BITS) + 9, 0, MANY - 1, 0])
    assert table.texts(wanted) == ["b 9", "a 0", f"a {MANY - 1}", "a 0"]
    assert table.texts(wanted[:0]) == []
    assert [r.problem.tests for r in table.values(wanted[:1])] == [(Test("1", "2"), CallTest("f", "[1]", "2"))]


def test_patches_take_the_place_of_columns(table: RowTable) -> None:
    table.patches = {"level": {1: "hard"}, "tests": {1 << PART_BITS: []}}
    assert [r.problem.level for r in table.values(np.array([0, 1]))] == ["0", "hard"]
    found = {n: r for ns, rs in table.rows() for n, r in zip(ns, rs, strict=True)}
    assert found[1].problem.level == "hard"
    assert found[1 << PART_BITS].problem.tests == ()
    assert found[(1 << PART_BITS) + 1].problem.tests != ()


def test_an_empty_table() -> None:
    table = RowTable(())
    assert len(table) == 0
    assert table.numbers().tolist() == []
    assert list(table.rows()) == []
    assert engine.ask(table, lambda row: ("no", ""), ("answer",)).num_rows == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.data())
def test_numbers_and_places_are_inverse(sizes: list[int], data: st.DataObject) -> None:
    offsets = np.cumsum([0, *sizes])
    places = np.arange(offsets[-1])
    numbers = numbered(places, offsets)
    expected = [(part << PART_BITS) + i for part, size in enumerate(sizes) for i in range(size)]
    assert numbers.tolist() == expected


def test_a_rule_sees_its_columns_and_answers_in_order(table: RowTable) -> None:
    marks = engine.ask(
        table, lambda r: ("three", r.response or "") if r.problem.level == "2" else None, ("level", "response")
    )
    assert marks["row"].to_pylist() == list(range(2, MANY, 3))
    assert marks["detail"].to_pylist()[:2] == ["r2", "r5"]


def test_keys_and_lists_are_in_the_rows_order(table: RowTable, tmp_path: Path) -> None:
    def lengths(texts: object) -> np.ndarray:
        return np.array([[len(t), 7] for t in texts.to_pylist()], np.uint64)  # type: ignore[attr-defined]

    numbers, keys = engine.keys(table, ("text",), lengths, 2)
    assert numbers.tolist() == table.numbers().tolist()
    assert keys[:, 0].tolist() == [len(t) for t in living(table)]
    sizes = lambda texts: np.array([[len(t)] for t in texts], np.float32)  # noqa: E731
    numbers, vectors = engine.vectors(table, sizes, 1, tmp_path / "v.npy")
    assert vectors[:, 0].tolist() == [len(t) for t in living(table)]
