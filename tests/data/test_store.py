"""What is written is read back, and the same rows give the same bytes."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from openklear.data import store
from openklear.data.rows import Dropped, Row
from openklear.errors import DataError
from openklear.types import AssertTest, CallTest, Demonstration, Message, Problem, Test

PROMPT = (Message(role="system", content="Think.\u2028"), Message(role="user", content="ü\n"))
PROBLEMS = [
    Problem("s/1", PROMPT, "math", "1/2", level="1", source="s"),
    Problem("s/2", PROMPT[1:], "code", None, (Test("", "1\n"), Test("2", "")), source="s"),
    Problem("s/3", PROMPT[1:], "code", None, (CallTest("f", "[]", "null"), CallTest("C.f", '{"a": "\u2028"}', '""'))),
    Problem("s/4", PROMPT[1:], "code", None, (AssertTest("assert f() == ''\n"), Test("", "")), "float:1e-6"),
]


def test_problems(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    store.write_problems(path, PROBLEMS)
    assert store.read_problems(path) == PROBLEMS
    assert [p.content_hash for p in store.read_problems(path)] == [p.content_hash for p in PROBLEMS]


def test_demonstrations_over_several_groups(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    rows = [Demonstration(PROBLEMS[i % 4], f"<think>{i}</think>1", f"f:{i}") for i in range(5000)]
    store.write_demonstrations(path, iter(rows))
    assert store.read_demonstrations(path) == rows


def test_nothing(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    store.write_problems(path, [])
    assert store.read_problems(path) == []


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    store.write_problems(first, PROBLEMS)
    store.write_problems(second, list(PROBLEMS))
    assert first.read_bytes() == second.read_bytes()


def test_dropped(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    store.write_dropped(path, [("problems", "step", Dropped(Row(PROBLEMS[0], "f:3", "resp"), "why", "so"))])
    assert pq.read_table(path).to_pylist() == [
        {
            "dataset": "problems",
            "source": "s",
            "id": "s/1",
            "where": "f:3",
            "step": "step",
            "reason": "why",
            "detail": "so",
            "domain": "math",
            "level": "1",
            "text": "ü\n\n\nresp",
        }
    ]


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    with pytest.raises(DataError, match=r"p\.parquet"):
        store.read_problems(path)
    path.write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"p\.parquet: cannot be read"):
        store.read_problems(path)
    store.write_problems(path, PROBLEMS)
    with pytest.raises(DataError, match="has no column response, where"):
        store.read_demonstrations(path)
