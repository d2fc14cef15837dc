"""An evaluation that is looked at while it may still be growing: read once, then only what was added."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from openklear.durable.files import read_json
from openklear.errors import DataError, OpenKlearError
from openklear.evaluation.stored import PROMPTS, SAMPLES, SETTINGS, Asked, Place, Sample, Stored, read_asked, sample_of


class Since(NamedTuple):
    """What somebody has seen of an evaluation."""

    generation: str
    """Another one where the samples before are no longer the same."""
    samples: int


class Snapshot(NamedTuple):
    """An evaluation as it was when it was looked at."""

    stored: Stored
    problems: list[Place]
    """Those asked, in order, then any other that has a sample: a problem keeps its place while the samples grow."""
    seen: Since
    faults: tuple[str, ...]
    """What could not be read, and is missing here."""

    def sample(self, problem: int, number: int) -> Sample:
        """The last verdict on a completion, by the place of its problem. DataError where there is none."""
        if 0 <= problem < len(self.problems):
            place = self.problems[problem]
            for one in reversed(self.stored.samples):
                if one.sample == number and one.place == place:
                    return one
        raise DataError(f"{self.stored.directory}: has no sample {number} of its problem {problem}; reload the page")

    def since(self, seen: Since | None) -> int:
        """From which sample on somebody needs them."""
        known = seen is not None and seen.generation == self.seen.generation and seen.samples <= self.seen.samples
        return seen.samples if seen is not None and known else 0


class Growing:
    """Reads an evaluation's small files as they change; the texts stay on disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = Lock()
        self._stamp: tuple[object, ...] = ()
        self._settings: dict[str, Any] = {}
        self._asked: dict[Place, Asked] = {}
        self._head_faults: tuple[str, ...] = ()
        self._file: object = None
        self._begin()

    def _begin(self) -> None:
        self._samples: list[Sample] = []
        self._places: dict[Place, None] = dict.fromkeys(self._asked)
        self._offset = 0
        self._fault = ""
        self._generation = f"{time.time_ns():x}"

    def look(self) -> Snapshot:
        """It as it is now. DataError where its directory is gone."""
        with self._lock:
            if not self.directory.is_dir():
                raise DataError(f"{self.directory}: is not there any more; look at another one")
            self._head()
            self._grow()
            faults = (*self._head_faults, *([self._fault] if self._fault else []))
            stored = Stored(self.directory, self._settings, self._asked, list(self._samples))
            return Snapshot(stored, list(self._places), Since(self._generation, len(self._samples)), faults)

    def _head(self) -> None:
        """Settings and prompts, where they changed; another set of problems is another evaluation."""
        stamp = tuple(map(_identity, (self.directory / SETTINGS, self.directory / PROMPTS)))
        if stamp == self._stamp:
            return
        faults = []
        asked: dict[Place, Asked] = {}
        try:
            self._settings = _document(self.directory / SETTINGS)
        except OpenKlearError as error:
            faults.append(str(error))
        try:
            asked = read_asked(self.directory / PROMPTS)
        except OpenKlearError as error:
            faults.append(str(error))
        if list(asked) != list(self._asked):
            self._asked = asked
            self._begin()
        self._asked, self._stamp, self._head_faults = asked, stamp, tuple(faults)

    def _grow(self) -> None:
        path = self.directory / SAMPLES
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())  # of what is read: a rename may have put another file there since
                identity = status.st_ino
                if identity != self._file or status.st_size < self._offset:  # it was put in order, or begun again
                    self._file = identity
                    self._begin()
                if self._fault:
                    return
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:  # nothing has been judged yet
            if self._samples:
                self._begin()
            return
        except OSError as error:
            self._fault = f"{path}: cannot be read: {error}"
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._take(path, whole.split(b"\n")[:-1])
        self._offset += len(whole)

    def _take(self, path: Path, lines: Iterable[bytes]) -> None:
        for line in lines:
            try:
                sample = sample_of(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                number = len(self._samples) + 1
                what = f"{path}:{number}: is no row of an evaluation ({type(error).__name__}: {str(error)[:200]})"
                self._fault = f"{what}; the rows after it are not shown. Evaluate again, or restore the file"
                return
            self._samples.append(sample)
            self._places.setdefault(sample.place)


def _document(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise DataError(f"{path}: a JSON object was expected; restore the file")
    return found


def _identity(path: Path) -> tuple[object, ...]:
    try:
        found = path.stat()
    except OSError:
        return (None,)
    return found.st_ino, found.st_size, found.st_mtime_ns
