"""Statistics of rows by source, in one pass over batches: lengths, domains, levels, teachers, claimed correctness.

Everything is exact. A set of lengths is kept as its distinct values with their counts, so the memory does not grow with
the rows but with the different lengths among them (a million responses of up to 200,000 characters: 3 MB at most), and
means, quantiles and histograms are those of the rows themselves. Lengths are in characters (Unicode code points).

Law: the statistics of a whole are the statistics of its parts, merged, however it is cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

COLUMNS = ("source", "prompt", "response", "domain", "level", "teacher", "claimed")
"""The columns `by_source` looks at; those that a batch lacks are empty."""
LENGTH_EDGES = (0, *(round(10 ** (eighth / 8)) for eighth in range(8, 49)))
"""Left edges of length bins, eight to the tenfold from 10 to 1,000,000; the last bin has no end."""
_WAITING = 1 << 16
"""Lengths that wait before they are merged, so that merging costs n log n and not n times the number of batches."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Lengths:
    """Lengths of texts in characters: distinct values (ascending) and how often each occurs."""

    values: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    counts: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    @staticmethod
    def of(lengths: Ints) -> Lengths:
        """The lengths of some rows, in any order."""
        values, counts = np.unique(np.asarray(lengths, dtype=np.int64), return_counts=True)
        return Lengths(values, counts.astype(np.int64))

    @staticmethod
    def merged(parts: Iterable[Lengths]) -> Lengths:
        """The lengths of all the parts' rows."""
        some = [part for part in parts if len(part.values)]
        if len(some) < 2:
            return some[0] if some else Lengths()
        values = np.concatenate([part.values for part in some])
        order = np.argsort(values, kind="stable")
        values = values[order]
        starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
        return Lengths(values[starts], np.add.reduceat(np.concatenate([part.counts for part in some])[order], starts))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Lengths):
            return NotImplemented
        return np.array_equal(self.values, other.values) and np.array_equal(self.counts, other.counts)

    __hash__ = None  # type: ignore[assignment]

    @property
    def rows(self) -> int:
        """How many texts."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float | None:
        """Characters a text; None without texts."""
        return int(self.values @ self.counts) / self.rows if self.rows else None

    def percentile(self, percent: int) -> int | None:
        """The smallest length that at least `percent` % of the texts do not exceed (no interpolation); None without."""
        if not self.rows:
            return None
        rank = max(1, -(-percent * self.rows // 100))  # in whole numbers: 0.07 * 100 is above 7
        return int(self.values[np.searchsorted(np.cumsum(self.counts), rank)])

    def histogram(self, edges: Sequence[int] = LENGTH_EDGES) -> list[int]:
        """How many texts lie in each bin from an edge up to the next one; the last bin has no end."""
        found = np.zeros(len(edges) + 1, np.int64)
        np.add.at(found, np.searchsorted(edges, self.values, side="right"), self.counts)
        assert not found[0], "a text is shorter than the first edge"
        return [int(count) for count in found[1:]]


@dataclass(frozen=True, slots=True)
class SourceStatistics:
    """What the rows of one source look like."""

    source: str
    rows: int
    prompts: Lengths
    """Without system prompts, as `rows.prompt_text` joins the turns."""
    responses: Lengths
    """Of the rows that have one."""
    levels: Mapping[tuple[str | None, str | None], int]
    """(domain, level) -> rows; None is what the source does not say."""
    teachers: Mapping[str | None, int]
    claimed: Mapping[bool | None, int]
    """The source's own word on its responses' correctness -> rows."""

    @property
    def domains(self) -> dict[str | None, int]:
        """Domain -> rows."""
        return _summed((domain, count) for (domain, _), count in self.levels.items())

    @property
    def by_level(self) -> dict[str | None, int]:
        """Level -> rows, over all domains."""
        return _summed((level, count) for (_, level), count in self.levels.items())

    @property
    def claimed_share(self) -> float | None:
        """Share of responses that are correct by the source's own word, of those it speaks of; None where of none."""
        right, wrong = self.claimed.get(True, 0), self.claimed.get(False, 0)
        return right / (right + wrong) if right + wrong else None


def by_source(batches: Iterable[pa.RecordBatch | pa.Table]) -> list[SourceStatistics]:
    """The statistics of every source, in the order in which the sources first occur. One pass; see `COLUMNS`."""
    return merged(map(_of_batch, batches))


def merged(parts: Iterable[Sequence[SourceStatistics]]) -> list[SourceStatistics]:
    """The statistics of the whole from those of its parts."""
    found: dict[str, _Sum] = {}
    for part in parts:
        for one in part:
            found.setdefault(one.source, _Sum(one.source)).add(one)
    return [total.result() for total in found.values()]


