"""Rows on their way through curation, on disk: Parquet parts that are written once, and one bit per row that says
whether it is still alive.

A step never copies rows. It is given a `RowTable`, reads the columns it needs and answers which rows go; the table then
forgets them. So the memory of a run is what it keeps for each row (a bit, and while a step works its keys), never the
texts, and a finished step is a small file.

A row's number is `part * 2**40 + place in the part`. Parts are in the order of the recipe's sources and their files,
so that the smaller number is the copy that comes first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import daft
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from daft import DataType, Series, col
from numpy.typing import NDArray

from openklear.data.rows import Row, prompt_text
from openklear.data.store import PROBLEM_SCHEMA, problem_columns, problem_of
from openklear.verifiers.domains import DOMAINS

PART_BITS = 40
ROW_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        *PROBLEM_SCHEMA,
        pa.field("response", pa.string()),
        pa.field("where", pa.string(), nullable=False),
        pa.field("solution", pa.string()),
        pa.field("teacher", pa.string()),
        pa.field("claimed", pa.bool_()),
    ]
)
"""`text` is the prompt as steps look at it (`rows.prompt_text`)."""
ROW_COLUMNS = tuple(name for name in ROW_SCHEMA.names if name not in ("row", "text"))
FILE_ROWS, FILE_BYTES = 8192, 16 << 20
"""A file has no more of either, unless one row is larger: it is what is in memory at once."""
BATCH_ROWS = 4096


@dataclass(frozen=True, slots=True)
class RowPart:
    """The rows of one source file, in files of at most `FILE_BYTES`: two or three are in memory at once."""

    directory: Path
    counts: tuple[int, ...]
    """Rows in each file."""
    source: str

    @property
    def files(self) -> list[tuple[Path, int, int]]:
        """The files in order, each with the place of its first row in the part and that behind its last one."""
        ends = zip(self.counts, accumulate(self.counts), strict=True)
        return [(self.directory / file_name(index), end - rows, end) for index, (rows, end) in enumerate(ends)]


class RowTable:
    """The rows of one data set. Columns are those of `ROW_SCHEMA`; row numbers ascend everywhere."""

    def __init__(self, parts: Sequence[RowPart]):
        self.parts = tuple(parts)
        self.offsets = np.cumsum([0, *(sum(part.counts) for part in parts)], dtype=np.int64)
        self.alive = np.ones(self.offsets[-1], np.bool_)
        self.domains = _domains(self.parts)
        """(n,) index into DOMAINS of every row, dead or alive."""
        self.patches: dict[str, dict[int, Any]] = {}
        """Column -> row -> the value that replaces the file's; `batches`, `rows` and `lookup` show it."""

    def __len__(self) -> int:
        return int(self.alive.sum())

    def numbers(self) -> NDArray[np.int64]:
        """The numbers of the living rows, ascending."""
        return numbered(np.flatnonzero(self.alive), self.offsets)

    def dense(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places of row numbers in `alive` and in any array with one entry per row."""
        # (n,) start of the row's part, plus the low bits: its place in the part
        places: NDArray[np.int64] = self.offsets[rows >> PART_BITS] + (rows & (1 << PART_BITS) - 1)
        return places

    def drop(self, rows: NDArray[np.int64]) -> None:
        """Forget rows. Each must be alive and named once, or curation would count it twice."""
        places = self.dense(rows)
        assert self.alive[places].all(), "a step dropped a row that was dropped before"
        assert (np.diff(rows) > 0).all(), "a step dropped a row twice, or not in order"
        self.alive[places] = False

    def counts(self, rows: NDArray[np.int64]) -> dict[str, Counter[str]]:
        """How many of `rows` each source has of each domain that it has any of; sources in order."""
        names = list(DOMAINS)
        key = (rows >> PART_BITS) * len(DOMAINS) + self.domains[self.dense(rows)]
        counted: dict[str, Counter[str]] = {part.source: Counter() for part in self.parts}
        for one, count in zip(*np.unique(key, return_counts=True), strict=True):
            part, domain = divmod(int(one), len(DOMAINS))
            counted[self.parts[part].source][names[domain]] += int(count)
        return counted

    def sources(self, rows: NDArray[np.int64]) -> NDArray[np.object_]:
        """Name of the source of each row."""
        named: NDArray[np.object_] = np.asarray([part.source for part in self.parts], dtype=object)[rows >> PART_BITS]
        return named

    def frame(self, *columns: str) -> daft.DataFrame:
        """`row` and `columns` of the living rows, lazily, in no order and without patches."""
        paths: list[str] = []
        for part in self.parts:
            paths += [str(path) for path, _, _ in part.files]
        if not paths:
            empty = pa.schema([ROW_SCHEMA.field(name) for name in ("row", *columns)]).empty_table()
            return daft.from_arrow(empty)
        frame = daft.read_parquet(paths).select("row", *columns)
        return frame if self.alive.all() else frame.where(_living(self.alive, self.offsets)(col("row")))

    def batches(self, columns: Sequence[str], size: int = BATCH_ROWS) -> Iterator[pa.Table]:
        """`row` and `columns` of the living rows in order, at most `size` and one file at a time."""
        for part, offset in zip(self.parts, self.offsets[:-1], strict=True):
            for path, start, end in part.files:
                here = self.alive[offset + start : offset + end]
                if here.any():
                    found = self._patched(_read(path, columns).filter(pa.array(here)))
                    yield from (found.slice(at, size) for at in range(0, found.num_rows, size))

    def rows(
        self, columns: Sequence[str] = ROW_COLUMNS, size: int = BATCH_ROWS
    ) -> Iterator[tuple[list[int], list[Row]]]:
        """The living rows as values with their numbers, at most `size` at a time; columns left out are empty."""
        for batch in self.batches(columns, size):
            yield batch["row"].to_pylist(), [row_of(columns) for columns in batch.to_pylist()]

    def lookup(self, rows: NDArray[np.int64], *columns: str) -> pa.Table:
        """`row` and `columns` of the given rows, dead or alive, in their order; a row may be named twice."""
        wanted, place = np.unique(rows, return_inverse=True)  # wanted[place] == rows
        schema = pa.schema([ROW_SCHEMA.field(name) for name in ("row", *columns)])
        found = [schema.empty_table()]
        for index in np.unique(wanted >> PART_BITS):
            # places inside this part, ascending
            inside = wanted[wanted >> PART_BITS == index] & (1 << PART_BITS) - 1
            for path, start, end in self.parts[index].files:
                low, high = np.searchsorted(inside, (start, end))
                if low < high:
                    found.append(_read(path, columns).take(pa.array(inside[low:high] - start)))
        return self._patched(pa.concat_tables(found).take(pa.array(place)))

    def values(self, rows: NDArray[np.int64]) -> list[Row]:
        """The given rows as values, as `lookup` finds them."""
        return [row_of(columns) for columns in self.lookup(rows, *ROW_COLUMNS).to_pylist()]

    def texts(self, rows: NDArray[np.int64]) -> list[str]:
        """The prompts of the given rows, as `lookup` finds them."""
        return list(self.lookup(rows, "text")["text"].to_pylist())

    def _patched(self, table: pa.Table) -> pa.Table:
        for column in self.patches.keys() & {*table.column_names}:
            patch, field = self.patches[column], ROW_SCHEMA.field(column)
            values = zip(table["row"].to_pylist(), table[column].to_pylist(), strict=True)
            patched = pa.array([patch.get(row, value) for row, value in values], field.type)
            table = table.set_column(table.column_names.index(column), field, patched)
        return table


def numbered(places: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Row numbers of places in an array with one entry per row."""
    part = np.searchsorted(offsets, places, side="right") - 1  # (n,) the last part that starts at or before it
    found: NDArray[np.int64] = (part << PART_BITS) + (places - offsets[part])
    return found


def _read(path: Path, columns: Sequence[str]) -> pa.Table:
    """`row` and `columns` of a file."""
    with pq.ParquetFile(path, pre_buffer=False) as file:
        return file.read(["row", *columns])


class PartWriter:
    """Writes one part into an empty directory, in bounded memory; the caller makes the directory whole."""

    def __init__(self, directory: Path, index: int):
        self._directory = directory
        self._first = index << PART_BITS
        self._waiting: list[dict[str, Any]] = []
        self._bytes = self._rows = 0
        self.counts: list[int] = []
        """Rows in each file so far."""

    def write(self, row: Row) -> int:
        """Add a row; its place in the part."""
        place, columns = self._rows, row_columns(row)
        self._waiting.append({"row": self._first + place, **columns})
        self._bytes += sum(len(str(value)) for value in columns.values())  # about
        self._rows += 1
        if len(self._waiting) == FILE_ROWS or self._bytes >= FILE_BYTES:
            self.close()
        return place

    def close(self) -> None:
        """Write what waits."""
        if self._waiting:
            path = self._directory / file_name(len(self.counts))
            table = pa.Table.from_pylist(self._waiting, schema=ROW_SCHEMA)
            pq.write_table(table, path, compression="zstd", version="2.6")
            self.counts.append(len(self._waiting))
            self._waiting, self._bytes = [], 0


def file_name(index: int) -> str:
    """Name of a part's file."""
    return f"{index:05d}.parquet"


def _domains(parts: Sequence[RowPart]) -> NDArray[np.int8]:
    found = [np.zeros(0, np.int8)]
    for part in parts:
        for path, _, _ in part.files:
            domains = _read(path, ("domain",))["domain"]
            found.append(pc.index_in(domains, pa.array(list(DOMAINS))).to_numpy().astype(np.int8))
    return np.concatenate(found)


def row_columns(row: Row) -> dict[str, Any]:
    """A row as the columns of `ROW_SCHEMA` but its number."""
    more = {name: getattr(row, name) for name in ("response", "where", "solution", "teacher", "claimed")}
    return {"text": prompt_text(row.problem), **problem_columns(row.problem), **more}


def row_of(columns: Mapping[str, Any]) -> Row:
    """A row of the columns that are there; the others are empty."""
    more = {name: columns.get(name) for name in ("response", "solution", "teacher", "claimed")}
    return Row(problem_of(columns), columns.get("where") or "", **more)


def _living(alive: NDArray[np.bool_], offsets: NDArray[np.int64]) -> Any:
    """A Daft function of row numbers: whether the row lives. It carries one bit per row to the workers."""
    bits = np.packbits(alive)

    @daft.func.batch(return_dtype=DataType.bool())
    def living(row: Series) -> pa.Array:
        numbers = np.asarray(row.to_arrow())
        places = offsets[numbers >> PART_BITS] + (numbers & (1 << PART_BITS) - 1)
        # the byte of each place, and in it the bit, the first one highest
        return pa.array((bits[places >> 3] >> (7 - (places & 7)) & 1).astype(np.bool_))

    return living
