"""Levels that correct_only names are levels of the demonstrations, or it is said what there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from openklear import progress
from openklear.curation.levels import require_levels
from openklear.curation.table import PartWriter, RowPart, RowTable
from openklear.data.rows import Row
from openklear.errors import DataError
from openklear.recipe.curation import Data, Difficulty
from openklear.types import Message, Problem


def table(directory: Path, *levels: str | None) -> RowTable:
    directory.mkdir()
    writer = PartWriter(directory, 0)
    for level in levels:
        problem = Problem("p", (Message(role="user", content="p"),), "math", answer="1", level=level)
        writer.write(Row(problem, "file:1", "r"))
    writer.close()
    return RowTable([RowPart(directory, tuple(writer.counts), "set")])


def test_a_level_that_no_row_has_is_refused_with_those_there_are(tmp_path: Path) -> None:
    rows = table(tmp_path / "t", "1", "2", "2", None)
    for fitting in (("1",), ("1", "2"), (), ("*",)):
        require_levels(rows, Data(source=(), correct_only=fitting))
    for odd in (("Level 1",), ("1", "easy")):
        with pytest.raises(DataError) as caught:
            require_levels(rows, Data(source=(), correct_only=odd))
        assert f'names the level "{odd[-1]}", which no demonstration has' in str(caught.value)
        assert 'there are "2" (2 rows), "1" (1 rows); 1 rows have none; name those' in str(caught.value)


def test_levels_that_are_kept_must_be_there(tmp_path: Path) -> None:
    rows = table(tmp_path / "t", "1", "2", None)
    require_levels(rows, Data(source=(), levels=("2", "1")))
    with pytest.raises(DataError, match=r'data\.levels names the level "easy", .* name those, or \[\] for all of them'):
        require_levels(rows, Data(source=(), levels=("1", "easy")))
    require_levels(rows, Data(source=(), levels=("easy",), difficulty=Difficulty(responses="said")))


def test_the_default_level_may_be_absent_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(progress, "say", lines.append)
    require_levels(table(tmp_path / "t", None, None), Data(source=()))
    assert lines == [
        'prepare: correct_only names the level "1", which no demonstration has; none has a level; no response is checked'
    ]
    require_levels(table(tmp_path / "u"), Data(source=(), correct_only=("9",)))  # without rows there is nothing to say
    labelled = Data(source=(), correct_only=("easy",), difficulty=Difficulty(responses="said"))
    require_levels(table(tmp_path / "v", None), labelled)
    assert len(lines) == 1
