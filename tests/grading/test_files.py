"""Rows in, the same rows with verdicts out, in each kind of file."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openklear.errors import DataError, UsageError
from openklear.grading import files

FIELDS = {"verdict": "correct", "reason": "", "passed": 1, "total": 1, "seconds": 0.5}


def fields(count):
    return iter([FIELDS | {"passed": n} for n in range(count)])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.jsonl", "a.graded.jsonl"), ("v1.2.jsonl.gz", "v1.2.graded.jsonl.gz"), ("b.parquet", "b.graded.parquet")],
)
def test_names(tmp_path, name, expected):
    assert files.graded_name(tmp_path / name) == tmp_path / expected


@pytest.mark.parametrize(("name", "words"), [("a.json", "one row per line into a .jsonl"), ("a.csv", "known endings")])
def test_kinds_that_cannot_be_graded(tmp_path, name, words):
    with pytest.raises(UsageError, match=words):
        files.file_kind(tmp_path / name)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_json_lines_keep_every_field(tmp_path, name):
    rows = [{"z": 1.5, "id": "ü", "big": 2**70, "nested": {"b": [None, True]}}, {"id": 2, "verdict": "old", "q": ""}]
    source, output = tmp_path / name, tmp_path / f"out-{name}"
    text = "\ufeff" + "\n\n".join(json.dumps(row) for row in rows)
    source.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    assert [read.where for read in files.read(source)] == [f"{source}:1", f"{source}:3"]
    files.write(source, output, fields(2))
    data = output.read_bytes()
    found = [json.loads(line) for line in (gzip.decompress(data) if name.endswith("gz") else data).splitlines()]
    assert found[0] == rows[0] | FIELDS | {"passed": 0}
    assert list(found[0]) == [*rows[0], *FIELDS]
    assert found[1] == {"id": 2, "q": ""} | FIELDS | {"passed": 1}
    files.write(source, tmp_path / f"again-{name}", fields(2))
    assert (tmp_path / f"again-{name}").read_bytes() == data


def test_lines_that_are_no_rows_are_named_and_the_others_read(tmp_path):
    source = tmp_path / "a.jsonl"
    source.write_bytes(b'{"id": 1}\n{"id": \n[1]\n{"a": "\xff"}\n{"n": ' + b"7" * 5000 + b'}\n{"id": 6}\n')
    found = list(files.read(source))
    assert [read.where.rpartition(":")[2] for read in found] == ["1", "2", "3", "4", "5", "6"]
    assert [read.fault is None for read in found] == [True, False, False, False, False, True]
    said = [str(read.fault) for read in found]
    assert said[1].startswith("not valid JSON at column")
    assert said[2].startswith("not a JSON object")
    assert "is not UTF-8" in said[3]
    assert said[4].startswith("not readable JSON")
    assert found[1].row == {"unreadable": '{"id":'}
    output = tmp_path / "b.jsonl"
    files.write(source, output, fields(6))
    assert json.loads(output.read_text().splitlines()[1])["unreadable"] == '{"id":'


def test_parquet_keeps_types_and_order(tmp_path):
    source, output = tmp_path / "a.parquet", tmp_path / "b.parquet"
    table = pa.table(
        {
            "ids": pa.array([[1, 2], None] * 2500, pa.list_(pa.int32())),
            "reason": ["old"] * 5000,
            "reference": pa.array(["1"] * 5000, pa.large_string()),
            "completion": pa.array(["1"] * 5000).dictionary_encode(),
        },
    ).replace_schema_metadata({"made by": "someone"})
    pq.write_table(table, source, row_group_size=3000, compression="zstd")
    first = next(files.read(source))
    assert first.row == {"ids": None, "reason": None, "reference": "1", "completion": "1"}  # only what grading needs
    files.write(source, output, fields(5000))
    found = pq.read_table(output)
    assert found.column_names == ["ids", "reference", "completion", *FIELDS]
    for name in ("ids", "reference", "completion"):
        assert found.schema.field(name) == table.schema.field(name)
        assert found[name].combine_chunks().to_pylist() == table[name].to_pylist()
    assert found["passed"].to_pylist() == list(range(5000))
    assert found.schema.metadata[b"made by"] == b"someone"
    assert pq.ParquetFile(output).metadata.row_group(0).column(0).compression == "ZSTD"


def test_too_few_or_too_many_verdicts_are_never_written_as_if_they_fitted(tmp_path):
    source = tmp_path / "a.jsonl"
    source.write_text('{"id": 1}\n{"id": 2}\n')
    for count in (1, 3):
        with pytest.raises(ValueError, match="zip"):
            files.write(source, tmp_path / "b.jsonl", fields(count))


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl.gz"])
def test_damaged_files_are_said_to_be(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"PAR1 nothing" if name.endswith("parquet") else gzip.compress(b'{"id": 1}\n' * 1000)[:-20])
    with pytest.raises(DataError, match=r"a\.(parquet|jsonl)"):
        list(files.read(path))


def test_a_row_group_is_not_held_as_a_whole(tmp_path):
    """Files are often one row group, however big."""
    path, text = tmp_path / "a.parquet", "".join(chr(33 + (n * n) % 90) for n in range(6000))
    rows = 8 * files.BATCH_ROWS
    table = pa.table({"reference": ["1"] * rows, "completion": [f"{n}{text}" for n in range(rows)]})
    pq.write_table(table, path, row_group_size=rows, use_dictionary=False, compression="none")
    del table
    before = pa.total_allocated_bytes()
    found = files.read(path)
    for _ in range(3 * files.BATCH_ROWS):
        next(found)
    assert pa.total_allocated_bytes() - before < path.stat().st_size / 3
    found.close()
