"""Where the steps' work is done: Daft data frames, on this machine's own engine or on a Ray cluster.

A function of one row, or of a batch of texts, is handed to Daft and runs wherever Daft runs it. What comes back is
ordered by row number, and decisions that need all rows at once (which copy stays, which rows are chosen) are made here
from a few bytes a row; so the result is the same on every engine, byte for byte.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import daft
import numpy as np
import pyarrow as pa
from daft import DataType, Series, col
from numpy.typing import NDArray

from openklear.curation.table import Table, row_of
from openklear.data.rows import Rule

if TYPE_CHECKING:
    from openklear.curation.contamination import Match

T = TypeVar("T")

MARKS = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
    ]
)
"""What a step says of the rows that go, by ascending row number."""
BATCH = 8192
LOST_NODES = 2
"""How often work on a cluster is done again after an error."""
MATCHED_AT_ONCE = 32768
LARGE_AT_ONCE = 256
"""Rows at once where they bring their responses or tests."""
LARGE = frozenset({"response", "tests", "solution"})
_MARK = DataType.struct({"reason": DataType.string(), "detail": DataType.string()})
_MATCH = DataType.struct(
    {"item": DataType.string(), "score": DataType.float64(), "matched": DataType.string(), "kind": DataType.string()}
)

os.environ.setdefault("DAFT_PROGRESS_BAR", "0")  # ours are shown instead
daft.set_execution_config(scantask_max_parallel=2)  # files in memory at once: rows may be long


class Matcher(Protocol):
    """Finds a batch of prompts among a benchmark's items."""

    def match(self, texts: Sequence[str]) -> Sequence[Match | None]:
        """For each text, the item it holds."""
        ...


def collected(frame: daft.DataFrame) -> pa.Table:
    """What a frame holds."""
    return persistent(daft.DataFrame.to_arrow, frame)


def persistent(work: Callable[[daft.DataFrame], T], frame: daft.DataFrame) -> T:
    """Do the work of a frame. On a cluster that loses nodes it is done again, a few times."""
    tries = LOST_NODES if daft.get_or_infer_runner_type() == "ray" else 0
    while True:
        try:
            return work(frame)
        except Exception as error:  # Ray and Daft have no common class for a lost worker; the last one is shown
            if not tries:
                raise
            tries -= 1
            warnings.warn(f"the cluster lost work, which is done again: {type(error).__name__}: {error}", stacklevel=2)


def marks(rows: Sequence[int] | NDArray[np.int64], reasons: Sequence[str], details: Sequence[str]) -> pa.Table:
    """A step's answer, put in order."""
    table = pa.table(
        [pa.array(rows, pa.int64()), pa.array(reasons, pa.string()), pa.array(details, pa.string())], MARKS
    )
    return table.sort_by("row")


def ask(table: Table, rule: Rule, columns: Sequence[str]) -> pa.Table:
    """Ask a rule about every living row, of which it sees `columns` alone; the marks of those that go."""

    @daft.func.batch(return_dtype=_MARK, unnest=False, batch_size=LARGE_AT_ONCE if LARGE & {*columns} else BATCH)
    def answers(*found: Series) -> pa.Array:
        told = [rule(row_of(dict(zip(columns, values, strict=True)))) for values in _values(found)]
        said = [None if answer is None else {"reason": answer[0], "detail": answer[1]} for answer in told]
        return pa.array(said, _MARK.to_arrow_dtype())

    mark = answers(*(col(name) for name in columns)).alias("mark")
    frame = table.frame(*columns).select("row", mark).where(col("mark").not_null())
    frame = frame.select("row", col("mark").get("reason").alias("reason"), col("mark").get("detail").alias("detail"))
    return collected(frame).cast(MARKS).sort_by("row")


