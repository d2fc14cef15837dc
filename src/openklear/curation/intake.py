"""From files to a table: every file becomes one part, in which every row is kept or dropped with a reason and already
has its final form (prompts normalised, reasoning between <think> and </think>)."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from openklear import progress
from openklear.curation import engine
from openklear.curation.cuts import Cut, cuts
from openklear.curation.finished import StepResult
from openklear.curation.funnel import Line
from openklear.curation.table import PART_BITS, PartWriter, RowPart, RowTable, row_columns, row_of
from openklear.data.formats import read_rows
from openklear.data.reading import parsed
from openklear.data.reasoning import to_one_form
from openklear.data.rows import Dropped, Row
from openklear.durable.files import read_json, whole_directory, write_json
from openklear.errors import DataError
from openklear.recipe.curation import Role, Source
from openklear.types import Message

REPORT = "report.json"
"""In each part: what reading found in the file."""
READ_IN_PROCESSES = 32 << 20
"""Bytes of sources from which on files are read by several processes."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One file to read; `part` is the directory that is made of it."""

    source: Source
    path: Path
    shown: str
    """Replaces the path in stored rows."""
    normalise: bool
    index: int
    part: Path
    alone: bool
    """Whether its source has no other file; one of many may hold no rows."""
    cut: Cut | None = None
    """The rows that a limit leaves."""


def read(
    role: Role,
    files: Sequence[tuple[Source, Sequence[Path]]],
    place: Path,
    *,
    normalise: bool,
    ray: bool,
    seed: int = 0,
) -> RowTable:
    """Read all files into parts in `place`; those that a killed run finished are not read again. See `Unit`.

    Raises DataError, with file and line, for the first file in order that cannot be read.
    """
    place.mkdir(parents=True, exist_ok=True)
    units = _units(files, place, normalise, seed)
    waiting = [unit for unit in units if not unit.part.is_dir()]
    size = sum(unit.path.stat().st_size for unit in waiting)
    if ray or (size > READ_IN_PROCESSES and len(waiting) > 1):
        with progress.task(f"prepare: reading {role}", len(waiting), "files") as advance:
            errors = engine.each(read_unit, waiting, ray=ray, done=advance)
        if error := next(filter(None, errors), None):
            raise DataError(error)
    else:
        for unit in waiting:
            with progress.task(f"prepare: {unit.source.name}", None, "rows") as advance:
                for count in _read_file(unit):
                    advance(count)
    _require_rows(units)
    counts = [tuple(read_json(unit.part / REPORT)["files"]) for unit in units]
    return RowTable([RowPart(unit.part, rows, unit.source.name) for unit, rows in zip(units, counts, strict=True)])


def reports(table: RowTable) -> list[dict[str, Any]]:
    """What reading found in each part: rows by file, dropped [[place, reason, detail]], normalised, reformed."""
    return [read_json(part.directory / REPORT) for part in table.parts]


def _require_rows(units: Sequence[Unit]) -> None:
    """Say which files hold no rows; DataError where a source has no others."""
    filled = {unit.source.name for unit in units if not read_json(unit.part / REPORT)["empty"]}
    for source in dict.fromkeys(unit.source.name for unit in units):
        mine = [unit for unit in units if unit.source.name == source]
        empty = [unit.path.name for unit in mine if read_json(unit.part / REPORT)["empty"]]
        if source not in filled:
            raise DataError(f"{mine[0].source.path}: none of its {len(mine)} files holds rows; add rows or remove it")
        if empty:
            progress.say(f"prepare: {source}: no rows in {', '.join(empty[:6])}{' ...' if empty[6:] else ''}; skipped")


def read_result(table: RowTable, *, unique: bool) -> StepResult:
    """The step `read`: rows that say nothing go; with `unique`, the second row with an id gets `id#2`."""
    found: list[tuple[int, str, str]] = []
    for index, report in enumerate(reports(table)):
        found += [((index << PART_BITS) + place, reason, detail) for place, reason, detail in report["dropped"]]
    rows, reasons, details = zip(*found, strict=True) if found else ((), (), ())
    return StepResult(engine.marks(rows, reasons, details), {"id": _unique_ids(table)} if unique else {})


def say_lost(role: str, lines: Sequence[Line], table: RowTable, marks: pa.Table) -> None:
    """Say of each source, on the terminal, how many of its rows cannot be used, why, and which is the first."""
    rows = marks["row"].to_numpy()
    of = table.sources(rows)
    for line in lines:
        if not line.dropped:
            continue
        first = int(np.flatnonzero(of == line.source)[0])
        where = table.lookup(rows[first : first + 1], "where")["where"][0]
        why = marks["detail"][first].as_py() or marks["reason"][first].as_py()
        share = f"{line.dropped:,} of {line.read:,} rows ({100 * line.dropped / line.read:.1f} %)"
        progress.say(
            f"prepare: {role} / {line.source}: {share} cannot be used ({line.why()}); the first is {where}: {why}; "
            "all of them will be in data/dropped.parquet"
        )


