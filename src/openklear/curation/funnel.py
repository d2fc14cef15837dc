"""The funnel: what each step read, kept and dropped of each source, balanced to the row (house rule 6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import numpy as np
import pyarrow as pa
from rich import box
from rich.console import Console
from rich.table import Table as Shown

from openklear.curation.table import RowTable
from openklear.errors import DataError

Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Line:
    """One source at one step."""

    dataset: str
    source: str
    step: str
    read: int
    kept: int
    dropped: int
    reasons: Counts
    kept_by_domain: Counts
    dropped_by_domain: Counts
    changed: int = 0
    """Rows whose text the step brought to another form."""

    def columns(self) -> dict[str, Any]:
        """What funnel.json holds."""
        names = ("dataset", "source", "step", "read", "kept", "dropped", "reasons")
        return {name: getattr(self, name) for name in names} | ({"changed": self.changed} if self.changed else {})

    def why(self) -> str:
        """The reasons with their counts."""
        return ", ".join(f"{reason}: {count}" for reason, count in self.reasons.items())

    def __str__(self) -> str:
        text = f"{self.dataset} / {self.source} / {self.step}: "
        text += f"read {self.read}, kept {self.kept}, dropped {self.dropped}"
        return f"{text} ({self.why()})" if self.reasons else text


@dataclass(slots=True)
class Funnel:
    """The lines so far, and the marks of the rows that each step dropped."""

    lines: list[Line] = field(default_factory=list)
    marks: list[tuple[str, str, pa.Table]] = field(default_factory=list)
    """(data set, step, `engine.MARKS`)."""

    def pour(
        self,
        dataset: str,
        step: str,
        sources: Sequence[str],
        table: RowTable,
        marks: pa.Table,
        changed: Counts | None = None,
    ) -> None:
        """Take what a step dropped out of the table, and record one line per source.

        Raises AssertionError for a row that was dropped before, is named twice or out of order, or never existed.
        """
        rows, reasons = marks["row"].to_numpy(), np.asarray(marks["reason"].to_pylist(), dtype=object)
        before = table.counts(table.numbers())
        table.drop(rows)
        after, gone = table.counts(table.numbers()), table.counts(rows)
        of = table.sources(rows)  # (n,) names, beside `reasons`
        for source in sources:
            line = Line(
                dataset,
                source,
                step,
                sum(before.get(source, {}).values()),
                sum(after.get(source, {}).values()),
                sum(gone.get(source, {}).values()),
                dict(sorted(Counter(reasons[of == source]).items())),
                after.get(source, {}),
                gone.get(source, {}),
                (changed or {}).get(source, 0),
            )
            self._require_balance(line)
            self.lines.append(line)
        self.marks.append((dataset, step, marks))

    def columns(self) -> list[dict[str, Any]]:
        """What funnel.json holds."""
        return [line.columns() for line in self.lines]

    def shown(self) -> str:
        """Text for the terminal: what was read, and the steps that dropped or changed something."""
        grid = Shown(box=box.SIMPLE, pad_edge=False)
        for column in ("data set", "source", "step"):
            grid.add_column(column, no_wrap=True)
        for column in ("read", "kept", "dropped"):
            grid.add_column(column, justify="right", no_wrap=True)
        grid.add_column("reasons")
        for line in self.lines:
            if line.step == "read" or line.dropped or line.changed:
                reasons = line.why() or (f"brought to one form: {line.changed}" if line.changed else "")
                counts = (f"{line.read:,}", f"{line.kept:,}", f"{line.dropped:,}")
                grid.add_row(line.dataset, line.source, line.step, *counts, reasons)
        file = StringIO()
        Console(file=file, width=140).print(grid)
        text = "\n".join(text.rstrip() for text in file.getvalue().rstrip().split("\n"))
        proved = sum(line.kept for line in self.lines if line.step == "disjoint")
        return f"{text}\n\n {proved:,} training rows kept; none has the prompt of an evaluation row"

    def require(self, dataset: str, table: RowTable, domain: str | None, need: str) -> None:
        """Raise DataError, with the lines of the step that dropped the last ones, if no row (of `domain`) is left."""
        left = table.counts(table.numbers()).values()
        if any(domain is None or domain in domains for domains in left if domains):
            return
        name = {"heldout": "held-out problems", "validation": "validation problems"}.get(dataset, dataset)
        what = f"no {domain} {name} left" if domain else f"no {name} left"
        lines = self._emptied(dataset, domain)
        if lines:
            shown = "\n  ".join(map(str, lines))
            why = f"the step that dropped the last ones:\n  {shown}\nadd a source, or loosen this step in [data]"
        else:
            why = "the sources of this role hold none; add one that does, or correct its domain"
        raise DataError(f"{what}, but {need}; {why}")

    def _emptied(self, dataset: str, domain: str | None) -> list[Line]:
        """The lines of the first step that left nothing, of the sources from which it dropped rows."""
        mine = [line for line in self.lines if line.dataset == dataset]
        for step in dict.fromkeys(line.step for line in mine):
            lines = [line for line in mine if line.step == step]
            if not sum(line.kept_by_domain.get(domain, 0) if domain else line.kept for line in lines):
                return [line for line in lines if (line.dropped_by_domain.get(domain, 0) if domain else line.dropped)]
        return []

    def _require_balance(self, line: Line) -> None:
        before = [old for old in self.lines if (old.dataset, old.source) == (line.dataset, line.source)]
        balanced = line.read == line.kept + line.dropped and sum(line.reasons.values()) == line.dropped
        if not balanced or (before and before[-1].kept != line.read):
            raise AssertionError(f"the funnel does not balance: {line}, after {before[-1] if before else 'nothing'}")
