"""Single rows out of Parquet files of any size: some of each kind, chosen by the seed, and both ends of a rank."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from openklear.errors import DataError

TEXTS_AT_ONCE, WORDS_AT_ONCE = 1024, 65536
"""Rows per batch: of a long text, of short values. Reasoning can have 100,000 characters per row."""

Key = tuple[Any, ...]


@dataclass(slots=True)
class Kind:
    """How many rows of a kind there are, and a few of them."""

    count: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)


def batches(path: Path, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
    """The columns of those named that the file has, in batches; DataError where it cannot be read."""
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            there = [name for name in columns if name in file.schema_arrow.names]
            yield from file.iter_batches(size, columns=there)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}; run the stage prepare again") from error


def rows_at(path: Path, places: Sequence[int], columns: Sequence[str]) -> dict[int, dict[str, Any]]:
    """Place -> that row's columns, of those that the file has. Only row groups that hold one are read."""
    wanted = np.unique(np.asarray(places, dtype=np.int64))
    found: dict[int, dict[str, Any]] = {}
    with pq.ParquetFile(path, pre_buffer=False) as file:
        there = [name for name in columns if name in file.schema_arrow.names]
        start = 0
        for group in range(file.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            here = wanted[(wanted >= start) & (wanted < end)]
            if len(here):
                taken = file.read_row_group(group, there).take(pa.array(here - start)).to_pylist()
                found.update(zip(here.tolist(), taken, strict=True))
            start = end
    return found


def chosen(path: Path, by: Sequence[str], columns: Sequence[str], count: int, seed: int) -> dict[Key, Kind]:
    """For each value of `by`, in order of first occurrence: how many rows have it, and `count` of them by the seed.

    Which rows are chosen depends on the seed and their place in the file. One pass over `by`, and one over the row
    groups that hold a chosen row.
    """
    kinds: dict[Key, Kind] = {}
    best: dict[Key, list[tuple[int, int]]] = {}  # (draw, place), the smallest draws
    start = 0
    for batch in batches(path, by, WORDS_AT_ONCE):
        draws = _draws(start, batch.num_rows, seed)
        for key, here in _places(batch, by):
            kinds.setdefault(key, Kind()).count += len(here)
            first = here[np.argsort(draws[here], kind="stable")[:count]]  # places of the smallest draws
            mine = [(int(draws[place]), start + int(place)) for place in first]
            best[key] = sorted([*best.get(key, []), *mine])[:count]
        start += batch.num_rows
    places = [place for _, place in chain.from_iterable(best.values())]
    rows = rows_at(path, places, columns)
    for key, kind in kinds.items():
        kind.rows = [rows[place] for _, place in best[key]]
    return kinds


def ends(path: Path, by: str, columns: Sequence[str], count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The `count` rows with the highest `by`, highest first, and the `count` lowest of the others, lowest first.

    Among equals the row that comes first in the file counts as the higher one. Rows without a number are left out.
    """
    scores = np.concatenate([[], *(batch[by].cast(pa.float64()) for batch in batches(path, [by], WORDS_AT_ONCE))])
    ranked = np.argsort(-scores, kind="stable")[: np.count_nonzero(~np.isnan(scores))].tolist()  # NaN sorts last
    top, lowest = ranked[:count], ranked[count:][: -count - 1 : -1]
    rows = rows_at(path, [*top, *lowest], columns)
    return [rows[place] for place in top], [rows[place] for place in lowest]


def _places(batch: pa.RecordBatch, by: Sequence[str]) -> Iterator[tuple[Key, NDArray[np.int64]]]:
    """Each value of `by` in the batch with its places (ascending), in order of first occurrence."""
    columns = [batch[name] if name in batch.schema.names else pa.nulls(batch.num_rows) for name in by]
    table = pa.table([*columns, pa.array(range(batch.num_rows))], names=[*by, "places"])
    for row in table.group_by(list(by), use_threads=False).aggregate([("places", "list")]).to_pylist():
        yield tuple(row[name] for name in by), np.array(row["places_list"])


def _draws(start: int, count: int, seed: int) -> NDArray[np.uint64]:
    """(count,) one number for each place from `start` on: SplitMix64 (Steele, Lea and Flood 2014) of seed and place."""
    key = np.uint64(int.from_bytes(hashlib.blake2b(f"card/{seed}".encode(), digest_size=8).digest(), "little"))
    x = key + np.arange(start + 1, start + count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))
