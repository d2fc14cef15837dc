"""Files of other tools, opened: JSON documents, JSON lines and zips of JSON, which may be damaged or made to harm."""

from __future__ import annotations

import json
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from openklear.errors import DataError

LARGEST_MEMBER = 1 << 30
"""Bytes that one file in a zip may unpack to: a small zip can claim to hold terabytes."""


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A file with what is in it."""

    path: Path
    document: Any = None
    """Of a file that is one JSON document."""
    lines: tuple[tuple[int, dict[str, Any]], ...] = ()
    """(number, object) of JSON lines, or of the objects in a document's array; a document that is an object is one."""
    members: frozenset[str] = frozenset()
    """Names of the files in a zip."""

    def first(self) -> dict[str, Any]:
        """The first row; {} where there is none."""
        return self.lines[0][1] if self.lines else {}

    def rows(self) -> Iterator[dict[str, Any]]:
        """All rows, without their numbers."""
        return (row for _, row in self.lines)

    def member(self, name: str) -> Any:
        """A JSON file of a zip; DataError where it cannot be read."""
        try:
            with zipfile.ZipFile(self.path) as packed:
                info = packed.getinfo(name)
                if info.file_size > LARGEST_MEMBER:
                    size = f"{info.file_size:,} bytes"
                    raise DataError(f"{self.path}: {name} would unpack to {size}; at most 1 GiB is read")
                data = _zstandard(self.path, info) if info.compress_type == ZSTANDARD else packed.read(name)
        except (OSError, KeyError, NotImplementedError, RuntimeError, EOFError, ValueError, *_TORN) as error:
            raise DataError(f"{self.path}: {name} cannot be unpacked: {error}; copy the file again") from error
        return parsed(data, f"{self.path}: {name}")


_TORN = (zipfile.BadZipFile, zlib.error, struct.error)
ZSTANDARD = 93
"""How inspect_ai packs since 2026, and what Python's zipfile knows from 3.14 on alone."""


def _zstandard(path: Path, info: zipfile.ZipInfo) -> bytes:
    """A member that is packed by Zstandard; BadZipFile, OSError or ValueError where it is damaged."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        name_length, extra_length = struct.unpack("<26x2H", file.read(30))
        file.seek(name_length + extra_length, os.SEEK_CUR)
        packed = file.read(info.compress_size)
    with pa.CompressedInputStream(pa.BufferReader(packed), "zstd") as stream:
        data: bytes = stream.read(info.file_size + 1)
    if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
        raise zipfile.BadZipFile("it is not what was packed")
    return data


def open_file(path: Path) -> OpenedFile:
    """Reads a file whole, but for the members of a zip. DataError, with the place, where it is damaged."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if data[:2] == b"PK":
        return OpenedFile(path, members=_names(path))
    if not data.strip():
        raise DataError(f"{path}: is empty")
    try:
        document = parsed(data, str(path))
    except DataError as error:
        rows = tuple(_lines(data, path, error))
        return OpenedFile(path, lines=rows)
    return OpenedFile(path, document, tuple(_rows(document)))


def _rows(document: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Those of a document: itself, or its items; none where one of these is no object."""
    items = document if isinstance(document, list) else [document]
    if all(isinstance(one, dict) for one in items):
        yield from enumerate(items, 1)


def parsed(data: bytes, where: str) -> Any:
    """JSON as it is written, infinities and not-a-numbers included; DataError where it is none."""
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{where}:{error.lineno}: not valid JSON: {error.msg}") from error
    except RecursionError as error:
        raise DataError(f"{where}: nested too deeply to be read") from error
    except ValueError as error:  # a number of thousands of digits
        raise DataError(f"{where}: not valid JSON: {error}") from error


def _names(path: Path) -> frozenset[str]:
    try:
        with zipfile.ZipFile(path) as packed:
            return frozenset(packed.namelist())
    except (OSError, ValueError, NotImplementedError, *_TORN) as error:
        raise DataError(f"{path}: a zip that is damaged or not whole: {error}; copy the file again") from error


def _lines(data: bytes, path: Path, whole: DataError) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of JSON lines; where not even the first line is a row, `whole` says what is wrong with the file."""
    begun = False
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = parsed(line, str(path))
        except DataError as error:
            if not begun:
                raise whole from error
            said = str(error).removeprefix(f"{path}:1: ").removeprefix(f"{path}: ")
            raise DataError(f"{path}:{number}: {said}; mend or remove the line") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: a JSON object was expected, not {type(row).__name__}")
        begun = True
        yield number, row
