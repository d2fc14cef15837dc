"""A file of JSON lines that only grows: what was added is found again by its key, after a kill too.

A line is written as soon as it is added, so that a killed process loses none; `sync` brings groups of them to the disk,
so that a power cut costs a second's worth. A line torn by a kill is cut off when the file is opened again. Texts stay
on disk: memory holds a key and a place for each line.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

from openklear.errors import DataError

K = TypeVar("K")


class Lines(Generic[K]):
    """Rows by key; of several with one key the last counts. Any thread may call. One process writes at a time."""

    def __init__(self, path: Path, key: Callable[[dict[str, Any]], K], seen: Callable[[K, dict[str, Any]], None]):
        """Opens or makes the file. `key` reads a row's key, `seen` is told of every row that is there already.

        DataError, with the line, where one is no JSON object or lacks what its key is made of.
        """
        self.path = path
        self._places: dict[K, tuple[int, int]] = {}
        self._key = key
        self._lock = threading.Lock()
        self._unsynced = False
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            self._end = self._load(seen)
        except BaseException:
            self.close()
            raise

    def _load(self, seen: Callable[[K, dict[str, Any]], None]) -> int:
        end = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    os.ftruncate(self._file, end)
                    break
                try:
                    row = json.loads(line)
                    key = self._key(row)
                    seen(key, row)
                except (ValueError, KeyError, TypeError) as error:
                    raise DataError(
                        f"{self.path}:{number}: not a line that openklear distill wrote ({error}); remove the line, "
                        "and what it held is asked for again"
                    ) from error
                self._places[key] = end, len(line)
                end += len(line)
        return end

    def add(self, row: dict[str, Any]) -> None:
        """Writes a row; it outlives the process when this returns."""
        line = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode()
        with self._lock:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            self._places[self._key(row)] = self._end, len(line)
            self._end += len(line)
            self._unsynced = True

    def sync(self) -> None:
        """Brings what was added to the disk: it outlives the machine's power when this returns."""
        with self._lock:
            wanted, self._unsynced = self._unsynced, False
        if wanted:
            os.fsync(self._file)

    def get(self, key: K) -> dict[str, Any] | None:
        """The row of a key; None where there is none."""
        with self._lock:
            place = self._places.get(key)
        if place is None:
            return None
        row: dict[str, Any] = json.loads(os.pread(self._file, place[1], place[0]))
        return row

    def __contains__(self, key: K) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[K]:
        return iter(tuple(self._places))

    def __len__(self) -> int:
        return len(self._places)

    def close(self) -> None:
        """Syncs and closes; again is harmless."""
        if self._file >= 0:
            self.sync()
            os.close(self._file)
            self._file = -1
