"""Files of rows: JSON lines, a JSON array or CSV, each also compressed (.gz, .bz2, .xz, .zst), Parquet, and Arrow.

`read_rows` yields the rows of a file, in bounded memory; `openklear.data.shapes` says what they mean.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openklear.data.json_array import json_array
from openklear.data.streams import CODECS, MAX_LINE, decode, lines, not_json, too_long
from openklear.errors import DataError

_BATCH_ROWS = 1024
BATCH_BYTES = 64 << 20
"""Read of a Parquet file at once: rows with the tests of a program hold megabytes."""
_POINTER = b"version https://git-lfs"
"""How a file begins that a clone without Git LFS holds in place of a large one."""
_BLANK = b" \t\r\n\xef\xbb\xbf"
"""What a blank line may hold: a file's first may begin with a byte order mark."""


def read_rows(
    path: Path, name: str | None = None, *, may_be_empty: bool = False
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (`name:number`, row) of every row; the number counts lines (JSON lines, CSV) or rows (the others) from 1.

    `name` replaces the path in `where`, so that stored rows hold no paths of one machine. A CSV file's first line names
    its columns, and its cells are text. Raises DataError for a missing or malformed file, with the line, and for one
    without rows unless it `may_be_empty`: one of many shards.
    """
    kind = kind_of(path)
    if kind is None:
        raise DataError(f"{path}: the ending does not say what kind of file it is; known endings: {', '.join(KINDS)}")
    _require_file(path)
    shown = name or str(path)
    found = False
    for number, row in _READERS[kind](path) if path.stat().st_size or not may_be_empty else ():
        found = True
        if not isinstance(row, dict):
            what = f"found {_type_name(row)} where a row (a JSON object) is expected"
            raise DataError(f"{path}:{number}: {what}; write one object per row")
        yield f"{shown}:{number}", row
    if not found and not may_be_empty:
        raise DataError(f"{path}: the file holds no rows; add rows or remove the source from the recipe")


def kind_of(path: Path) -> str | None:
    """The ending that says how the file is read, without that of its compression; None if it is unknown."""
    compressed = path.suffix in CODECS
    kind = Path(path.stem).suffix if compressed else path.suffix
    return kind if kind in (_TEXT_READERS if compressed else _READERS) else None


def json_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (line number, bytes) of every line that is not blank; `parse_line` reads one."""
    return ((number, line) for number, line in lines(path) if line.strip(_BLANK))


def parse_line(line: bytes, path: Path, number: int) -> Any:
    """The value of one line of a file of JSON lines; DataError, with the line number, where it is not valid JSON."""
    text = decode(line, path, number).rstrip("\r\n")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise not_json(error, path, number) from error


def nearest_name(path: Path) -> str:
    """A hint for a path that does not exist: the nearest name beside it."""
    if not path.parent.is_dir():
        return f"no directory {path.parent}; correct the path"
    near = get_close_matches(path.name, sorted(p.name for p in path.parent.iterdir()), n=1, cutoff=0.0)
    return f"the nearest name there is {near[0]}" if near else f"{path.parent} is empty"


def _require_file(path: Path) -> None:
    if path.is_dir():
        raise DataError(f"{path}: is a directory; name a file in it")
    if not path.is_file():
        hint = nearest_name(path)
        raise DataError(f"{path}: no such file{', and ' if hint.startswith('no ') else '; '}{hint}")
    if _start(path).startswith(_POINTER):
        raise DataError(f"{path}: is a pointer of Git LFS, not the file itself; run git lfs pull where it was cloned")


def _start(path: Path) -> bytes:
    """The first bytes; none where it cannot be opened, which its reader says in its own words."""
    try:
        with path.open("rb") as file:
            return file.read(len(_POINTER))
    except OSError:
        return b""


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in json_lines(path):
        yield number, parse_line(line, path, number)


def _csv(path: Path) -> Iterator[tuple[int, Any]]:
    csv.field_size_limit(MAX_LINE)  # of this process; the module's own limit is shorter than a long trace
    reader = csv.reader((decode(line, path, number) for number, line in lines(path)), strict=True)
    columns: list[str] = []
    start = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            if "field limit" in str(error):
                raise too_long(path, start, "a cell that begins here") from error
            what = f"not valid CSV: {error}"
            raise DataError(f"{path}:{start}: {what}; correct the quotes in the row that begins here") from error
        if cells is None:
            return
        if cells and not columns:
            columns = _header(cells, path, start)
        elif cells:
            if len(cells) != len(columns):
                what = f"the row has {len(cells)} cells, but the first line names {len(columns)} columns"
                raise DataError(f"{path}:{start}: {what}; correct the row")
            yield start, dict(zip(columns, cells, strict=True))
        start = reader.line_num + 1


def _header(cells: list[str], path: Path, number: int) -> list[str]:
    names = [name.strip() for name in cells]
    if "" in names or len(set(names)) < len(names):
        what = "the first line names the columns, but one of them is empty or named twice"
        raise DataError(f"{path}:{number}: {what}: {', '.join(names)[:200]}; correct the line")
    return names


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    # With pre_buffer, which is the default, all that was read stays in memory until the file is closed.
    with _told(path, "Parquet") as rows, pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
        for batch in file.iter_batches(batch_size=_batch_rows(file.metadata)):
            yield from rows.of(batch)


def _arrow(path: Path) -> Iterator[tuple[int, Any]]:
    """Arrow's stream format, which `datasets.save_to_disk` and its cache write, or its file format (Feather)."""
    with _told(path, "Arrow") as rows, pa.memory_map(str(path)) as file:
        for batch in _arrow_batches(file):
            for start in range(0, batch.num_rows, _BATCH_ROWS):
                yield from rows.of(batch.slice(start, _BATCH_ROWS))


@dataclass(slots=True)
class _Rows:
    """The rows of a file of columns, counted from 1."""

    number: int = 0

    def of(self, batch: pa.RecordBatch) -> Iterator[tuple[int, Any]]:
        for row in batch.to_pylist():
            self.number += 1
            yield self.number, row


@contextmanager
def _told(path: Path, kind: str) -> Iterator[_Rows]:
    """What is wrong with a file of columns, after which of its rows."""
    rows = _Rows()
    try:
        yield rows
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: a text after row {rows.number} is not UTF-8; write the file again") from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as {kind}: {error}; write or download it again") from error
    except (ValueError, OverflowError) as error:  # a date that Python does not have
        what = f"a value after row {rows.number} cannot be read: {error}"
        raise DataError(f"{path}: {what}; leave out its column") from error


def _arrow_batches(file: pa.NativeFile) -> Iterator[pa.RecordBatch]:
    if file.read(6) == b"ARROW1":
        reader = pa.ipc.open_file(file)
        yield from (reader.get_batch(index) for index in range(reader.num_record_batches))
        return
    file.seek(0)
    yield from pa.ipc.open_stream(file)


def _batch_rows(metadata: pq.FileMetaData) -> int:
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    widest = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
    return max(1, min(_BATCH_ROWS, BATCH_BYTES // max(widest, 1)))


def _type_name(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


_TEXT_READERS = {".jsonl": _json_lines, ".json": lambda path: enumerate(json_array(path), start=1), ".csv": _csv}
_READERS = {**_TEXT_READERS, ".parquet": _parquet, ".arrow": _arrow}
KINDS = (*_READERS, *map("".join, product(_TEXT_READERS, CODECS)))
"""Endings of files that can be read."""