def match(table: Table, matcher: Matcher) -> pa.Table:
    """Look up every living row's prompt: row, item, score, matched, kind of those that are found, in order."""

    @daft.func.batch(return_dtype=_MATCH, unnest=False, batch_size=MATCHED_AT_ONCE)
    def found(text: Series) -> pa.Array:
        told = matcher.match(text.to_arrow().to_pylist())
        said = [m and {"item": m.item, "score": m.score, "matched": m.text, "kind": m.kind} for m in told]
        return pa.array(said, _MATCH.to_arrow_dtype())

    frame = table.frame("text").select("row", found(col("text")).alias("m")).where(col("m").not_null())
    names = ("item", "score", "matched", "kind")
    return collected(frame.select("row", *(col("m").get(name).alias(name) for name in names))).sort_by("row")


def keys(
    table: Table, columns: Sequence[str], function: Callable[..., NDArray[np.uint64]], width: int
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """(n,) numbers of the living rows in order, and (n, width) keys that `function` makes of Arrow columns."""
    kind = DataType.fixed_size_list(DataType.uint64(), width)

    at_once = LARGE_AT_ONCE if LARGE & {*columns} else MATCHED_AT_ONCE

    @daft.func.batch(return_dtype=kind, unnest=False, batch_size=at_once)
    def made(*found: Series) -> pa.Array:
        flat = function(*(series.to_arrow() for series in found)).reshape(-1)
        return pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.uint64()), width)

    key = made(*(col(name) for name in columns)).alias("key")
    return lists(table.frame(*columns).select("row", key), "key")


def vectors(
    table: Table, function: Callable[[Sequence[str]], NDArray[np.float32]], width: int, path: Path
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(n,) numbers of the living rows in order and (n, width) embeddings of their prompts, mapped from a new file."""
    kind = DataType.fixed_size_list(DataType.float32(), width)

    @daft.func.batch(return_dtype=kind, unnest=False, batch_size=BATCH)
    def made(text: Series) -> pa.Array:
        flat = function(text.to_arrow().to_pylist()).reshape(-1)
        return pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), width)

    rows = table.numbers()
    mapped = np.lib.format.open_memmap(path, "w+", np.float32, (len(rows), width))

    def filled(frame: daft.DataFrame) -> None:
        for batch in frame.to_arrow_iter():
            places = np.searchsorted(rows, batch.column("row").to_numpy())
            mapped[places] = batch.column("vector").flatten().to_numpy(zero_copy_only=False).reshape(-1, width)

    persistent(filled, table.frame("text").select("row", made(col("text")).alias("vector")))
    return rows, mapped


def each(function: Callable[[str], str], items: Sequence[str], *, ray: bool, done: Callable[[], object]) -> list[str]:
    """Call a function of text for every item, in processes or on the cluster; the answers in the items' order."""
    if not ray:
        with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
            futures = [pool.submit(function, item) for item in items]
            for _ in as_completed(futures):
                done()
            return [future.result() for future in futures]

    @daft.func(return_dtype=DataType.string())
    def called(item: str) -> str:
        return function(item)

    frame = daft.from_pydict({"place": list(range(len(items))), "item": list(items)}).into_partitions(len(items))
    said = collected(frame.select("place", called(col("item")).alias("said"))).sort_by("place")["said"].to_pylist()
    for _ in said:
        done()
    return list(said)


def lists(frame: daft.DataFrame, column: str) -> tuple[NDArray[np.int64], Any]:
    """Row numbers in order, and a column of fixed-size lists beside them as a matrix."""
    found = collected(frame)
    rows, width = found["row"].to_numpy(), found.schema.field(column).type.list_size
    order = np.argsort(rows, kind="stable")
    parts = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in found[column].chunks]
    flat = np.concatenate(parts) if parts else np.zeros(0)
    return rows[order], flat.reshape(-1, width)[order]


def _values(found: Sequence[Series]) -> Iterable[tuple[Any, ...]]:
    return zip(*(series.to_arrow().to_pylist() for series in found), strict=True)
