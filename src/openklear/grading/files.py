"""Files of rows: JSON lines (also gzipped) and Parquet, read in bounded memory, and written again with verdicts."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from openklear.data.formats import json_lines, parse_line
from openklear.errors import DataError, UsageError
from openklear.grading.rows import INPUT_FIELDS, VERDICT_FIELDS, dumps, graded

FileKind = Literal["jsonl", "parquet"]
BATCH_ROWS = 2048
"""Rows of a Parquet file that are held at once, and the size of the row groups that are written."""
VERDICT_SCHEMA = pa.schema(
    zip(VERDICT_FIELDS, (pa.string(), pa.string(), pa.int64(), pa.int64(), pa.float64()), strict=True)
)


@dataclass(frozen=True, slots=True)
class Read:
    """A row, or the line that should have been one, with what is wrong with it (without the place)."""

    where: str
    row: dict[str, Any]
    fault: DataError | None = None


def file_kind(path: Path) -> FileKind:
    """The kind of a file, by its ending; UsageError for one that cannot be graded."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".jsonl"):
        return "jsonl"
    if path.suffix == ".parquet":
        return "parquet"
    lines = name.endswith(".json")
    what = "write one row per line into a .jsonl" if lines else "known endings: .jsonl, .jsonl.gz, .parquet"
    raise UsageError(f"{path}: cannot grade a file of this kind; {what}")


def graded_name(path: Path) -> Path:
    """`runs/a.jsonl.gz` -> `runs/a.graded.jsonl.gz`; UsageError as `file_kind`."""
    file_kind(path)
    ending = next(e for e in (".jsonl.gz", ".jsonl", ".parquet") if path.name.endswith(e))
    return path.with_name(f"{path.name.removesuffix(ending)}.graded{ending}")


def read(path: Path) -> Iterator[Read]:
    """Yield the file's rows in their order. DataError where the file itself is damaged."""
    return _read_jsonl(path) if file_kind(path) == "jsonl" else _read_parquet(path)


def _read_jsonl(path: Path) -> Iterator[Read]:
    for number, line in json_lines(path):
        where, fault = f"{path}:{number}", "not a JSON object; write one object per line"
        try:
            value = parse_line(line, path, number)
        except DataError as error:
            value, fault = None, str(error).removeprefix(f"{where}: ")
        if isinstance(value, dict):
            yield Read(where, value)
        else:
            yield Read(where, {"unreadable": line.decode("utf-8", "replace").strip()}, DataError(fault))


def _read_parquet(path: Path) -> Iterator[Read]:
    with _parquet(path) as file:
        names = file.schema_arrow.names
        known = [name for name in INPUT_FIELDS if name in names]
        others = dict.fromkeys(names)
        number = 0
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=known or None):
            for row in batch.to_pylist():
                number += 1
                yield Read(f"{path}:{number}", others | row)


def _parquet(path: Path) -> Any:
    try:
        # without these two a whole row group is held, and many files are one row group
        return pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}; write or download it again") from error


def write(source: Path, output: Path, verdicts: Iterator[Mapping[str, Any]]) -> None:
    """Write the rows of `source` with one verdict each to `output`, which is of the same kind."""
    if file_kind(source) == "jsonl":
        _write_jsonl(source, output, verdicts)
    else:
        _write_parquet(source, output, verdicts)


def _write_jsonl(source: Path, output: Path, verdicts: Iterator[Mapping[str, Any]]) -> None:
    pairs = zip(_read_jsonl(source), verdicts, strict=True)
    lines = (dumps(graded(found.row, fields)) for found, fields in pairs)
    with output.open("wb") as file:
        if output.suffix == ".gz":
            # no name and no time in the header: the same rows give the same bytes
            with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
                packed.writelines(lines)
        else:
            file.writelines(lines)


def _write_parquet(source: Path, output: Path, verdicts: Iterator[Mapping[str, Any]]) -> None:
    with _parquet(source) as file:
        kept = [field for field in file.schema_arrow if field.name not in VERDICT_FIELDS]
        schema = pa.schema([*kept, *VERDICT_SCHEMA], metadata=file.schema_arrow.metadata)
        codec = file.metadata.row_group(0).column(0).compression if file.metadata.num_row_groups else "SNAPPY"
        with pq.ParquetWriter(output, schema, compression="NONE" if codec == "UNCOMPRESSED" else codec) as writer:
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                added = pa.RecordBatch.from_pylist(list(islice(verdicts, batch.num_rows)), VERDICT_SCHEMA)
                columns = [*(batch.column(field.name) for field in kept), *added.columns]
                writer.write_batch(pa.record_batch(columns, schema=schema))
