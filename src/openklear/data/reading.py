"""The rows of a file as they are used, and whose fault it is where one cannot be.

of the file    it is no text, no JSON, not a row (`formats`); or none of its rows, or none of its first FIRST, has a
               known shape and columns of known types: DataError, with the first row that is wrong
of the row     everything else: what one row of a file holds. It is dropped with a reason, and what it held is kept
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from openklear.data.rows import Dropped, Row, RowFault
from openklear.data.shapes import Role, parse_rows
from openklear.data.shapes.columns import IDS
from openklear.errors import DataError
from openklear.types import Message, Problem, content_hash
from openklear.verifiers.domains import DOMAINS

FIRST = 100
"""Rows at the start of a file of which one at least must be readable."""
MALFORMED = "malformed row"
"""Reason: unknown columns, a value of a wrong type; the detail says which."""
_SHOWN = 4000
"""Characters that are kept of a row that cannot be read."""


def parsed(
    rows: Iterable[tuple[str, Mapping[str, Any]]],
    role: Role,
    source: str,
    domain: str | None,
    mapping: Mapping[str, str] | None = None,
) -> Iterator[list[Row | Dropped]]:
    """What `parse_rows` makes of each row (`where`, row) of a file; DataError for a fault of the file."""
    first: DataError | None = None
    unreadable, readable = 0, False
    for where, raw in rows:
        try:
            items = parse_rows(raw, where, role=role, source=source, domain=domain, mapping=mapping)
            readable = True
        except RowFault as fault:
            items, readable = [_lost(raw, where, source, domain, fault, fault.reason)], True
        except DataError as error:
            first, unreadable = first or error, unreadable + 1
            if not readable and unreadable == FIRST:
                break
            items = [_lost(raw, where, source, domain, error, MALFORMED)]
        yield items
    if first is not None and not readable:
        rest = f" (as in all of the first {unreadable} rows)" if unreadable > 1 else ""
        raise DataError(f"{first}{rest}") from first


def _lost(
    raw: Mapping[str, Any], where: str, source: str, domain: str | None, error: DataError, reason: str
) -> Dropped:
    """A row that cannot be read, with its text as the prompt: every dropped row can be opened."""
    text = json.dumps(raw, ensure_ascii=False, default=str)
    turns = (Message(role="user", content=text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."),)
    named = (raw.get(name) for name in IDS)
    own = next((str(value) for value in named if isinstance(value, str | int) and value != ""), content_hash(turns))
    said = (name for name in DOMAINS if name == raw.get("domain"))
    known = domain or next(said, next(iter(DOMAINS)))
    row = Row(Problem(f"{source}/{own}", turns, known, source=source), where)
    return Dropped(row, reason, str(error).removeprefix(f"{where}: "))
