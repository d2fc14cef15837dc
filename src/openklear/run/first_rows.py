"""What the first rows of the sources say: shape, domain, tokens, how many rows there are. Nothing is fetched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from openklear.data import hub
from openklear.data.formats import json_lines, read_rows
from openklear.data.reading import FIRST, parsed
from openklear.data.rows import Dropped, Row, prompt_text
from openklear.data.sources import choose
from openklear.errors import DataError
from openklear.recipe.curation import Source
from openklear.recipe.show import count
from openklear.recipe.world import World
from openklear.run.model_facts import TokenCounter

SAMPLE = 256
"""Rows of a source that are looked at."""
FILES = 1000
"""Files of a source whose first row is looked at."""


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What the first rows of a source say. Means are per row; None is what is not known yet."""

    name: str
    role: str
    rows: int | None = None
    exact: bool = True
    """Whether `rows` was counted; else it is estimated from the files' sizes."""
    columns: tuple[str, ...] = ()
    domain: str | None = None
    prompt_tokens: float = 0.0
    response_tokens: float = 0.0
    notes: tuple[str, ...] = ()
    longest: int = 0
    """Tokens of the longest prompt with its response among the first rows."""

    def line(self) -> str:
        """For the terminal."""
        parts = [f"{self.name} ({self.role})"]
        if self.rows is not None:
            about = "" if self.exact else "about "
            parts += [about + count(self.rows, "row"), f"{self.domain}"]
            parts += [f"columns {', '.join(self.columns)[:120]}"] if self.columns else []
            parts += [f"about {self.prompt_tokens:,.0f} tokens a prompt"] if self.prompt_tokens else []
            if self.response_tokens:
                parts.append(f"{self.response_tokens:,.0f} a response")
        return "; ".join((*parts, *self.notes))


def of_world(source: Source, world: World | None) -> SourceFacts:
    """A file that does not exist yet: the recipe says how many rows it will have."""
    directory, _, file = source.path.removeprefix("world:").rpartition("/")
    note = f"{source.path} is written by the run's first stage"
    rows = getattr(world, directory, None) if directory != "demonstrations" else None
    return SourceFacts(source.name, source.role, rows, domain=source.domain or Path(file).stem, notes=(note,))


def look(source: Source, counter: TokenCounter) -> SourceFacts:
    """What there is to know of a source; DataError with the fault of every file."""
    if source.path.startswith(hub.PREFIX) and not hub.is_cached(source.path):
        names = hub.names(source.path)
        there = f"{count(len(names), 'file')} there" if names else "the hub does not answer, or has no such data set"
        return SourceFacts(source.name, source.role, notes=(f"{source.path} is not fetched yet; {there}",))
    chosen = choose(source.path, source.role, source.split, fetch=False)
    said = chosen.said()
    notes = [said] if said else []
    if source.limit is not None:
        notes.append(f"limit {source.limit:,}")
    files = chosen.files
    if wrong := list(_faults(source, files)):
        raise DataError("\n  ".join(wrong))
    raws = list(islice(chain.from_iterable(read_rows(file, may_be_empty=len(files) > 1) for file in files), SAMPLE))
    if not raws:
        raise DataError(f"{source.path}: none of its files holds rows; add rows or remove the source from the recipe")
    items = list(chain.from_iterable(_parsed(raws, source)))
    kept = [item for item in items if isinstance(item, Row)]
    lost = [item for item in items if isinstance(item, Dropped)]
    if lost:
        reasons = Counter(one.reason for one in lost)
        why = ", ".join(f"{reason}: {number:,}" for reason, number in reasons.items())
        notes.append(f"{count(len(lost), 'row')} of the first {len(raws):,} dropped ({why}; {lost[0].row.where})")
    rows, exact = _rows(files, [raw for _, raw in raws])
    if source.limit is not None and source.role != "heldout":
        rows = min(rows, source.limit)
    prompts = [counter.count(prompt_text(row.problem)) for row in kept]
    responses = [counter.count(row.response or "") for row in kept]
    return SourceFacts(
        source.name,
        source.role,
        round(rows * len(kept) / len(raws)),
        exact and len(kept) == len(raws),
        tuple(map(str, raws[0][1])),
        (kept or [item.row for item in lost])[0].problem.domain,
        _mean(prompts),
        _mean([tokens for row, tokens in zip(kept, responses, strict=True) if row.response is not None]),
        tuple(notes),
        int(max(map(sum, zip(prompts, responses, strict=True)), default=0)),
    )


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / max(len(numbers), 1)


def _faults(source: Source, files: Sequence[Path]) -> Iterator[str]:
    """What is wrong with files: the first rows are read up to one that is kept, by the rule of the run."""
    for file in files[:FILES]:
        try:
            for items in _parsed(islice(read_rows(file, may_be_empty=len(files) > 1), FIRST), source):
                if any(isinstance(item, Row) for item in items):
                    break
        except DataError as error:
            yield str(error)


def _parsed(rows: Iterable[tuple[str, dict[str, Any]]], source: Source) -> Iterator[list[Row | Dropped]]:
    return parsed(rows, role=source.role, source=source.name, domain=source.domain, mapping=source.columns)


def _rows(files: Sequence[Path], sample: Sequence[dict[str, Any]]) -> tuple[int, bool]:
    """Rows in all files, and whether they were counted: by their own word, or because the sample holds them all."""
    if len(sample) < SAMPLE:
        return len(sample), True
    counted = [_counted(file) for file in files]
    if None not in counted:
        return sum(filter(None, counted)), True
    width = sum(len(str(row)) for row in sample) / len(sample)
    return max(len(sample), round(sum(file.stat().st_size for file in files) / max(width, 1.0))), False


def _counted(file: Path) -> int | None:
    """Its rows, where they can be counted without reading them."""
    if file.suffix == ".parquet":
        return int(pq.read_metadata(file).num_rows)
    return sum(1 for _ in json_lines(file)) if file.suffix == ".jsonl" else None
