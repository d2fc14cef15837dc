"""Whose fault is a row that cannot be used: its own, and it goes, or the file's, and that is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from openklear.data import reading
from openklear.data.formats import read_rows
from openklear.data.reading import parsed
from openklear.data.rows import Dropped, Row
from openklear.data.shapes import Role
from openklear.errors import DataError

ASK, SAY = {"role": "user", "content": "3+4?"}, {"role": "assistant", "content": "\\boxed{7}"}
GOOD = {"messages": [ASK, SAY]}
CALL = {"messages": [ASK, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, SAY]}


def read(rows: list[Any], role: Role = "demonstrations", domain: str | None = "math") -> list[Row | Dropped]:
    named = ((f"f:{number}", row) for number, row in enumerate(rows, start=1))
    return [item for items in parsed(named, role, "s", domain) for item in items]


def reasons(items: list[Row | Dropped]) -> list[str]:
    return [item.reason if isinstance(item, Dropped) else "" for item in items]


ODD: tuple[tuple[Any, str, str], ...] = (
    ({"messages": [ASK, {"role": "narrator", "content": "x"}, SAY]}, "malformed row", "messages[1].role is 'narrator'"),
    ({"messages": [ASK, {"content": "x"}]}, "malformed row", "messages[1] is"),
    ({"messages": [{"role": "user", "content": 5}, SAY]}, "malformed row", "messages[0].content is 5"),
    ({"messages": None}, "malformed row", "messages is None"),
    ({"messages": "hello"}, "malformed row", "messages is text, but not the JSON"),
    ({"promt": "3+4?", "response": "7"}, "malformed row", "no known shape of demonstrations has the columns id, promt, response"),
    ({}, "malformed row", "no known shape of demonstrations has the columns id;"),
    ({"prompt": "3+4?", "response": 7}, "malformed row", "response is 7, but a string is expected"),
    ({"messages": [ASK, SAY], "checker": "os:system"}, "malformed row", "checker 'os:system' is code"),
    ({"messages": [ASK, SAY], "domain": "code"}, "malformed row", 'domain is "code", but the recipe says'),
    (CALL, "tool turns", "messages[1] calls a tool (tool_calls)"),
    ({"messages": [ASK, {"role": "tool", "content": "7"}, SAY]}, "tool turns", "messages[1].role is 'tool'"),
    ({"messages": [{"role": "user", "content": [{"type": "image"}]}, SAY]}, "content that is not text", "messages[0]"),
    ({"messages": [ASK, SAY], "tools": ["add"]}, "tools", "the column tools"),
    ({"messages": [ASK, SAY, ASK]}, "no response", "the last turn is the user's"),
    ({"messages": []}, "empty prompt", ""),
)  # fmt: skip


@pytest.mark.parametrize(("row", "reason", "detail"), ODD)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_odd_row_goes_and_the_others_stay(row: Any, reason: str, detail: str, place: int) -> None:
    rows = [GOOD, GOOD]
    rows.insert(place, {"id": "odd", **row})
    found = read(rows)
    assert reasons(found) == [reason if index == place else "" for index in range(3)]
    odd = found[place]
    assert isinstance(odd, Dropped)
    assert odd.detail.startswith(detail)
    assert (odd.row.where, odd.row.problem.id, odd.row.problem.domain) == (f"f:{place + 1}", "s/odd", "math")


def test_what_a_lost_row_held_is_kept() -> None:
    long = {"messages": [ASK, {"role": "tool", "content": "7" * 9000}], "id": 5, "domain": ["a", "list"]}
    for domain in ("code", None):
        _, lost = read([{**GOOD, "domain": "code"}, long], domain=domain)
        assert isinstance(lost, Dropped)
        (turn,) = lost.row.problem.prompt
        assert turn["content"].startswith('{"messages": [{"role": "user", "content": "3+4?"}')
        assert len(turn["content"]) < 4100
        assert lost.row.problem.id == "s/5"
    assert lost.row.problem.domain == "math"  # nothing says it; the table needs one


def test_a_file_without_a_readable_row_is_refused_with_its_first() -> None:
    wrong = {"prompt": "3+4?", "response": 7}
    with pytest.raises(DataError, match=r"^f:1: response is 7.*rename the column$"):
        read([wrong])
    with pytest.raises(DataError, match=r"^f:1: response is 7.*\(as in all of the first 3 rows\)$"):
        read([wrong, {"messages": 5}, wrong])
    with pytest.raises(DataError, match=r"^f:1: no known shape of demonstrations has the columns ask, say"):
        read([{"ask": "3+4?", "say": "7"}] * 2)
    assert reasons(read([CALL, CALL])) == ["tool turns"] * 2  # understood: nothing is wrong with the file
    assert reasons(read([CALL, wrong])) == ["tool turns", "malformed row"]


def test_a_long_file_is_refused_after_its_first_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "FIRST", 3)
    wrong = {"messages": 5}
    seen = iter([wrong] * 3 + [GOOD])
    with pytest.raises(DataError, match=r"messages is 5.*\(as in all of the first 3 rows\)"):
        list(parsed((("f:1", row) for row in seen), "demonstrations", "s", "math"))
    assert next(seen) is GOOD  # not read
    assert reasons(read([wrong, wrong, GOOD, *[wrong] * 9])) == ["malformed row"] * 2 + [""] + ["malformed row"] * 9


def test_what_is_no_row_is_the_files_fault(tmp_path: Path) -> None:
    good = json.dumps(GOOD)
    for line, words in (('["3+4?", "7"]', "found an array where a row"), ('{"messages": ', "not valid JSON")):
        path = tmp_path / "a.jsonl"
        path.write_text(f"{good}\n{line}\n{good}\n")
        with pytest.raises(DataError, match=words):
            list(parsed(read_rows(path), "demonstrations", "s", "math"))
