"""A conformance report as text, as a table in Markdown, or as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from openklear.conformance.compare import AGREES, Report, Row

_COLUMNS = (
    *("objective", "framework", "setting", "aggregation"),
    *("value", "gradient", "split", "unequal", "far", "runaway", "masked", "verdict", "note"),
)
_NUMBERS = frozenset(("value", "gradient", "split", "unequal", "far", "runaway", "masked"))


def render(
    report: Report, format: str = "text", *, departures: bool = False, frameworks: Collection[str] | None = None
) -> str:
    """`format` is a key of FORMATS; with `departures` the rows that do not agree, with `frameworks` those of some."""
    rows = [row for row in report.rows if not (departures and row.verdict == AGREES)]
    rows = [row for row in rows if frameworks is None or row.framework in frameworks]
    return FORMATS[format](report, rows)


def _text(report: Report, rows: Sequence[Row]) -> str:
    """Columns in line; the notes, which are long, stand below the table."""
    columns, body, notes = _numbered(rows)
    widths = [max(map(len, column)) for column in zip(columns, *body, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in (columns, *body)]
    return "\n".join([*lines, "", *notes, _closing(report), ""])


def _markdown(report: Report, rows: Sequence[Row]) -> str:
    columns, body, notes = _numbered(rows)
    lines = [f"| {' | '.join(columns)} |", "|" + "|".join("--:" if c in _NUMBERS else "---" for c in columns) + "|"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |" for cells in body]
    return "\n".join([*lines, "", *(f"{note}  " for note in notes), "", _closing(report), ""])


def _numbered(rows: Sequence[Row]) -> tuple[tuple[str, ...], list[list[str]], list[str]]:
    """Columns, cells with the number of their note after the verdict, and the numbered notes, each once."""
    notes = list(dict.fromkeys(row.note for row in rows if row.note))
    columns = _COLUMNS[:-1]
    body = [[_cell(row, name) for name in columns] for row in rows]
    for cells, row in zip(body, rows, strict=True):
        cells[-1] += f" [{notes.index(row.note) + 1}]" if row.note else ""
    return columns, body, [f"[{i + 1}] {note}" for i, note in enumerate(notes)]


def _json(report: Report, rows: Sequence[Row]) -> str:
    """Numbers that are not finite become their names, which JSON has no numbers for."""
    found: dict[str, Any] = {
        "versions": dict(report.versions),
        "missing": dict(report.missing),
        "rows": [{name: _plain(value) for name, value in asdict(row).items()} for row in rows],
    }
    return json.dumps(found, indent=1, allow_nan=False) + "\n"


FORMATS: Mapping[str, Callable[[Report, Sequence[Row]], str]] = {"text": _text, "markdown": _markdown, "json": _json}


def _cell(row: Row, name: str) -> str:
    value = getattr(row, name)
    if name not in _NUMBERS:
        return str(value) or "-"
    return "-" if value is None else "0" if value == 0 else f"{value:.1e}"


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _closing(report: Report) -> str:
    asked = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    missing = "".join(f"; {name} was NOT asked ({reason})" for name, reason in report.missing.items())
    return f"Asked: {asked}{missing}."
