"""Where finished steps are kept until curation is complete: a `prepare` that was killed, or whose recipe changed,
resumes after the last step whose inputs are still the same.

Each step has a key: the hash of the key before it, its name and its parameters. The first key holds the sources'
contents and the code. Everything here is removed once the stage is complete.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openklear.curation.engine import MARKS
from openklear.durable.files import read_json, whole_directory, write_json

Parameters = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step found: the rows that go, and what it changed or learned of those that stay."""

    marks: pa.Table
    patches: Mapping[str, Mapping[int, Any]] = field(default_factory=dict)
    """Column -> row -> new value."""
    changed: Mapping[str, int] = field(default_factory=dict)
    """Source -> rows that were brought to another form."""
    audit: pa.Table | None = None
    """What decontamination matched, to be read by people."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Figures for the data card."""


NOTHING = MARKS.empty_table()


@dataclass(slots=True)
class Workspace:
    """Steps by key, in one directory."""

    directory: Path
    key: str
    """Of the step before."""

    def after(self, name: str, parameters: Parameters) -> Workspace:
        """The workspace behind a step: its key, its own directory's name."""
        text = json.dumps([self.key, name, parameters], sort_keys=True, ensure_ascii=True, default=str)
        return Workspace(self.directory, hashlib.blake2b(text.encode(), digest_size=8).hexdigest())

    def place(self, name: str) -> Path:
        """The place of something with the present key."""
        return self.directory / f"{name}-{self.key}"

    def result(self, name: str, make: Callable[[], StepResult]) -> StepResult:
        """The step's result as it was stored here, or made and stored."""
        place = self.place(name)
        if not place.is_dir():
            found = make()
            with whole_directory(place) as directory:
                pq.write_table(found.marks, directory / "marks.parquet")
                if found.audit is not None:
                    pq.write_table(found.audit, directory / "audit.parquet")
                write_json(directory / "rest.json", [found.patches, found.changed, found.facts])
        patches, changed, facts = read_json(place / "rest.json")
        audit = place / "audit.parquet"
        marks = pq.read_table(place / "marks.parquet", schema=MARKS)
        # JSON has no numbers as keys
        patches = {column: dict(zip(map(int, patch), patch.values(), strict=True)) for column, patch in patches.items()}
        return StepResult(marks, patches, changed, pq.read_table(audit) if audit.exists() else None, facts)

    def remove(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.directory, ignore_errors=True)
