"""Which rows of a source are read where the recipe limits it: the first ones, or a draw by the seed.

A limit counts rows of the files, before anything is dropped, over all files of the source in their order. The funnel's
`read` is what the limit left: rows beyond it are not looked at. A held-out source is cut when its problems are asked
(`openklear.evaluation.benchmarks`), since all of them clean the training rows.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

from openklear.data.formats import read_rows
from openklear.recipe.curation import Source

RawRow = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Cut:
    """What is read of one file: the rows at these places, counted from 0; nothing after the last of them is read."""

    places: range | frozenset[int]

    def of(self, rows: Iterator[RawRow]) -> Iterator[RawRow]:
        """Those rows, in their order."""
        end = max(self.places, default=-1) + 1
        for place, row in enumerate(islice(rows, end)):
            if place in self.places:
                yield row


def cuts(source: Source, files: Sequence[Path], seed: int) -> Sequence[Cut | None]:
    """One cut for each file; None where all its rows are read.

    A draw takes the rows with the smallest keys, and a row's key depends on the seed and its content alone: the order
    of the file changes nothing, and a larger limit only adds rows. It reads the files once more.
    """
    if source.limit is None or source.role == "heldout":
        return [None] * len(files)
    if source.limit_by == "first":
        return list(_first(files, source.limit))
    drawn: list[set[int]] = [set() for _ in files]
    for _, file, place in heapq.nsmallest(source.limit, _keys(files, seed)):
        drawn[file].add(place)
    return [Cut(frozenset(places)) for places in drawn]


def said(source: Source) -> str | None:
    """The limit in words, with what follows from it."""
    if source.limit is None or source.role == "heldout":
        return None
    how = "the first rows of its files" if source.limit_by == "first" else "rows of its files drawn by the seed"
    only = "; only these clean the training rows" if source.role == "benchmark" else ""
    return f"limit = {source.limit:,}, {how}{only}"


def _first(files: Sequence[Path], limit: int) -> Iterator[Cut]:
    left = limit
    for file in files:
        # Counting the last file's rows would read all of it; its cut ends at the limit anyway.
        count = sum(1 for _ in islice(_rows(file), left)) if file != files[-1] and left else left
        yield Cut(range(count))
        left -= count


def _keys(files: Sequence[Path], seed: int) -> Iterator[tuple[bytes, int, int]]:
    """(key, file, place) of every row."""
    for index, file in enumerate(files):
        for place, (_, row) in enumerate(_rows(file)):
            name = json.dumps([seed, "limit", row], sort_keys=True, default=str)
            yield blake2b(name.encode(), digest_size=16).digest(), index, place


def _rows(file: Path) -> Iterator[RawRow]:
    return read_rows(file, may_be_empty=True)
