"""From files to a table: every file becomes one part, every row of it is kept or dropped with a reason, here already
in its final form (prompts normalised, reasoning between <think> and </think>)."""

from __future__ import annotations

import json
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import pyarrow.parquet as pq

from openklear import progress
from openklear.curation import engine
from openklear.curation.finished import Outcome
from openklear.curation.table import PART_BITS, Part, PartWriter, Table
from openklear.data.formats import read_rows
from openklear.data.reasoning import to_one_form
from openklear.data.rows import Dropped, Row
from openklear.data.shapes import Role, parse_rows
from openklear.durable.files import read_json, whole_directory, write_json
from openklear.errors import DataError
from openklear.recipe.curation import Source
from openklear.types import Message

REPORT = "report.json"
"""In each part: what reading said of the file."""
READ_IN_PROCESSES = 32 << 20
"""Bytes of sources from which on files are read by several processes."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One file to read; `part` is the directory that is made of it."""

    path: str
    shown: str
    """Stands for the path in stored rows."""
    role: str
    source: str
    domain: str | None
    columns: dict[str, str]
    reasoning: str
    normalise: bool
    index: int
    part: str


def read(
    role: str, files: Sequence[tuple[Source, Sequence[Path]]], place: Path, *, normalise: bool, ray: bool
) -> Table:
    """Read all files into parts in `place`; those that a killed run left whole are not read again. See `Unit`.

    Raises DataError, with file and line, for the first file in order that cannot be read.
    """
    place.mkdir(parents=True, exist_ok=True)
    units = _units(role, files, place, normalise)
    waiting = [unit for unit in units if not Path(unit.part).is_dir()]
    size = sum(os.path.getsize(unit.path) for unit in waiting)
    items = [json.dumps(asdict(unit)) for unit in waiting]
    if ray or (size > READ_IN_PROCESSES and len(waiting) > 1):
        with progress.task(f"prepare: reading {role}", len(items), "files") as advance:
            said = engine.each(read_unit, items, ray=ray, done=advance)
    else:
        said = [_read_shown(unit, item) for unit, item in zip(waiting, items, strict=True)]
    for text in said:
        if error := json.loads(text).get("error"):
            raise DataError(error)
    parts = [Path(unit.part) for unit in units]
    counts = [tuple(read_json(part / REPORT)["files"]) for part in parts]
    return Table([Part(part, rows, unit.source) for part, rows, unit in zip(parts, counts, units, strict=True)])


def reports(table: Table) -> list[dict[str, Any]]:
    """What reading said of each part: rows by file, dropped [[place, reason, detail]], normalised, reformed."""
    return [read_json(part.directory / REPORT) for part in table.parts]


def outcome(table: Table, *, unique: bool) -> Outcome:
    """The step `read`: rows that say nothing go; with `unique`, the second of an id becomes `id#2`."""
    found = [
        ((index << PART_BITS) + place, reason, detail)
        for index, report in enumerate(reports(table))
        for place, reason, detail in report["dropped"]
    ]
    rows, reasons, details = zip(*found, strict=True) if found else ((), (), ())
    return Outcome(engine.marks(rows, reasons, details), {"id": _second_names(table)} if unique else {})


def changed(table: Table, name: str) -> Outcome:
    """The step `normalise` or `reasoning`, which drops nothing: how many rows of each source it changed."""
    counts: Counter[str] = Counter()
    for part, report in zip(table.parts, reports(table), strict=True):
        counts[part.source] += report[name]
    return Outcome(engine.marks((), (), ()), changed=dict(counts))


def read_unit(text: str) -> str:
    """Read the file of a `Unit` given as JSON; JSON of its report, or of what is wrong with the file."""
    unit = Unit(**json.loads(text))
    try:
        for _ in read_file(unit):
            pass
    except DataError as error:
        return json.dumps({"error": str(error)})
    return "{}"


def read_file(unit: Unit) -> Iterator[int]:
    """Write the part and its report; yields after every row of the file, for those who show progress."""
    report: dict[str, Any] = {"dropped": [], "normalised": 0, "reformed": 0}
    with whole_directory(Path(unit.part)) as directory:
        writer = PartWriter(directory, unit.index)
        try:
            for where, raw in read_rows(Path(unit.path), unit.shown):
                for item in _parsed(raw, where, unit):
                    _write(item, unit, writer, report)
                yield 1
        finally:
            writer.close()
        write_json(directory / REPORT, {**report, "files": writer.counts})


def _parsed(raw: Mapping[str, Any], where: str, unit: Unit) -> list[Row | Dropped]:
    role = cast(Role, unit.role)
    return parse_rows(raw, where, role=role, source=unit.source, domain=unit.domain, mapping=unit.columns or None)


def normalised(row: Row) -> Row:
    """The row with its prompt in composed Unicode (NFC), with plain line ends and without outer blanks."""
    prompt = tuple(Message(role=m["role"], content=_plain(m["content"])) for m in row.problem.prompt)
    return row if prompt == row.problem.prompt else replace(row, problem=replace(row.problem, prompt=prompt))


def _plain(text: str) -> str:
    text = text.replace("\r\n", "\n").strip()
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _write(item: Row | Dropped, unit: Unit, writer: PartWriter, report: dict[str, Any]) -> None:
    if isinstance(item, Dropped):
        report["dropped"].append([writer.write(_storable(item.row)), item.reason, item.detail])
        return
    row = normalised(item) if unit.normalise else item
    report["normalised"] += row is not item
    if row.response is not None:
        response = to_one_form(row.response, unit.reasoning)
        if response != row.response:
            report["reformed"] += 1
            row = replace(row, response=response)
    writer.write(row)


def _storable(row: Row) -> Row:
    """A dropped row may hold halves of surrogate pairs, which no file of text can."""

    def mended(value: Any) -> Any:
        if isinstance(value, str):
            return value if value.isascii() else value.encode("utf-8", "replace").decode()
        if isinstance(value, tuple):
            return tuple(mended(item) for item in value)
        if isinstance(value, dict):
            return {name: mended(item) for name, item in value.items()}
        if hasattr(value, "__slots__"):
            return replace(value, **{name: mended(getattr(value, name)) for name in value.__slots__})
        return value

    mended_row: Row = mended(row)
    return mended_row


def _units(role: str, files: Sequence[tuple[Source, Sequence[Path]]], place: Path, normalise: bool) -> list[Unit]:
    found: list[Unit] = []
    for source, paths in files:
        for path in paths:
            index = len(found)
            shown = source.path if len(paths) == 1 else f"{source.name}/{path.name}"
            form = source.reasoning if role == "demonstrations" else "think"
            part = str(place / f"part-{index:06d}")
            domain = source.domain
            unit = Unit(str(path), shown, role, source.name, domain, source.columns, form, normalise, index, part)
            found.append(unit)
    return found


def _read_shown(unit: Unit, item: str) -> str:
    with progress.task(f"prepare: {unit.source}", None, "rows") as advance:
        for count in read_file(Unit(**json.loads(item))):
            advance(count)
    return "{}"


def _second_names(table: Table) -> dict[int, str]:
    """A problem's id leads to it wherever rollouts are stored, so the second of a name becomes `name#2`."""
    seen: Counter[str] = Counter()
    names: dict[int, str] = {}
    for index, part in enumerate(table.parts):
        ids = (name for path in part.files for name in pq.read_table(path, columns=["id"])["id"].to_pylist())
        for place, own in enumerate(ids):
            seen[own] += 1
            if (count := seen[own]) > 1:
                names[(index << PART_BITS) + place] = f"{own}#{count}"
    return names
