"""Where the steps' work is done: Daft data frames, on this machine's own engine or on a Ray cluster.

A function of a batch of rows is handed to Daft and runs wherever Daft runs it. What comes back is ordered by row
number, and decisions that need all rows at once (which copy stays, which rows are chosen) are made here from a few
bytes per row; so the result is the same on every engine, byte for byte.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import daft
import numpy as np
import pyarrow as pa
from daft import DataType, Series, col
from numpy.typing import NDArray

from openklear.curation.contamination import Match
from openklear.curation.rules import Rule
from openklear.curation.table import RowTable, row_of

T = TypeVar("T")
Item = TypeVar("Item")

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
"""How often work on a cluster is repeated after an error."""
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


def collected(frame: daft.DataFrame) -> pa.Table:
    """What a frame holds."""
    return persistent(daft.DataFrame.to_arrow, frame)


def persistent(work: Callable[[daft.DataFrame], T], frame: daft.DataFrame) -> T:
    """Do the work of a frame. On a cluster that loses nodes it is repeated, a few times."""
    tries = LOST_NODES if daft.get_or_infer_runner_type() == "ray" else 0
    while True:
        try:
            return work(frame)
        except Exception as error:  # Ray and Daft have no common class for a lost worker; the last one is shown
            if not tries:
                raise
            tries -= 1
            warnings.warn(f"the cluster lost work; it is repeated: {type(error).__name__}: {error}", stacklevel=2)


def marks(rows: Sequence[int] | NDArray[np.int64], reasons: Sequence[str], details: Sequence[str]) -> pa.Table:
    """A step's answer, put in order."""
    table = pa.table(
        [pa.array(rows, pa.int64()), pa.array(reasons, pa.string()), pa.array(details, pa.string())], MARKS
    )
    return table.sort_by("row")


def ask(table: RowTable, rule: Rule, columns: Sequence[str]) -> pa.Table:
    """Ask a rule about every living row, of which it sees `columns` alone; the marks of those that go."""

    def answers(*found: pa.Array) -> pa.Array:
        rows = zip(*(column.to_pylist() for column in found), strict=True)
        reasons = [rule(row_of(dict(zip(columns, values, strict=True)))) for values in rows]
        return pa.array([why and {"reason": why[0], "detail": why[1]} for why in reasons], _MARK.to_arrow_dtype())

    return _fields(_applied(table, columns, answers, _MARK, BATCH), "reason", "detail").cast(MARKS)


def match(table: RowTable, find: Callable[[Sequence[str]], Sequence[Match | None]]) -> pa.Table:
    """Look up every living row's prompt: row, item, score, matched, kind of those that are found, in order."""

    def found(texts: pa.Array) -> pa.Array:
        matches = find(texts.to_pylist())
        shown = [m and {"item": m.item, "score": m.score, "matched": m.text, "kind": m.kind} for m in matches]
        return pa.array(shown, _MATCH.to_arrow_dtype())

    frame = _applied(table, ("text",), found, _MATCH, MATCHED_AT_ONCE)
    return _fields(frame, "item", "score", "matched", "kind")


def keys(
    table: RowTable, columns: Sequence[str], function: Callable[..., NDArray[np.uint64]], width: int
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """(n,) numbers of the living rows in order, and (n, width) keys that `function` makes of Arrow columns."""

    kind = DataType.fixed_size_list(DataType.uint64(), width)
    return lists(_applied(table, columns, lambda *some: _listed(function(*some)), kind, MATCHED_AT_ONCE), "value")


def vectors(
    table: RowTable, function: Callable[[Sequence[str]], NDArray[np.float32]], width: int, path: Path
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(n,) numbers of the living rows in order and (n, width) embeddings of their prompts, mapped from a new file."""

    rows = table.numbers()
    mapped = np.lib.format.open_memmap(path, "w+", np.float32, (len(rows), width))

    def filled(frame: daft.DataFrame) -> None:
        for batch in frame.to_arrow_iter():
            places = np.searchsorted(rows, batch.column("row").to_numpy())  # batches arrive in any order
            mapped[places] = batch.column("value").flatten().to_numpy(zero_copy_only=False).reshape(-1, width)

    kind = DataType.fixed_size_list(DataType.float32(), width)
    persistent(filled, _applied(table, ("text",), lambda some: _listed(function(some.to_pylist())), kind, BATCH))
    return rows, mapped


def each(function: Callable[[Item], str], items: Sequence[Item], *, ray: bool, done: Callable[[], object]) -> list[str]:
    """Call a function for every item, in processes or on the cluster; the texts it returns, in the items' order."""
    if not ray:
        with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
            futures = [pool.submit(function, item) for item in items]
            for _ in as_completed(futures):
                done()
            return [future.result() for future in futures]

    @daft.func(return_dtype=DataType.string())
    def called(place: int) -> str:
        return function(items[place])

    frame = daft.from_pydict({"place": list(range(len(items)))}).into_partitions(len(items))
    answers = collected(frame.select("place", called(col("place")).alias("answer"))).sort_by("place")
    for _ in items:
        done()
    return list(answers["answer"].to_pylist())


def lists(frame: daft.DataFrame, column: str) -> tuple[NDArray[np.int64], Any]:
    """Row numbers in order, and a column of fixed-size lists beside them as a matrix."""
    found = collected(frame)
    rows, width = found["row"].to_numpy(), found.schema.field(column).type.list_size
    order = np.argsort(rows, kind="stable")
    # flat (n * width,), as (n, width) in the rows' order
    parts = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in found[column].chunks]
    flat = np.concatenate(parts) if parts else np.zeros(0)
    return rows[order], flat.reshape(-1, width)[order]


def _listed(matrix: NDArray[Any]) -> pa.Array:
    """(n, width) as n lists."""
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), matrix.shape[1])


def _applied(
    table: RowTable, columns: Sequence[str], function: Callable[..., pa.Array], kind: DataType, size: int
) -> daft.DataFrame:
    """`row`, and as `value` what `function` makes of Arrow columns of living rows, about `size` at once; lazily."""

    @daft.func.batch(return_dtype=kind, unnest=False, batch_size=LARGE_AT_ONCE if LARGE & {*columns} else size)
    def value(*found: Series) -> pa.Array:
        return function(*(series.to_arrow() for series in found))

    return table.frame(*columns).select("row", value(*(col(name) for name in columns)).alias("value"))


def _fields(frame: daft.DataFrame, *names: str) -> pa.Table:
    """Row numbers in order, and the fields of the values that are not null beside them."""
    found = frame.where(col("value").not_null())
    return collected(found.select("row", *(col("value").get(name).alias(name) for name in names))).sort_by("row")
