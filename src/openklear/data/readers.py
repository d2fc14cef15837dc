"""Files of rows: JSON lines, a JSON array or Parquet, the JSON ones also gzipped.

`read_rows` yields what stands in the file; `openklear.data.shapes` says what it means.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from openklear.errors import DataError

KINDS = (".jsonl", ".json", ".parquet", ".jsonl.gz", ".json.gz")
_BATCH_ROWS = 1024
_BLANK = b" \t\r\n\xef\xbb\xbf"
"""What a blank line may hold: a file's first may begin with a byte order mark."""


def read_rows(path: Path, name: str | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (`name:number`, row) of every row; the number counts lines (JSON lines) or rows (the others) from 1.

    `name` stands for the path in `where`, so that stored rows need not hold a machine's paths. Raises DataError for a
    missing, empty or malformed file, with the line.
    """
    kind = _kind(path)
    _require_file(path)
    shown = name or str(path)
    found = False
    numbered = {".parquet": _parquet, ".json": _json_array, ".jsonl": _json_lines}[kind](path)
    for number, row in numbered:
        found = True
        if not isinstance(row, dict):
            what = f"{_type_name(row)} stands where a row (a JSON object) is expected"
            raise DataError(f"{path}:{number}: {what}; write one object a row")
        yield f"{shown}:{number}", row
    if not found:
        raise DataError(f"{path}: the file holds no rows; put rows into it or take the source out of the recipe")


def _kind(path: Path) -> str:
    kind = "".join(path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:])
    if kind not in KINDS:
        raise DataError(f"{path}: cannot tell the kind of file from its name; known endings: {', '.join(KINDS)}")
    return kind.removesuffix(".gz")


def _require_file(path: Path) -> None:
    if path.is_file():
        return
    if path.is_dir():
        raise DataError(f"{path}: is a directory; name a file in it")
    if not path.parent.is_dir():
        raise DataError(f"{path}: no such file, and no directory {path.parent}; correct the path")
    names = sorted(p.name for p in path.parent.iterdir())
    near = get_close_matches(path.name, names, n=1, cutoff=0.0)
    hint = f"the nearest name there is {near[0]}" if near else f"{path.parent} is empty"
    raise DataError(f"{path}: no such file; {hint}")


def json_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (line number, bytes) of every line that is not blank; `parse_line` says what stands in it."""
    with _open(path) as file:
        number = 0
        try:
            for number, line in enumerate(file, start=1):
                if line.strip(_BLANK):
                    yield number, line
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise _torn(path, number + 1, error) from error


def parse_line(line: bytes, path: Path, number: int) -> Any:
    """The value of one line of a file of JSON lines; DataError, with the line, where it holds none."""
    return _parse(_decode(line, path, number).rstrip("\r\n"), path, number)


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in json_lines(path):
        yield number, parse_line(line, path, number)


def _json_array(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        with _open(path) as file:
            text = _decode(file.read(), path, 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _torn(path, 1, error) from error
    if not text.strip():
        return
    value = _parse(text, path, 1)
    if not isinstance(value, list):
        what = f"{_type_name(value)} stands where an array of rows is expected"
        raise DataError(f"{path}:1: {what}; name the file .jsonl if it holds one row a line")
    yield from enumerate(value, start=1)


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}; write or download it again") from error


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _decode(data: bytes, path: Path, number: int) -> str:
    try:
        return data.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        line = number + data[: error.start].count(b"\n")
        raise DataError(f"{path}:{line}: byte {error.start} is not UTF-8; save the file as UTF-8") from error


def _parse(text: str, path: Path, number: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = number + error.lineno - 1
        what = f"not valid JSON at column {error.colno}: {error.msg}"
        raise DataError(f"{path}:{line}: {what}; correct or remove the line") from error
    except RecursionError as error:
        raise DataError(f"{path}:{number}: JSON nested too deep; correct or remove the line") from error
    except ValueError as error:  # a whole number with thousands of digits
        raise DataError(f"{path}:{number}: not readable JSON: {error}; correct or remove the line") from error


def _torn(path: Path, number: int, error: Exception) -> DataError:
    return DataError(f"{path}:{number}: the gzip file is damaged ({error}); write or download it again")


def _type_name(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
