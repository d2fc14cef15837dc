"""Tables of rows written by hand, for tests of the steps."""

from collections.abc import Sequence
from pathlib import Path

from openklear.curation.table import PartWriter, RowPart, RowTable
from openklear.data.rows import Row
from openklear.types import AnyTest, Message, Problem


def row(
    prompt: str,
    response: str | None = None,
    *,
    source: str = "s",
    level: str | None = None,
    domain: str = "math",
    answer: str | None = "1",
    tests: tuple[AnyTest, ...] = (),
    where: str = "f:1",
    solution: str | None = None,
    id: str | None = None,
) -> Row:
    turns = (Message(role="user", content=prompt),)
    problem = Problem(id or where, turns, domain, answer, tests, level=level, source=source)
    return Row(problem, where, response, solution)


def table_of(directory: Path, rows: Sequence[Row]) -> RowTable:
    """One part a run of rows of one source."""
    parts: list[RowPart] = []
    names = list(dict.fromkeys(row.problem.source for row in rows))
    for index, source in enumerate(names):
        path = directory / f"part-{index}"
        path.mkdir(parents=True)
        writer = PartWriter(path, index)
        for one in rows:
            if one.problem.source == source:
                writer.write(one)
        writer.close()
        parts.append(RowPart(path, tuple(writer.counts), source))
    return RowTable(parts)


def living(table: RowTable) -> list[str]:
    """The prompts that are left, in order."""
    return [text for batch in table.batches(("text",)) for text in batch["text"].to_pylist()]
