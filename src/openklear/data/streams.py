"""Bytes of files, compressed or not, in bounded memory; a damaged file becomes a DataError with the line."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from openklear.errors import DataError

MAX_LINE = 64 << 20
"""Longest line, CSV cell or element of a JSON array in bytes; anything longer is refused before it fills the memory."""


def open_stream(path: Path) -> BinaryIO:
    """The file's bytes, decompressed by the name's ending; DataError where it cannot be opened."""
    try:
        return cast(BinaryIO, CODECS[path.suffix][1](path)) if path.suffix in CODECS else path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror or error}); correct its permissions") from error


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (number from 1, bytes with their line end) of every line, none longer than MAX_LINE."""
    number = 0
    with open_stream(path) as file:
        while True:
            number += 1
            with reading(path, number):
                line = file.readline(MAX_LINE + 1)
            if not line:
                return
            if len(line) > MAX_LINE:
                raise too_long(path, number, "the line")
            yield number, line


def too_long(path: Path, number: int, what: str) -> DataError:
    """The error for what is longer than MAX_LINE."""
    return DataError(f"{path}:{number}: {what} is longer than {MAX_LINE >> 20} MiB; split or remove it")


def decode(data: bytes, path: Path, number: int) -> str:
    """The text of a line; DataError where it is not UTF-8. A byte order mark before the first line is left out."""
    try:
        return data.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise not_utf8(path, number, error.start) from error


def not_utf8(path: Path, number: int, byte: int) -> DataError:
    """The error for a byte (counted from 0) that is not UTF-8."""
    return DataError(f"{path}:{number}: byte {byte} is not UTF-8; save the file as UTF-8")


def not_json(error: Exception, path: Path, number: int, before: int = 0) -> DataError:
    """The error for what the module json refused, in a text with so many letters before it on its line."""
    if isinstance(error, json.JSONDecodeError):
        what = f"not valid JSON at column {error.colno + before}: {error.msg}"
    elif isinstance(error, RecursionError):
        what = "JSON nested too deeply"
    else:  # a whole number with thousands of digits
        what = f"not readable JSON: {error}"
    return DataError(f"{path}:{number}: {what}; correct or remove the line")


@contextmanager
def reading(path: Path, number: int) -> Iterator[None]:
    """Around every read of a stream: a damaged file becomes a DataError that names the line it stopped at."""
    try:
        yield
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        what = f"the {CODECS[path.suffix][0]} file is damaged" if path.suffix in CODECS else "the file cannot be read"
        raise DataError(f"{path}:{number}: {what} ({error}); write or download it again") from error


def _zstd(path: Path) -> Any:
    return io.BufferedReader(pa.input_stream(path.open("rb"), compression="zstd"), 1 << 20)


CODECS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    ".gz": ("gzip", gzip.open),
    ".bz2": ("bzip2", bz2.open),
    ".xz": ("xz", lzma.open),
    ".zst": ("zstd", _zstd),
}
"""Ending -> the format's name, and what opens a file of it for reading."""