def changed(table: RowTable, name: str) -> StepResult:
    """The step `normalise` or `reasoning`, which drops nothing: how many rows of each source it changed."""
    counts: Counter[str] = Counter()
    for part, report in zip(table.parts, reports(table), strict=True):
        counts[part.source] += report[name]
    return StepResult(engine.marks((), (), ()), changed=dict(counts))


def read_unit(unit: Unit) -> str:
    """Read the file in another process; what is wrong with it, or nothing."""
    try:
        for _ in _read_file(unit):
            pass
    except DataError as error:
        return str(error)
    return ""


def _read_file(unit: Unit) -> Iterator[int]:
    """Write the part and its report; yields after every row of the file, for those who show progress."""
    report: dict[str, Any] = {
        "dropped": [],
        "normalised": 0,
        "reformed": 0,
        "empty": unit.cut is None or len(unit.cut.places) > 0,
    }
    source = unit.source
    with whole_directory(unit.part) as directory:
        writer = PartWriter(directory, unit.index)
        rows = read_rows(unit.path, unit.shown, may_be_empty=not unit.alone)
        chosen = rows if unit.cut is None else unit.cut.of(rows)
        for items in parsed(chosen, source.role, source.name, source.domain, source.columns):
            report["empty"] = False
            for item in items:
                _write(item, unit, writer, report)
            yield 1
        writer.close()
        write_json(directory / REPORT, {**report, "files": writer.counts})


def _write(item: Row | Dropped, unit: Unit, writer: PartWriter, report: dict[str, Any]) -> None:
    if isinstance(item, Dropped):
        report["dropped"].append([writer.write(_storable(item.row)), item.reason, item.detail])
        return
    row = normalised(item) if unit.normalise else item
    report["normalised"] += row is not item
    formed = reformed(row, unit.source)
    report["reformed"] += formed is not row
    writer.write(formed)


def first_rows(source: Source, path: Path, count: int, *, normalise: bool) -> Iterator[Row | Dropped]:
    """The first rows of a file in the form in which curation begins with them. DataError as `read` raises it."""
    raw = islice(read_rows(path), count)
    for item in chain.from_iterable(parsed(raw, source.role, source.name, source.domain, source.columns)):
        if isinstance(item, Dropped):
            yield item
        else:
            yield reformed(normalised(item) if normalise else item, source)


def reformed(row: Row, source: Source) -> Row:
    """The row with its reasoning in the one form; only demonstrations have a response."""
    response = None if row.response is None else to_one_form(row.response, source.reasoning)
    return row if response == row.response else replace(row, response=response)


def normalised(row: Row) -> Row:
    """The row with its prompt in composed Unicode (NFC), with plain line ends and without outer blanks."""
    prompt = tuple(Message(role=m["role"], content=_plain(m["content"])) for m in row.problem.prompt)
    return row if prompt == row.problem.prompt else replace(row, problem=replace(row.problem, prompt=prompt))


def _plain(text: str) -> str:
    text = text.replace("\r\n", "\n").strip()
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _storable(row: Row) -> Row:
    """A dropped row in valid Unicode: it may hold halves of surrogate pairs, which no file can."""
    columns = json.dumps(row_columns(row), ensure_ascii=False).encode("utf-8", "replace")
    return row_of(json.loads(columns))


def _units(files: Sequence[tuple[Source, Sequence[Path]]], place: Path, normalise: bool, seed: int) -> list[Unit]:
    found: list[Unit] = []
    for source, paths in files:
        alone = len(paths) == 1
        for path, cut in zip(paths, cuts(source, paths, seed), strict=True):
            index = len(found)
            shown = source.path if alone else f"{source.name}/{path.name}"
            found.append(Unit(source, path, shown, normalise, index, place / f"part-{index:06d}", alone, cut))
    return found


def _unique_ids(table: RowTable) -> dict[int, str]:
    """A problem's id leads to it wherever rollouts are stored, so the second row with an id gets `id#2`."""
    seen: Counter[str] = Counter()
    names: dict[int, str] = {}
    for batch in table.batches(("id",)):
        for row, own in zip(batch["row"].to_pylist(), batch["id"].to_pylist(), strict=True):
            seen[own] += 1
            if (count := seen[own]) > 1:
                names[row] = f"{own}#{count}"
    return names
