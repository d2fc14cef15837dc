"""Encoded demonstrations on disk: written row by row, read a batch at a time, so that memory never holds all of them.

A sealed directory (`durable.sealed`):

    tokens.bin   int32: the token ids of every row, end to end; one that is not trained as its complement, -1 - id
    ends.bin     int64: where each row ends in it
    place.json   the hashes of both, what the rows depend on (`key`), a hash over the rows in their order, and counts

Rows are read from the file and not through a memory map: mapped pages count as the process's memory, and a file that
was cut short would kill the process where a read can say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from openklear.durable.files import read_json, whole_directory
from openklear.durable.sealed import PLACE, fault, seal
from openklear.errors import DataError
from openklear.models.chat import EncodedDemonstration
from openklear.training.schedule import rows_hash

_TOKENS, _ENDS = "tokens.bin", "ends.bin"
_ID, _END = np.dtype("<i4"), np.dtype("<i8")


@dataclass(frozen=True, slots=True, eq=False)
class TokenFile:
    """The rows of a directory. Memory holds 8 bytes for each row, and the rows that were asked for."""

    directory: Path
    ends: NDArray[np.int64]  # (rows,)
    rows: str
    """`schedule.rows_hash` of the token ids of all rows."""
    counts: Mapping[str, int]
    """What was counted while the rows were made."""

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(rows,) tokens of each."""
        return np.diff(self.ends, prepend=0)

    def read(self, indices: Iterable[int]) -> list[EncodedDemonstration]:
        """Some rows, in the order given. DataError where the file has changed."""
        try:
            with open(self.directory / _TOKENS, "rb") as file:
                return [self._row(file, index) for index in indices]
        except OSError as error:
            raise DataError(f"{self.directory / _TOKENS} cannot be read: {error.strerror}; {_REMEDY}") from error

    def _row(self, file: BinaryIO, index: int) -> EncodedDemonstration:
        start, end = int(self.ends[index - 1]) if index else 0, int(self.ends[index])
        file.seek(start * _ID.itemsize)
        stored = np.frombuffer(file.read((end - start) * _ID.itemsize), _ID)  # (T,)
        if len(stored) < end - start:
            raise DataError(f"{self.directory / _TOKENS} ends before its row {index}; {_REMEDY}")
        mask = stored >= 0
        return EncodedDemonstration(np.where(mask, stored, -1 - stored).astype(np.int32), mask)


_REMEDY = "run the same command again, and the rows are encoded again"


def write_rows(
    directory: Path,
    rows: Iterable[EncodedDemonstration],
    *,
    key: str,
    seed: int,
    counts: Callable[[], Mapping[str, int]],
) -> TokenFile:
    """Write rows as they come; the directory is there, whole, once all are. `counts` is asked after the last one."""
    with whole_directory(directory) as partial:
        with open(partial / _TOKENS, "wb") as tokens, open(partial / _ENDS, "wb") as ends:
            hashed = rows_hash(seed, map(_Writer(tokens, ends).add, rows))
        seal(partial, {"key": key, "rows": hashed, "counts": counts()})
    return _opened(directory)


@dataclass(slots=True)
class _Writer:
    """Two files that grow by a row at a time."""

    tokens: BinaryIO
    ends: BinaryIO
    end: int = 0

    def add(self, row: EncodedDemonstration) -> bytes:
        """Write a row; the bytes of its ids."""
        ids = row.ids.astype(_ID)
        self.tokens.write(np.where(row.loss_mask, ids, -1 - ids).astype(_ID).tobytes())
        self.end += len(ids)
        self.ends.write(np.asarray([self.end], _END).tobytes())
        return ids.tobytes()


def written_rows(directory: Path, key: str) -> TokenFile | str | None:
    """The rows that were written for this key; else why they cannot be used; None where there are none.

    Reads all of them once, to hold them against their hash.
    """
    if not directory.is_dir():
        return None
    if (wrong := fault(directory)) is not None:
        return wrong
    if read_json(directory / PLACE).get("key") != key:
        return f"{directory} was made for other rows, or by other code"
    return _opened(directory)


def _opened(directory: Path) -> TokenFile:
    facts = read_json(directory / PLACE)
    return TokenFile(directory, np.fromfile(directory / _ENDS, _END), facts["rows"], facts["counts"])
