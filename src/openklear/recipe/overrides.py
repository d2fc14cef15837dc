"""`--set a.b.c=value`: the same as writing that key in the recipe file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from openklear.recipe.keys import toml_value

NAMED_LISTS: dict[tuple[str, ...], str] = {("rl", "phase"): "phase", ("data", "source"): "source"}
"""The lists whose items a path reaches by name, and what an item is called."""


class CannotSet(ValueError):
    """An override that fits nowhere; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Override:
    """One parsed `--set`."""

    text: str
    path: tuple[str, ...]
    value: Any


def parse_override(text: str) -> Override:
    """`a.b.c=value`; the value is read as TOML, and taken as text where it is not TOML. Raises CannotSet."""
    key, equals, value = text.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        raise CannotSet(f"--set {text}: not of the form a.b.c=value; write, for example, --set sft.epochs=2")
    return Override(text, path, parse_value(value.strip()))


def parse_value(text: str) -> Any:
    """A TOML value, or else the text itself."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    # A line break in the text could smuggle in further keys: then it is no single value.
    return parsed["value"] if len(parsed) == 1 else text


def assign(raw: dict[str, Any], override: Override) -> None:
    """Write the override into the raw tables of a recipe, in place. Raises CannotSet."""
    table, rest = raw, override.path
    done: tuple[str, ...] = ()
    while len(rest) > 1:
        name, rest = rest[0], rest[1:]
        done = (*done, name)
        below = table.setdefault(name, {} if done not in NAMED_LISTS else [])
        if done in NAMED_LISTS and isinstance(below, list):
            below = _item(below, rest[0], done, override)
            done, rest = (*done, rest[0]), rest[1:]
            if not rest:
                raise CannotSet(f"--set {override.text}: {'.'.join(done)} is a table; name one of its keys")
        if not isinstance(below, dict):
            shown = toml_value(below) if isinstance(below, (str, int, float, list)) else str(below)
            raise CannotSet(f"--set {override.text}: {'.'.join(done)} is {shown}, not a table; drop .{'.'.join(rest)}")
        table = below
    table[rest[0]] = override.value


def _item(items: list[Any], name: str, path: tuple[str, ...], override: Override) -> Any:
    """The item of this name in a list of named tables."""
    tables = [item for item in items if isinstance(item, dict)]
    named: Mapping[str, Any] = {item["name"]: item for item in tables if isinstance(item.get("name"), str)}
    if name in named:
        return named[name]
    what = NAMED_LISTS[path]
    if not named:
        raise CannotSet(f"--set {override.text}: the recipe has no {what}s; add [[{'.'.join(path)}]] to the file")
    near = get_close_matches(name, named, 1)
    hint = f'did you mean "{near[0]}"? ' if near else ""
    raise CannotSet(f'--set {override.text}: no {what} is named "{name}"; {hint}there are {", ".join(named)}')
