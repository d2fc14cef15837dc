"""The funnel's law: kept and dropped together are the rows read, of every source, at every step."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.rows_on_disk import row, table_of

from openklear.curation.engine import marks
from openklear.curation.funnel import Funnel
from openklear.errors import DataError

SOURCES = ("s", "t", "u")


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from("st"), st.sampled_from(["math", "code"])), max_size=12),
    drops=st.lists(st.sets(st.integers(0, 11)), max_size=4),
)
def test_a_balanced_line_a_source(rows: list[tuple[str, str]], drops: list[set[int]]) -> None:
    with TemporaryDirectory() as directory:
        made = [row(f"p{i}", source=s, domain=d) for i, (s, d) in enumerate(rows)]  # type: ignore[arg-type]
        table, funnel, gone = table_of(Path(directory), made), Funnel(), 0
        for number, chosen in enumerate(drops):
            left = table.numbers()
            some = left[[i for i in sorted(chosen) if i < len(left)]] if len(left) else left
            gone += len(some)
            funnel.pour("problems", f"step {number}", SOURCES, table, marks(some, ["x"] * len(some), [""] * len(some)))
        assert len(table) + gone == len(rows)
        for source in SOURCES:
            lines = [line for line in funnel.columns() if line["source"] == source]
            assert len(lines) == len(drops)
            assert all(line["read"] == line["kept"] + line["dropped"] for line in lines)
            assert all(sum(line["reasons"].values()) == line["dropped"] for line in lines)
            for line, after in pairwise(lines):
                assert line["kept"] == after["read"]
            if lines:
                assert lines[0]["read"] == sum(s == source for s, _ in rows)
        assert sum(len(m) for _, _, m in funnel.marks) == gone


def test_reasons_are_counted_by_source(tmp_path: Path) -> None:
    rows = [row("a"), row("b"), row("c", source="t"), row("d", source="t")]
    table, funnel = table_of(tmp_path, rows), Funnel()
    numbers = table.numbers()[[0, 1, 2]]
    funnel.pour("problems", "step", SOURCES, table, marks(numbers, ["x", "y", "x"], ["", "", ""]), {"t": 2})
    assert funnel.columns() == [
        {
            "dataset": "problems",
            "source": "s",
            "step": "step",
            "read": 2,
            "kept": 0,
            "dropped": 2,
            "reasons": {"x": 1, "y": 1},
        },
        {
            "dataset": "problems",
            "source": "t",
            "step": "step",
            "read": 2,
            "kept": 1,
            "dropped": 1,
            "reasons": {"x": 1},
            "changed": 2,
        },
        {"dataset": "problems", "source": "u", "step": "step", "read": 0, "kept": 0, "dropped": 0, "reasons": {}},
    ]


def test_a_row_cannot_go_twice(tmp_path: Path) -> None:
    table, funnel = table_of(tmp_path, [row("a"), row("b")]), Funnel()
    funnel.pour("problems", "one", ["s"], table, marks([0], ["x"], [""]))
    with pytest.raises(AssertionError):
        funnel.pour("problems", "two", ["s"], table, marks([0], ["x"], [""]))


def test_rows_cannot_come_from_nowhere(tmp_path: Path) -> None:
    table, funnel = table_of(tmp_path, [row("a"), row("b")]), Funnel()
    funnel.pour("problems", "one", ["s"], table, marks([0], ["x"], [""]))
    table.alive[0] = True
    with pytest.raises(AssertionError, match="does not balance"):
        funnel.pour("problems", "two", ["s"], table, marks([], [], []))


def test_an_empty_end_shows_the_line_that_emptied_it(tmp_path: Path) -> None:
    table, funnel = table_of(tmp_path, [row("a"), row("b", domain="code"), row("c", domain="code")]), Funnel()
    funnel.pour("problems", "one", ["s"], table, marks([], [], []))
    funnel.pour("problems", "two", ["s"], table, marks([0], ["too easy"], [""]))
    funnel.pour("problems", "three", ["s"], table, marks([2], ["too hard"], [""]))
    funnel.require("problems", table, "code", "a phase trains on them")
    funnel.require("problems", table, None, "a phase trains on them")
    with pytest.raises(DataError, match=r"no math problems left.*\n.*two: read 3, kept 2, dropped 1 .too easy: 1"):
        funnel.require("problems", table, "math", "a phase trains on them")
    table.alive = np.zeros(3, np.bool_)
    with pytest.raises(DataError, match=r"no held-out problems left, but .* hold none"):
        funnel.require("heldout", table, None, "evaluation needs them")


def test_a_domain_that_no_source_holds_blames_no_step(tmp_path: Path) -> None:
    table, funnel = table_of(tmp_path, [row("a"), row("b")]), Funnel()
    funnel.pour("problems", "read", ["s"], table, marks([1], ["x"], [""]))
    with pytest.raises(DataError, match=r"no code problems left, but a phase needs them; the sources .* hold none"):
        funnel.require("problems", table, "code", "a phase needs them")
