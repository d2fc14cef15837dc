"""Each kind of file reads back what was written, and each defect is named with its line."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from openklear.data.formats import KINDS, read_rows
from openklear.errors import DataError

ROWS: list[dict[str, Any]] = [{"id": "a", "n": 1}, {"id": "ü", "n": 2}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def error_of(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        list(read_rows(path))
    return str(caught.value)


def put(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_json_lines_number_lines_and_skip_blank_ones(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", "\ufeff" + LINES.replace("\n", "\n\n", 1))
    assert list(read_rows(path)) == [(f"{path}:1", ROWS[0]), (f"{path}:3", ROWS[1])]


def test_a_line_separator_inside_a_string_does_not_end_a_line(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", '{"text": "one\u2028two\x85three"}\n{"text": "b"}\n')
    assert [row["text"] for _, row in read_rows(path)] == ["one\u2028two\x85three", "b"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps(ROWS, indent=1).encode()),
        ("a.json.gz", gzip.compress(json.dumps(ROWS).encode(), mtime=0)),
        ("v1.2.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)),
    ],
)
def test_json_kinds(tmp_path: Path, name: str, content: bytes) -> None:
    path = put(tmp_path / name, content)
    assert list(read_rows(path, "set")) == [("set:1", ROWS[0]), ("set:2", ROWS[1])]


PACK = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("codec", PACK)
def test_every_kind_in_every_packing(tmp_path: Path, codec: str) -> None:
    cells = [{name: str(value) for name, value in row.items()} for row in ROWS]
    for kind, content, rows, first in (
        (".jsonl", LINES.encode(), ROWS, 1),
        (".json", json.dumps(ROWS).encode(), ROWS, 1),
        (".csv", "id,n\na,1\nü,2\n".encode(), cells, 2),
    ):
        path = put(tmp_path / f"v1.0{kind}{codec}", PACK[codec](content))
        assert list(read_rows(path, "set")) == [(f"set:{first + i}", row) for i, row in enumerate(rows)]
        assert f"{kind}{codec}" in KINDS
        halves = len(content) // 2  # files are also written in pieces, one after the other
        put(path, PACK[codec](content[:halves]) + PACK[codec](content[halves:]))
        assert [row for _, row in read_rows(path)] == rows


def test_csv_cells_may_hold_anything_and_rows_are_named_by_their_first_line(tmp_path: Path) -> None:
    text = '\ufeffid, text\r\n1,"two\nlines, ""quoted"""\r\n\r\n2,\x85\u2028\x00\r\n3,' + "x" * 200_000
    rows = list(read_rows(put(tmp_path / "a.csv", text), "set"))
    assert rows == [
        ("set:2", {"id": "1", "text": 'two\nlines, "quoted"'}),
        ("set:5", {"id": "2", "text": "\x85\u2028\x00"}),
        ("set:6", {"id": "3", "text": "x" * 200_000}),
    ]


@pytest.mark.parametrize("first", ["id,,n", "id,n,id"])
def test_csv_columns_have_names_of_their_own(tmp_path: Path, first: str) -> None:
    message = error_of(put(tmp_path / "a.csv", f"{first}\n1,2,3\n"))
    assert ":1: the first line names the columns, but one of them is empty or named twice" in message


def test_wide_rows_of_parquet_are_read_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    rows = [{"id": str(i), "tests": str(i) * 1000} for i in range(200)]
    pq.write_table(pa.Table.from_pylist(rows), path)
    asked = []
    real = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile, "iter_batches", lambda self, batch_size: asked.append(batch_size) or real(self, batch_size)
    )
    monkeypatch.setattr("openklear.data.formats.BATCH_BYTES", 10_000)
    assert [row for _, row in read_rows(path)] == rows
    assert 1 <= asked[0] < 100


def test_parquet_numbers_rows_over_batches(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = [{"id": str(i), "turns": [{"from": "human", "value": "x"}]} for i in range(2500)]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=700)
    found = list(read_rows(path))
    assert found == [(f"{path}:{i + 1}", row) for i, row in enumerate(rows)]


def test_malformed_line(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", LINES + '{"id": \n')
    assert error_of(path).startswith(f"{path}:3: not valid JSON at column")


def test_malformed_array_names_the_line_inside(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", '[{"id": 1},\n{"id": 2},\n{"id" 3}]')
    assert error_of(path).startswith(f"{path}:3: not valid JSON at column 7")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", "{}\n[1]\n", ":2: found an array where a row"),
        ("a.json", '{"a": 1}', "name the file .jsonl"),
        ("a.json", "[{}, null]", ":2: found null where a row"),
        ("a.jsonl", b'{"a": 1}\n{"a": "\xff"}\n', ":2: byte"),
        ("a.json", b'[{"a": 1},\n{"a": "\xff"}]', ":2: byte"),
        ("a.jsonl", "", "holds no rows"),
        ("a.jsonl", "\n \n", "holds no rows"),
        ("a.json", "[]", "holds no rows"),
        ("a.parquet", b"PAR1 no", "cannot be read as Parquet"),
        ("a.jsonl.gz", gzip.compress(LINES.encode() * 99, mtime=0)[:-12], "the gzip file is damaged"),
        ("a.jsonl.gz", LINES.encode(), ":1: the gzip file is damaged"),
        ("a.jsonl", "[" * 100_000, ":1: JSON nested too deep"),
        ("a.txt", "id\n1\n", "known endings: .jsonl"),
    ],
)
def test_defects(tmp_path: Path, name: str, content: str | bytes, words: str) -> None:
    path = put(tmp_path / name, content)
    message = error_of(path)
    assert message.startswith(str(path))
    assert words in message


def test_an_empty_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": pa.array([], pa.string())}), path)
    assert "holds no rows" in error_of(path)


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    put(tmp_path / "careful.jsonl", "{}")
    put(tmp_path / "sloppy.parquet", "")
    assert "nearest name there is careful.jsonl" in error_of(tmp_path / "carefull.jsonl")
    assert "no directory" in error_of(tmp_path / "nowhere" / "a.jsonl")
    (tmp_path / "dir.jsonl").mkdir()
    assert "is a directory" in error_of(tmp_path / "dir.jsonl")
