"""Problems and demonstrations as Parquet: one explicit schema, and the same rows give the same bytes.

The stage `prepare` leaves its files in `prepare/data/`, which is complete or absent; `prepared` names them.
These functions write straight to the path they are given: the caller makes the result atomic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from openklear.data.rows import Dropped, prompt_text
from openklear.errors import DataError
from openklear.types import AnyTest, AssertTest, CallTest, Demonstration, Message, Problem, Test

__all__ = [
    "PreparedPaths",
    "prepared",
    "read_demonstrations",
    "read_problems",
    "write_demonstrations",
    "write_problems",
]

_KINDS = (Test, CallTest, AssertTest)
_TEST_FIELDS = (*Test.__slots__, *CallTest.__slots__, *AssertTest.__slots__)
"""Of a test's columns those of its own kind are filled; the others are null."""


def _texts(*names: str) -> list[pa.Field]:
    return [pa.field(name, pa.string()) for name in names]


PROBLEM_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("prompt", pa.list_(pa.struct(_texts("role", "content"))), nullable=False),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("answer", pa.string()),
        pa.field("tests", pa.list_(pa.struct(_texts(*_TEST_FIELDS))), nullable=False),
        pa.field("checker", pa.string()),
        pa.field("level", pa.string()),
        pa.field("source", pa.string(), nullable=False),
    ]
)
_DEMONSTRATED = ("response", "where", "teacher", "claimed")
DEMONSTRATION_SCHEMA = pa.schema(
    [
        *PROBLEM_SCHEMA,
        pa.field("response", pa.string(), nullable=False),
        pa.field("where", pa.string(), nullable=False),
        pa.field("teacher", pa.string()),
        pa.field("claimed", pa.bool_()),
    ]
)
DROPPED_SCHEMA = pa.schema(
    _texts("dataset", "source", "id", "where", "step", "reason", "detail", "domain", "level", "text")
)
AUDIT_SCHEMA = pa.schema(
    [
        *_texts("dataset", "id", "source", "where", "text", "item"),
        pa.field("score", pa.float64()),
        *_texts("matched", "kind"),
    ]
)
_GROUP_ROWS, _GROUP_BYTES = 4096, 64 << 20
_BATCH_ROWS = 256
_READ_BYTES = 1 << 20

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredRows(Generic[T]):
    """The rows of a file, read again whenever they are gone through: `_BATCH_ROWS` of one row group are in memory.

    Going through them raises DataError where the file is missing or has another schema.
    """

    path: Path
    schema: pa.Schema
    make: Callable[[dict[str, Any]], T]

    def __iter__(self) -> Iterator[T]:
        try:
            with pq.ParquetFile(self.path, pre_buffer=False, buffer_size=_READ_BYTES) as file:
                lacking = [name for name in self.schema.names if name not in file.schema_arrow.names]
                if lacking:
                    raise DataError(f"{self.path}: has no column {', '.join(lacking)}; run the stage prepare again")
                for group in range(file.num_row_groups):
                    for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group]):
                        yield from map(self.make, batch.to_pylist())
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.path}: cannot be read as Parquet: {error}; run the stage prepare again") from error


@dataclass(frozen=True, slots=True)
class PreparedPaths:
    """What the stage `prepare` leaves."""

    demonstrations: Path
    problems: Path
    validation: Path
    heldout: Path
    dropped: Path
    """dataset, source, id, where, step, reason, detail, domain, level, text of every row that was dropped."""
    funnel: Path
    """[{dataset, source, step, read, kept, dropped, reasons}], in the order of the steps."""
    audit: Path
    """dataset, id, source, where, text, item, score, matched, kind of every row that decontamination dropped."""
    steps: Path
    """[{dataset, step, parameters, facts}], in the order of the steps."""


def prepared(directory: Path) -> PreparedPaths:
    """The files of a finished stage `prepare`, given its directory."""
    return named_in(directory / "data")


def named_in(data: Path) -> PreparedPaths:
    """The files by their names inside `data`."""
    documents = ("funnel", "steps")
    names = (field.name for field in fields(PreparedPaths))
    return PreparedPaths(**{name: data / f"{name}.{'json' if name in documents else 'parquet'}" for name in names})


def write_problems(path: Path, problems: Iterable[Problem]) -> None:
    """Write problems, in order."""
    write_rows(path, PROBLEM_SCHEMA, map(problem_columns, problems))


def read_problems(path: Path) -> list[Problem]:
    """Read problems; DataError for a file that is missing or has another schema."""
    return list(stored_problems(path))


def stored_problems(path: Path) -> StoredRows[Problem]:
    """The same without having all in memory."""
    return StoredRows(path, PROBLEM_SCHEMA, problem_of)


