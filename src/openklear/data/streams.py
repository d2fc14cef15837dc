"""Bytes of files, compressed or not, in bounded memory; a damaged file becomes a DataError with the line."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from openklear.errors import DataError

MAX_LINE = 64 << 20
"""Longest line, CSV cell or element of a JSON array in bytes; anything longer is refused before it fills the memory."""
_ZSTD_INPUT = 2048
"""Bytes given to zstd at once: it makes at most 32,768 of one, so that a bomb grows by 64 MiB at most."""


def open_stream(path: Path) -> BinaryIO:
    """The file's bytes, decompressed by the name's ending; DataError where it cannot be opened."""
    try:
        return CODECS[path.suffix](path) if path.suffix in CODECS else path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror or error}); correct its permissions") from error


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (number from 1, bytes with their line end) of every line, none longer than MAX_LINE."""
    number = 0
    with open_stream(path) as file:
        while True:
            with Reading(path, number + 1):
                line = file.readline(MAX_LINE + 1)
            if not line:
                return
            number += 1
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


class Reading:
    """Around every read of a stream: a damaged file becomes a DataError that names the line it stopped at."""

    def __init__(self, path: Path, number: int):
        self._path, self._number = path, number

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or not (isinstance(error, _DAMAGE) or _is_zstd_error(error)):
            return
        name = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}.get(self._path.suffix)
        what = f"the {name} file is damaged" if name else "the file cannot be read"
        raise DataError(f"{self._path}:{self._number}: {what} ({error}); write or download it again") from error


_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError)


def _is_zstd_error(error: BaseException) -> bool:
    """Whether zstandard raised it, which is imported only if a file needs it."""
    return type(error).__module__.startswith("zstandard") or type(error).__name__ == "ZstdError"


def _zstd(path: Path) -> BinaryIO:
    try:
        import zstandard
    except ImportError as error:
        raise DataError(f"{path}: reading zstd needs zstandard; run pip install zstandard") from error
    return cast(BinaryIO, io.BufferedReader(_Zstd(path.open("rb"), zstandard.ZstdDecompressor()), 1 << 20))


class _Zstd(io.RawIOBase):
    """Frames of zstd one after the other. The package's own reader does not notice that a file is cut off."""

    def __init__(self, file: BinaryIO, decompressor: Any):
        self._file, self._decompressor = file, decompressor
        self._frame: Any = None
        self._waiting = memoryview(b"")
        self._unused = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._waiting:
            if not self._fill():
                return 0
        size = min(len(buffer), len(self._waiting))
        buffer[:size], self._waiting = self._waiting[:size], self._waiting[size:]
        return size

    def _fill(self) -> bool:
        data = self._unused or self._file.read(_ZSTD_INPUT)
        if not data:
            if self._frame is not None:
                raise EOFError("it ends inside a frame")
            return False
        self._frame = self._frame or self._decompressor.decompressobj()
        self._waiting = memoryview(self._frame.decompress(data))
        self._unused = b""
        if self._frame.eof:
            self._unused, self._frame = self._frame.unused_data, None
        return True

    def close(self) -> None:
        self._file.close()
        super().close()


CODECS: dict[str, Callable[[Path], BinaryIO]] = {
    ".gz": lambda path: cast(BinaryIO, gzip.GzipFile(path, "rb")),
    ".bz2": lambda path: cast(BinaryIO, bz2.BZ2File(path)),
    ".xz": lambda path: cast(BinaryIO, lzma.LZMAFile(path)),  # noqa: SIM115
    ".zst": _zstd,
}
