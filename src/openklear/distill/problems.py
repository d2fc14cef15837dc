"""The problems that responses are wanted to, from files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from openklear import progress
from openklear.data import store
from openklear.data.formats import read_rows
from openklear.data.reading import parsed
from openklear.data.rows import Dropped, Row
from openklear.data.sources import choose
from openklear.errors import DataError
from openklear.types import Problem


def read_problems(path: str, domain: str | None, limit: int | None) -> list[Problem]:
    """The problems of what `sources.resolve` finds at `path`, or of prepare's `problems.parquet`; in order, each once.

    Raises DataError for a file that cannot be read and where there is no problem; says what is left out.
    """
    found: dict[tuple[str, str], Problem] = {}
    repeated, lost = 0, list[Dropped]()
    for item in _items(path, domain):
        if isinstance(item, Dropped):
            lost.append(item)
            continue
        problem = item.problem
        name = problem.id, problem.content_hash
        if name in found:
            repeated += 1
        elif limit is not None and len(found) == limit:
            break
        else:
            found[name] = problem
    if lost:
        reasons = Counter(item.reason for item in lost)
        why = ", ".join(f"{reason}: {count:,}" for reason, count in sorted(reasons.items()))
        progress.say(
            f"{path}: {len(lost):,} rows cannot be used and are left out ({why}); the first is {lost[0].row.where}"
        )
    if repeated:
        progress.say(f"{path}: {repeated:,} rows repeat an earlier id and prompt and are left out")
    if not found:
        raise DataError(f"{path}: there are no problems here; there is nothing to ask")
    return list(found.values())


def _items(path: str, domain: str | None) -> Iterator[Row | Dropped]:
    chosen = choose(path, "problems")
    if note := chosen.said():
        progress.say(f"{path}: {note}")
    files = chosen.files
    many = re.sub(r"[^\w-]+", "-", path.removeprefix("hub:")).strip("-")
    for file in files:
        if _is_prepared(file):
            yield from (Row(problem, f"{file}") for problem in store.read_problems(file))
            continue
        source = many if len(files) > 1 else file.name.partition(".")[0]
        rows = read_rows(file, may_be_empty=len(files) > 1)
        for items in parsed(rows, role="problems", source=source, domain=domain):
            yield from items


def _is_prepared(path: Path) -> bool:
    """Whether the file has the columns that `prepare` writes."""
    if path.suffix != ".parquet" or not path.is_file():
        return False
    try:
        return set(store.PROBLEM_SCHEMA.names) <= set(pq.read_schema(path).names)
    except (pa.ArrowException, OSError):
        return False  # the reader says what is wrong with it