def prompt_lengths(prompts: pa.Array) -> Ints:
    """(n,) characters of prompts, lists of {role, content}, as `rows.prompt_text` would join them; null is 0."""
    parents = pc.list_parent_indices(prompts).to_numpy()
    turns = prompts.flatten()
    content = pc.fill_null(pc.utf8_length(pc.struct_field(turns, "content")), 0).to_numpy()
    spoken = pc.fill_null(pc.not_equal(pc.struct_field(turns, "role"), "system"), True).to_numpy(zero_copy_only=False)
    rows = len(prompts)
    has_spoken = np.bincount(parents[spoken], minlength=rows) > 0
    counted = spoken | ~has_spoken[parents]  # a prompt of system turns alone is its system turns
    found = np.zeros(rows, np.int64)
    np.add.at(found, parents[counted], content[counted] + 1)  # the 1: line ends between turns
    found[found > 0] -= 1
    return found


@dataclass(slots=True)
class _Sum:
    """The growing statistics of one source."""

    source: str
    rows: int = 0
    prompts: _Growing = field(default_factory=lambda: _Growing())
    responses: _Growing = field(default_factory=lambda: _Growing())
    levels: Counter[tuple[str | None, str | None]] = field(default_factory=Counter)
    teachers: Counter[str | None] = field(default_factory=Counter)
    claimed: Counter[bool | None] = field(default_factory=Counter)

    def add(self, one: SourceStatistics) -> None:
        self.rows += one.rows
        self.prompts.add(one.prompts)
        self.responses.add(one.responses)
        self.levels.update(one.levels)
        self.teachers.update(one.teachers)
        self.claimed.update(one.claimed)

    def result(self) -> SourceStatistics:
        lengths = self.prompts.result(), self.responses.result()
        return SourceStatistics(
            self.source, self.rows, *lengths, dict(self.levels), dict(self.teachers), dict(self.claimed)
        )


@dataclass(slots=True)
class _Growing:
    """Lengths that grow: parts wait until there are as many as what they are merged into."""

    whole: Lengths = field(default_factory=Lengths)
    waiting: list[Lengths] = field(default_factory=list)
    size: int = 0

    def add(self, lengths: Lengths) -> None:
        self.waiting.append(lengths)
        self.size += len(lengths.values)
        if self.size > max(_WAITING, len(self.whole.values)):
            self.whole, self.waiting, self.size = self.result(), [], 0

    def result(self) -> Lengths:
        return Lengths.merged([self.whole, *self.waiting])


def _of_batch(batch: pa.RecordBatch | pa.Table) -> list[SourceStatistics]:
    """The statistics of one batch, in the order in which its sources first occur."""
    table = _filled(batch)
    codes, names = _encoded(table["source"])
    prompts = prompt_lengths(table["prompt"].combine_chunks())
    responses = pc.fill_null(pc.utf8_length(table["response"]), 0).to_numpy()
    has_response = pc.is_valid(table["response"]).to_numpy()
    levels = _counted(table, "domain", "level")
    teachers, claimed = _counted(table, "teacher"), _counted(table, "claimed")
    found = []
    for code, name in enumerate(names):
        mine = codes == code
        found.append(
            SourceStatistics(
                name,
                int(mine.sum()),
                Lengths.of(prompts[mine]),
                Lengths.of(responses[mine & has_response]),
                levels[name],
                {teacher: count for (teacher,), count in teachers[name].items()},
                {claim: count for (claim,), count in claimed[name].items()},
            )
        )
    return found


def _filled(batch: pa.RecordBatch | pa.Table) -> pa.Table:
    """The columns of `COLUMNS`, those that are not there as nulls."""
    types = {"prompt": pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])), "claimed": pa.bool_()}
    there = set(batch.schema.names)
    columns = {
        name: batch[name] if name in there else pa.nulls(batch.num_rows, types.get(name, pa.string()))
        for name in COLUMNS
    }
    columns["source"] = pc.fill_null(columns["source"], "")
    return pa.table(columns)


def _encoded(column: pa.ChunkedArray) -> tuple[Ints, list[str]]:
    """(n,) index of each value among the distinct ones, which stand in the order in which they first occur."""
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy(), encoded.dictionary.to_pylist()


def _counted(table: pa.Table, *columns: str) -> dict[str, dict[Any, int]]:
    """Source -> values of `columns` -> rows."""
    found: dict[str, dict[Any, int]] = {}
    for row in table.group_by(["source", *columns], use_threads=False).aggregate([([], "count_all")]).to_pylist():
        found.setdefault(row["source"], {})[tuple(row[name] for name in columns)] = row["count_all"]
    return found


def _summed(pairs: Iterable[tuple[str | None, int]]) -> dict[str | None, int]:
    found: Counter[str | None] = Counter()
    for key, count in pairs:
        found[key] += count
    return dict(found)
