"""A file of JSON lines that only grows, so that a killed process loses nothing that it had added.

One `add` is one write and one fsync. A line torn by a kill is cut off when the file is opened again. One process writes
at a time (the lock of its directory sees to that); any of its threads may call. Texts stay on disk: memory holds no
row, and for rows that are found again by a key the key and a place.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, Self, TypeVar

from openklear.durable.files import json_text
from openklear.errors import DataError

K = TypeVar("K")
Row = dict[str, Any]


class Span(NamedTuple):
    """Where a row stands in the file, in bytes."""

    start: int
    length: int


class Journal:
    """Rows in the order in which they were added. Use it as a context manager, or `close` it."""

    def __init__(self, path: Path, on_row: Callable[[Row, Span], None] = lambda row, span: None):
        """Opens or makes the file; `on_row` gets every row that is there already.

        DataError, with the line, where one is not a JSON object or `on_row` raises ValueError, KeyError or TypeError.
        """
        self.path = path
        self._count = self._end = 0
        self._synced = True
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            self._load(on_row)
        except BaseException:
            self.close()
            raise

    def _load(self, on_row: Callable[[Row, Span], None]) -> None:
        for line in self._lines():
            try:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise TypeError("it is not a JSON object")
                on_row(row, Span(self._end, len(line)))
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"{self.path}:{self._count + 1}: not a line that openklear wrote ({error}); remove the line, "
                    "and what it held is found again"
                ) from error
            self._count += 1
            self._end += len(line)
        os.ftruncate(self._file, self._end)

    def _lines(self) -> Iterator[bytes]:
        """The whole lines of the file; one that a kill tore is not among them."""
        with self.path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line

    def add(self, rows: Sequence[Row], *, sync: bool = True) -> list[Span]:
        """Writes rows; they outlive the machine's power when this returns. Their places in the file.

        Without `sync` they outlive this process alone, until the next `add` with it, or `close`.
        """
        lines = [f"{json_text(row)}\n".encode() for row in rows]
        with self._lock:
            spans, end = [], self._end
            for line in lines:
                spans.append(Span(end, len(line)))
                end += len(line)
            self._write(b"".join(lines), sync)
            self._end, self._count = end, self._count + len(lines)
        return spans

    def _write(self, data: bytes, sync: bool) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
            if sync:
                os.fsync(self._file)
            self._synced = sync
        except OSError:  # the disk is full: a later line must not be glued to half of this one
            os.ftruncate(self._file, self._end)
            raise

    def read(self, span: Span) -> Row:
        """The row at a place."""
        row: Row = json.loads(os.pread(self._file, span.length, span.start))
        return row

    def __iter__(self) -> Iterator[Row]:
        for line in self._lines():
            yield json.loads(line)

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        """Closes the file; again is harmless."""
        if self._file >= 0:
            if not self._synced:
                os.fsync(self._file)
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class KeyedJournal(Generic[K]):
    """A journal whose rows are found again by a key; of several rows with one key the last counts."""

    def __init__(self, path: Path, key: Callable[[Row], K], on_row: Callable[[K, Row], None] = lambda key, row: None):
        """`key` reads a row's key, and `on_row` gets every row that is there already: see `Journal`."""
        self._key, self._on_row = key, on_row
        self._spans: dict[K, Span] = {}
        self._journal = Journal(path, self._seen)

    def _seen(self, row: Row, span: Span) -> None:
        key = self._key(row)
        self._on_row(key, row)
        self._spans[key] = span

    def add(self, rows: Sequence[Row]) -> None:
        """Writes rows; they outlive the machine's power when this returns."""
        for row, span in zip(rows, self._journal.add(rows), strict=True):
            self._spans[self._key(row)] = span

    def get(self, key: K) -> Row | None:
        """The row of a key; None where there is none."""
        span = self._spans.get(key)
        return None if span is None else self._journal.read(span)

    def __contains__(self, key: K) -> bool:
        return key in self._spans

    def __iter__(self) -> Iterator[K]:
        return iter(tuple(self._spans))

    def __len__(self) -> int:
        return len(self._spans)

    def close(self) -> None:
        """Closes the file; again is harmless."""
        self._journal.close()
