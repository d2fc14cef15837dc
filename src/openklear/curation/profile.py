"""Statistics of rows by source, in one pass over batches: lengths, domains, levels, teachers, claimed correctness.

Everything is exact. A set of lengths is kept as its distinct values with their counts, so the memory does not grow with
the rows but with the number of different lengths among them, and means, quantiles and histograms are those of the rows
themselves. Lengths are in characters (Unicode code points).

Law: the statistics are the same however the rows are cut into batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from openklear.data.rows import prompt_text
from openklear.data.store import problem_of

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
        return list(found.tolist())


@dataclass(slots=True)
class SourceStatistics:
    """What the rows of one source look like. None is what the source does not say."""

    source: str
    prompts: LengthCounts = field(default_factory=LengthCounts)
    """Without system prompts, as `rows.prompt_text` joins the turns."""
    responses: LengthCounts = field(default_factory=LengthCounts)
    """Of the rows that have one."""
    domains: Counter[str | None] = field(default_factory=Counter)
    by_level: Counter[str | None] = field(default_factory=Counter)
    levels: Counter[tuple[str | None, str | None]] = field(default_factory=Counter)
    """(domain, level) -> rows."""
    teachers: Counter[str | None] = field(default_factory=Counter)
    claimed: Counter[bool | None] = field(default_factory=Counter)
    """The source's own word on its responses' correctness -> rows."""

    @property
    def rows(self) -> int:
        """How many rows."""
        return self.prompts.rows

    @property
    def claimed_share(self) -> float | None:
        """Share of responses that are correct by the source's own word, of those it speaks of; None where of none."""
        right, wrong = self.claimed[True], self.claimed[False]
        return right / (right + wrong) if right + wrong else None

    def add(self, row: Mapping[str, Any]) -> None:
        """Count a row; see `COLUMNS`."""
        domain, level = row.get("domain"), row.get("level")
        self.prompts[len(prompt_text(problem_of(row)))] += 1
        if (response := row.get("response")) is not None:
            self.responses[len(response)] += 1
        self.domains[domain] += 1
        self.by_level[level] += 1
        self.levels[domain, level] += 1
        self.teachers[row.get("teacher")] += 1
        self.claimed[row.get("claimed")] += 1


def by_source(batches: Iterable[pa.RecordBatch | pa.Table]) -> list[SourceStatistics]:
    """The statistics of every source, in the order in which the sources first occur. One pass; see `COLUMNS`."""
    found: dict[str, SourceStatistics] = {}
    for batch in batches:
        for row in batch.to_pylist():
            source = row.get("source") or ""
            found.setdefault(source, SourceStatistics(source)).add(row)
    return list(found.values())
