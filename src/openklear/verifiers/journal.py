"""Verdicts by key: in memory, and in an append-only file where one is given."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from openklear.errors import DataError
from openklear.think import FormatFault
from openklear.types import Outcome, Verdict


class Journal:
    """A mapping of keys to verdicts (without `format_fault` and `seconds`, which are not theirs). Any thread may call.

    The file holds one JSON object a line. One `add` is one write and one fsync; a line torn by a kill is cut off when
    the file is opened again. One process writes at a time: the run directory's lock sees to that.
    """

    def __init__(self, path: Path | None):
        """Reads what is there. DataError where a line other than the last is not a verdict."""
        self._known: dict[str, Verdict] = {}
        self._path = path
        self._file: BinaryIO | None = None
        self._writing = threading.Lock()
        if path is not None:
            self._load(path)

    def _load(self, path: Path) -> None:
        if not path.exists():
            return
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(path, whole)
        for number, line in enumerate(data[:whole].splitlines(), start=1):
            try:
                row = json.loads(line)
                extracted = row.get("extracted")
                self._known[row["key"]] = Verdict(
                    Outcome(row["outcome"]),
                    str(row["reason"]),
                    None if extracted is None else str(extracted),
                    int(row["passed"]),
                    int(row["total"]),
                )
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"{path}:{number}: not a verdict ({error}). Remove the file: its verdicts are then found again."
                ) from error

    def get(self, key: str) -> Verdict | None:
        """The verdict of that key; None where it is not known."""
        return self._known.get(key)

    def add(self, verdicts: Mapping[str, Verdict]) -> None:
        """Remembers verdicts; they are on disk when this returns. The order of the lines is that of the keys."""
        if not verdicts:
            return
        with self._writing:
            rows = []
            for key in sorted(verdicts):
                verdict = verdicts[key]
                self._known[key] = replace(verdict, format_fault=FormatFault.NONE, seconds=0.0)
                row: dict[str, str | int] = {"key": key, "outcome": verdict.outcome.value, "reason": verdict.reason}
                row |= {"passed": verdict.passed, "total": verdict.total}
                if verdict.extracted is not None:
                    row["extracted"] = verdict.extracted
                rows.append(json.dumps(row) + "\n")
            self._write("".join(rows))

    def _write(self, text: str) -> None:
        if self._path is None:
            return
        if self._file is None:
            self._file = self._path.open("ab")
        self._file.write(text.encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file; again is harmless."""
        if self._file is not None:
            self._file.close()
            self._file = None
