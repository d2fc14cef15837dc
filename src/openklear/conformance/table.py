"""A conformance report as text, as a table in Markdown, or as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from openklear.conformance.compare import AGREES, Comparison, Report

_NUMBERS = ("value", "gradient", "split", "unequal", "far", "runaway", "masked")
_COLUMNS = ("objective", "framework", "setting", "aggregation", *_NUMBERS, "verdict")


def render(
    report: Report, format: str = "text", *, departures: bool = False, frameworks: Collection[str] | None = None
) -> str:
    """`format` is a key of FORMATS; with `departures` the rows that do not agree, with `frameworks` those of some."""
    rows = [row for row in report.rows if not (departures and row.verdict == AGREES)]
    rows = [row for row in rows if frameworks is None or row.framework in frameworks]
    return FORMATS[format](report, rows)


def _text(report: Report, rows: Sequence[Comparison]) -> str:
    """Columns in line; the notes, which are long, stand below the table."""
    body, notes = _numbered(rows)
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *body, strict=True)]
    lines = ["  ".join(map(str.ljust, cells, widths)).rstrip() for cells in (_COLUMNS, *body)]
    return "\n".join([*lines, "", *notes, _closing(report), ""])


def _markdown(report: Report, rows: Sequence[Comparison]) -> str:
    body, notes = _numbered(rows)
    lines = [f"| {' | '.join(_COLUMNS)} |", "|" + "|".join("--:" if c in _NUMBERS else "---" for c in _COLUMNS) + "|"]
    for cells in body:
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join([*lines, "", *(f"{note}  " for note in notes), "", _closing(report), ""])


def _numbered(rows: Sequence[Comparison]) -> tuple[list[list[str]], list[str]]:
    """Cells with the number of their note after the verdict, and the numbered notes, each once."""
    notes = list(dict.fromkeys(row.note for row in rows if row.note))
    body = []
    for row in rows:
        cells = [_cell(row, name) for name in _COLUMNS]
        cells[-1] += f" [{notes.index(row.note) + 1}]" if row.note else ""
        body.append(cells)
    return body, [f"[{i + 1}] {note}" for i, note in enumerate(notes)]


def _json(report: Report, rows: Sequence[Comparison]) -> str:
    """Numbers that are not finite become their names, which JSON has no numbers for."""
    plain = [_plain(asdict(row)) for row in rows]
    found = {"versions": dict(report.versions), "missing": dict(report.missing), "rows": plain}
    return json.dumps(found, indent=1, allow_nan=False) + "\n"


FORMATS: Mapping[str, Callable[[Report, Sequence[Comparison]], str]] = {
    "text": _text,
    "markdown": _markdown,
    "json": _json,
}


def _cell(row: Comparison, name: str) -> str:
    value = getattr(row, name)
    if name not in _NUMBERS:
        return str(value) or "-"
    return "-" if value is None else "0" if value == 0 else f"{value:.1e}"


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    for name in _NUMBERS:
        if row[name] is not None and not math.isfinite(row[name]):
            row[name] = str(row[name])
    return row


def _closing(report: Report) -> str:
    asked = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    missing = "".join(f"; {name} was NOT asked ({reason})" for name, reason in report.missing.items())
    return f"Asked: {asked}{missing}."
