"""Statistics of rows by source, in one pass over batches: lengths, domains, levels, teachers, claimed correctness.

Everything is exact. A set of lengths is kept as its distinct values with their counts, so the memory does not grow with
the rows but with the number of different lengths among them, and means, quantiles and histograms are those of the rows
themselves. Lengths are in characters (Unicode code points).

Law: the statistics are the same however the rows are cut into batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
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


class LengthCounts(Counter[int]):
    """Length of a text in characters -> how many texts have it."""

    @property
    def rows(self) -> int:
        """How many texts."""
        return self.total()

    @property
    def mean(self) -> float | None:
        """Characters per text; None without texts."""
        return sum(length * count for length, count in self.items()) / self.rows if self else None

    def percentile(self, percent: int) -> int | None:
        """The smallest length that at least `percent` % of the texts do not exceed (no interpolation); None without."""
        left = max(1, -(-percent * self.rows // 100))  # in whole numbers: 0.07 * 100 is above 7
        for length in sorted(self):
            left -= self[length]
            if left <= 0:
                return length
        return None

    def histogram(self) -> list[int]:
        """How many texts lie in each bin from an edge of LENGTH_EDGES up to the next one; the last bin has no end."""
        bins = np.searchsorted(LENGTH_EDGES, list(self), side="right") - 1
        found = np.zeros(len(LENGTH_EDGES), np.int64)
        np.add.at(found, bins, list(self.values()))
        return [int(count) for count in found]


@dataclass(slots=True)
class SourceStatistics:
    """What the rows of one source look like."""

    source: str
    rows: int = 0
    prompts: LengthCounts = field(default_factory=LengthCounts)
    """Without system prompts, as `rows.prompt_text` joins the turns."""
    responses: LengthCounts = field(default_factory=LengthCounts)
    """Of the rows that have one."""
    levels: Counter[tuple[str | None, str | None]] = field(default_factory=Counter)
    """(domain, level) -> rows; None is what the source does not say."""
    teachers: Counter[str | None] = field(default_factory=Counter)
    claimed: Counter[bool | None] = field(default_factory=Counter)
    """The source's own word on its responses' correctness -> rows."""

    @property
    def domains(self) -> dict[str | None, int]:
        """Domain -> rows."""
        found: Counter[str | None] = Counter()
        for (domain, _), count in self.levels.items():
            found[domain] += count
        return dict(found)

    @property
    def by_level(self) -> dict[str | None, int]:
        """Level -> rows, over all domains."""
        found: Counter[str | None] = Counter()
        for (_, level), count in self.levels.items():
            found[level] += count
        return dict(found)

    @property
    def claimed_share(self) -> float | None:
        """Share of responses that are correct by the source's own word, of those it speaks of; None where of none."""
        right, wrong = self.claimed.get(True, 0), self.claimed.get(False, 0)
        return right / (right + wrong) if right + wrong else None


def by_source(batches: Iterable[pa.RecordBatch | pa.Table]) -> list[SourceStatistics]:
    """The statistics of every source, in the order in which the sources first occur. One pass; see `COLUMNS`."""
    found: dict[str, SourceStatistics] = {}
    for batch in batches:
        table = _filled(batch)
        for source, rows in _counted(table):
            found.setdefault(source, SourceStatistics(source)).rows += rows
        for source, length, rows in _counted(table, "prompt"):
            found[source].prompts[length] += rows
        for source, length, rows in _counted(table, "response"):
            if length is not None:
                found[source].responses[length] += rows
        for source, domain, level, rows in _counted(table, "domain", "level"):
            found[source].levels[domain, level] += rows
        for source, teacher, rows in _counted(table, "teacher"):
            found[source].teachers[teacher] += rows
        for source, claim, rows in _counted(table, "claimed"):
            found[source].claimed[claim] += rows
    return list(found.values())


def prompt_lengths(prompts: pa.Array) -> NDArray[np.int64]:
    """(n,) characters of prompts, lists of {role, content}, as `rows.prompt_text` would join them; null is 0."""
    parents = pc.list_parent_indices(prompts).to_numpy()  # (turns,) the prompt of each turn
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


def _filled(batch: pa.RecordBatch | pa.Table) -> pa.Table:
    """The columns of `COLUMNS`, missing ones as nulls; of prompts and responses the lengths."""
    types = {"prompt": pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])), "claimed": pa.bool_()}
    there = set(batch.schema.names)
    columns = {
        name: batch[name] if name in there else pa.nulls(batch.num_rows, types.get(name, pa.string()))
        for name in COLUMNS
    }
    columns["source"] = pc.fill_null(columns["source"], "")
    table = pa.table(columns)
    lengths = pa.array(prompt_lengths(table["prompt"].combine_chunks()))
    table = table.set_column(COLUMNS.index("prompt"), "prompt", lengths)
    return table.set_column(COLUMNS.index("response"), "response", pc.utf8_length(table["response"]))


def _counted(table: pa.Table, *columns: str) -> Iterator[tuple[Any, ...]]:
    """(source, value of each column, rows with them), in the order in which they first occur."""
    groups = table.group_by(["source", *columns], use_threads=False).aggregate([([], "count_all")])
    return zip(*(groups[name].to_pylist() for name in ("source", *columns, "count_all")), strict=True)
