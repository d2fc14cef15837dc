"""Scores that others published, read from a file, to stand beside ours: shown as quoted, and in no statistics.

A TOML file with `quoted`, an array of tables {model, benchmark, value, k, budget, yarn, note, source}: value in percent
and source are required, source once for the whole file if one likes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openklear.errors import DataError

SHIPPED = Path(__file__).parent / "quoted"
KINDS: dict[str, tuple[type, ...]] = {
    "model": (str,),
    "benchmark": (str,),
    "value": (int, float),
    "k": (int,),
    "budget": (int,),
    "yarn": (int, float),
    "note": (str,),
    "source": (str,),
}
REQUIRED = ("model", "benchmark", "value", "source")


@dataclass(frozen=True, slots=True)
class Quote:
    """One published score."""

    model: str
    benchmark: str
    value: float
    """In [0, 1]."""
    source: str
    k: int | None = None
    budget: int | None = None
    yarn: float | None = None
    note: str | None = None


def shipped() -> list[str]:
    """Names of the files that come with OpenKlear."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def read_quotes(name: str) -> list[Quote]:
    """The quotes of a file, or of one that comes with OpenKlear by its name. DataError says what is wrong where."""
    path = SHIPPED / f"{name}.toml" if name in shipped() else Path(name)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        known = f"; those that are shipped: {', '.join(shipped())}"
        raise DataError(f"{path}: cannot be read: {error}{known if not path.exists() else ''}") from error
    rows = document.get("quoted")
    if not isinstance(rows, list) or set(document) - {"quoted", "source"}:
        raise DataError(f"{path}: must hold `quoted`, an array of tables, and may hold `source`; nothing else")
    found = list(_quotes(rows, document.get("source"), path))
    places = [(one.model, one.benchmark) for one in found]
    for place in places:
        if places.count(place) > 1:
            raise DataError(f"{path}: {place[0]} on {place[1]} is quoted twice; keep one of them")
    return found


def _quotes(rows: list[Any], source: object, path: Path) -> Iterator[Quote]:
    for number, row in enumerate(rows, 1):
        where = f"{path}: quoted {number}"
        if not isinstance(row, Mapping):
            raise DataError(f"{where}: must be a table")
        values = {**({} if source is None else {"source": source}), **row}
        for key, value in values.items():
            if key not in KINDS:
                raise DataError(f"{where}: unknown key {key}; known are {', '.join(KINDS)}")
            if not isinstance(value, KINDS[key]) or isinstance(value, bool):
                raise DataError(f"{where}: {key} must be {' or '.join(kind.__name__ for kind in KINDS[key])}")
        missing = [key for key in REQUIRED if not values.get(key) and values.get(key) != 0]
        if missing:
            raise DataError(f"{where}: {missing[0]} is missing")
        if not 0 <= values["value"] <= 100:
            raise DataError(f"{where}: value must lie between 0 and 100; it is in percent")
        yield Quote(**{**values, "value": values["value"] / 100})