def write_demonstrations(path: Path, demonstrations: Iterable[Demonstration]) -> None:
    """Write demonstrations, in order."""
    write_rows(path, DEMONSTRATION_SCHEMA, map(_demonstration_columns, demonstrations))


def read_demonstrations(path: Path) -> list[Demonstration]:
    """Read demonstrations; DataError for a file that is missing or has another schema."""
    return list(stored_demonstrations(path))


def stored_demonstrations(path: Path) -> StoredRows[Demonstration]:
    """The same without having all in memory."""
    return StoredRows(path, DEMONSTRATION_SCHEMA, _demonstration_of)


def write_dropped(path: Path, dropped: Iterable[tuple[str, str, Dropped]]) -> None:
    """Write (dataset, step, dropped row), in order: every dropped row has a home (house rule 6)."""
    write_rows(path, DROPPED_SCHEMA, (_dropped_columns(*item) for item in dropped))


def write_audit(path: Path, audits: Iterable[tuple[str, pa.Table]]) -> None:
    """Write (dataset, matched rows) of decontamination, the best matches first."""
    tables = [AUDIT_SCHEMA.empty_table()]
    for dataset, audit in audits:
        named = audit.append_column("dataset", pa.array([dataset] * audit.num_rows, pa.string()))
        tables.append(named.select(AUDIT_SCHEMA.names).cast(AUDIT_SCHEMA))
    table = pa.concat_tables(tables).sort_by([("score", "descending"), ("dataset", "ascending"), ("id", "ascending")])
    pq.write_table(table, path, compression="zstd", version="2.6")


def problem_columns(problem: Problem) -> dict[str, Any]:
    """A problem as the columns of `PROBLEM_SCHEMA`."""
    return {
        "id": problem.id,
        "prompt": list(problem.prompt),
        "domain": problem.domain,
        "answer": problem.answer,
        "tests": test_columns(problem),
        "checker": problem.checker,
        "level": problem.level,
        "source": problem.source,
    }


def test_columns(problem: Problem) -> list[dict[str, str | None]]:
    """The tests of a problem as `PROBLEM_SCHEMA` holds them."""
    return [dict.fromkeys(_TEST_FIELDS) | asdict(test) for test in problem.tests]


def problem_of(row: Mapping[str, Any]) -> Problem:
    """A problem of the columns that are there; those that are left out are empty."""
    return Problem(
        id=row.get("id") or "",
        prompt=tuple(Message(role=m["role"], content=m["content"]) for m in row.get("prompt") or ()),
        domain=row.get("domain") or "",
        answer=row.get("answer"),
        tests=tuple(map(_test, row.get("tests") or ())),
        checker=row.get("checker"),
        level=row.get("level"),
        source=row.get("source") or "",
    )


def _test(columns: dict[str, str | None]) -> AnyTest:
    kind = next(kind for kind in _KINDS if columns[kind.__slots__[0]] is not None)
    return kind(*(columns[name] for name in kind.__slots__))  # type: ignore[arg-type]


def _demonstration_columns(one: Demonstration) -> dict[str, Any]:
    return {**problem_columns(one.problem), **{name: getattr(one, name) for name in _DEMONSTRATED}}


def _demonstration_of(row: Mapping[str, Any]) -> Demonstration:
    return Demonstration(problem_of(row), *(row[name] for name in _DEMONSTRATED))


def _dropped_columns(dataset: str, step: str, dropped: Dropped) -> dict[str, Any]:
    row, problem = dropped.row, dropped.row.problem
    prompt = prompt_text(problem)
    return {
        "dataset": dataset,
        "source": problem.source,
        "id": problem.id,
        "where": row.where,
        "step": step,
        "reason": dropped.reason,
        "detail": dropped.detail,
        "domain": problem.domain,
        "level": problem.level,
        "text": prompt if row.response is None else f"{prompt}\n\n{row.response}",
    }


def _characters(row: dict[str, Any]) -> int:
    return sum(len(value) for value in row.values() if isinstance(value, str))


def write_rows(
    path: Path,
    schema: pa.Schema,
    rows: Iterable[dict[str, Any]],
    size_of: Callable[[dict[str, Any]], int] = _characters,
) -> None:
    """Write rows in groups that fit in memory, whatever their length (`size_of`, in characters)."""
    with pq.ParquetWriter(path, schema, compression="zstd", version="2.6") as writer:
        for group in _groups(rows, size_of):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def _groups(rows: Iterable[dict[str, Any]], size_of: Callable[[dict[str, Any]], int]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        group.append(row)
        size += size_of(row)
        if len(group) == _GROUP_ROWS or size >= _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
