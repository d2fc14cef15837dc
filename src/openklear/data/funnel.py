"""The funnel: what each step read, kept and dropped of each source, balanced to the row (house rule 6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from openklear.data.rows import Dropped, Row, Sifted
from openklear.errors import DataError

Step = Callable[[Sequence[Row]], Sifted]


@dataclass(frozen=True, slots=True)
class Line:
    """One source at one step."""

    dataset: str
    source: str
    step: str
    read: int
    kept: int
    dropped: int
    reasons: dict[str, int]
    kept_by_domain: dict[str, int]
    dropped_by_domain: dict[str, int]

    def columns(self) -> dict[str, Any]:
        """What funnel.json holds."""
        names = ("dataset", "source", "step", "read", "kept", "dropped", "reasons")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        why = ", ".join(f"{reason}: {count}" for reason, count in self.reasons.items())
        text = (
            f"{self.dataset} / {self.source} / {self.step}: read {self.read}, kept {self.kept}, dropped {self.dropped}"
        )
        return text + (f" ({why})" if why else "")


@dataclass(slots=True)
class Funnel:
    """The lines so far, and the dropped rows with the dataset and the step that dropped them."""

    lines: list[Line] = field(default_factory=list)
    dropped: list[tuple[str, str, Dropped]] = field(default_factory=list)

    def pour(self, dataset: str, step: str, sources: Sequence[str], rows: Sequence[Row], sift: Step) -> list[Row]:
        """Take `rows` of all `sources` through one step, write down one line a source, and give back what stays."""
        sifted = sift(rows)
        self.record(dataset, step, sources, rows, sifted)
        return list(sifted.kept)

    def record(self, dataset: str, step: str, sources: Sequence[str], rows: Sequence[Row], sifted: Sifted) -> None:
        """Write down what a step made of `rows`. Raises AssertionError if a row got lost, doubled or out of order."""
        _require_balance(dataset, step, rows, sifted)
        for source in sources:
            read = [row for row in rows if row.problem.source == source]
            kept = [row for row in sifted.kept if row.problem.source == source]
            dropped = [d for d in sifted.dropped if d.row.problem.source == source]
            line = Line(
                dataset,
                source,
                step,
                len(read),
                len(kept),
                len(dropped),
                dict(sorted(Counter(d.reason for d in dropped).items())),
                dict(Counter(row.problem.domain for row in kept)),
                dict(Counter(d.row.problem.domain for d in dropped)),
            )
            self._require_chain(line)
            self.lines.append(line)
        self.dropped += [(dataset, step, d) for d in sifted.dropped]

    def columns(self) -> list[dict[str, Any]]:
        """What funnel.json holds."""
        return [line.columns() for line in self.lines]

    def require(self, dataset: str, rows: Sequence[Row], domain: str | None, need: str) -> None:
        """Raise DataError, with the lines of the step that took the last ones, if no row (of `domain`) is left."""
        if any(domain in (None, row.problem.domain) for row in rows):
            return
        name = {"heldout": "held-out problems", "validation": "validation problems"}.get(dataset, dataset)
        what = f"no {domain} {name} left" if domain else f"no {name} left"
        lines = self._emptied(dataset, domain)
        if lines:
            shown = "\n  ".join(map(str, lines))
            why = f"the step that took the last ones:\n  {shown}\nadd a source, or loosen this step in [data]"
        else:
            why = "the sources of this role hold none; add one that does, or correct its domain"
        raise DataError(f"{what}, but {need}; {why}")

    def _emptied(self, dataset: str, domain: str | None) -> list[Line]:
        """The lines of the first step that left nothing, of the sources it took rows from."""
        mine = [line for line in self.lines if line.dataset == dataset]
        for step in dict.fromkeys(line.step for line in mine):
            lines = [line for line in mine if line.step == step]
            if not sum(line.kept_by_domain.get(domain, 0) if domain else line.kept for line in lines):
                return [line for line in lines if (line.dropped_by_domain.get(domain, 0) if domain else line.dropped)]
        return []

    def _require_chain(self, line: Line) -> None:
        before = [old for old in self.lines if (old.dataset, old.source) == (line.dataset, line.source)]
        if line.read != line.kept + line.dropped or (before and before[-1].kept != line.read):
            raise AssertionError(f"the funnel does not balance: {line}, after {before[-1] if before else 'nothing'}")


def _require_balance(dataset: str, step: str, rows: Sequence[Row], sifted: Sifted) -> None:
    """Kept and dropped together are the rows that were read, each once and in order."""
    place = {id(row): index for index, row in enumerate(rows)}
    kept = [place.get(id(row), -1) for row in sifted.kept]
    gone = [place.get(id(d.row), -1) for d in sifted.dropped]
    if sorted(kept + gone) != list(range(len(rows))) or kept != sorted(kept) or gone != sorted(gone):
        raise AssertionError(
            f"{dataset} / {step}: {len(rows)} read, {len(kept)} kept, {len(gone)} dropped: rows are lost"
        )
