"""The keys of the schema as data: their paths, types in words, defaults and help; how a path leads through the tables.

A path is written as on the command line: `rl.phase.NAME.objective.clip_low`, `data.source.NAME.path`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from openklear.recipe.section import DomainName
from openklear.verifiers.domains import DOMAINS

Tables = tuple[type[BaseModel], ...]

WORDS: dict[Any, str] = {int: "whole number", float: "number", bool: "true or false", str: "text"}


@dataclass(frozen=True, slots=True)
class RecipeKey:
    """One leaf of the recipe."""

    path: str
    only: str
    """The `type` the key needs, where it belongs to one member of a tagged union; else empty."""
    type: str
    default: str
    """As TOML, or `required`, or `not set`."""
    help: str


def tables(annotation: Any) -> Tables:
    """The tables that a field of this annotation may hold: none for a leaf, several for a tagged union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    return tuple(chain.from_iterable(map(tables, get_args(annotation))))


def is_list(annotation: Any) -> bool:
    """Whether the field is an array ([[name]] in the file, if its items are tables)."""
    return get_origin(annotation) is tuple


def tag(table: type[BaseModel]) -> str:
    """The `type` of a member of a tagged union."""
    return str(table.model_fields["type"].default)


def in_words(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """A leaf's type for people: `whole number > 0`, `"drop" or "cut"`, `list of text`."""
    if annotation == DomainName:
        return _either([json.dumps(name) for name in DOMAINS])
    if annotation is Any:
        return "values"
    if get_origin(annotation) is Annotated:
        inner, *marks = get_args(annotation)
        unpacked = [mark.metadata if isinstance(mark, FieldInfo) else (mark,) for mark in marks]
        return in_words(inner, list(chain.from_iterable(unpacked)))
    if get_origin(annotation) is Literal:
        return _either([json.dumps(choice) for choice in get_args(annotation)])
    if is_list(annotation):
        return f"list of {in_words(get_args(annotation)[0])}"
    if get_origin(annotation) is dict:
        return f"table of {in_words(get_args(annotation)[1])}"
    if annotation in WORDS:
        return WORDS[annotation] + _range(metadata)
    return _either([in_words(part, metadata) for part in get_args(annotation) if part is not NoneType])


def choices(annotation: Any) -> tuple[str, ...]:
    """The texts a leaf may be, if it is one of a few; else none."""
    if annotation == DomainName:
        return tuple(DOMAINS)
    if get_origin(annotation) is Literal:
        return tuple(str(choice) for choice in get_args(annotation))
    return tuple(chain.from_iterable(map(choices, get_args(annotation))))


def toml_value(value: Any) -> str:
    """A leaf's value as TOML."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{toml_value(name)} = {toml_value(item)}" for name, item in value.items()) + " }"
    return repr(value)


def keys(table: type[BaseModel], prefix: str = "", only: str = "") -> Iterator[RecipeKey]:
    """Every leaf of a table and of those below it: all members of every tagged union, the items of a list once."""
    for name, field in table.model_fields.items():
        path, members = prefix + name, tables(field.annotation)
        tags = [tag(one) for one in members] if len(members) > 1 else []
        if tags or not members:
            words = _either([json.dumps(one) for one in tags]) or in_words(field.annotation, field.metadata)
            yield RecipeKey(f"{path}.type" if tags else path, only, words, _default(field), field.description or "")
        below = f"{path}.NAME." if is_list(field.annotation) else f"{path}."
        for one in members:
            for key in keys(one, below, tag(one) if tags else ""):
                if not tags or key.path != f"{below}type":
                    yield key


def default_tag(field: FieldInfo) -> str | None:
    """The `type` that a tagged union's table has when the file leaves it out; None where there is no default."""
    return getattr(field.default, "type", None)


def _is_wide(mark: Any) -> bool:
    return (isinstance(mark, Le) and mark.le > 1) or (isinstance(mark, Ge) and mark.ge < 0)  # type: ignore[operator]


def bounds(annotation: Any, metadata: Sequence[Any] = ()) -> dict[str, Any]:
    """`ge`, `gt`, `le`, `lt` of a number's leaf, wherever in the annotation they stand."""
    found: dict[str, Any] = {}
    for mark in metadata:
        for inner in mark.metadata if isinstance(mark, FieldInfo) else (mark,):
            found |= {sign: getattr(inner, sign) for sign in ("ge", "gt", "le", "lt") if hasattr(inner, sign)}
    parts = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return found | bounds(parts[0], parts[1:])
    for part in parts:
        found |= bounds(part)
    return found


def _default(field: FieldInfo) -> str:
    """As TOML; of a tagged union's table the `type`."""
    if field.is_required() or (field.default is None and tables(field.annotation)):
        return "required"
    return "not set" if field.default is None else toml_value(default_tag(field) or field.default)


def _either(words: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def _range(metadata: Sequence[Any]) -> str:
    """The bounds of a number in words; a share reads better as a span.

    An upper bound above 1 and a lower one below 0 only keep nonsense out: the message for a broken one names it.
    """
    marks = {type(mark): mark for mark in metadata if not _is_wide(mark)}
    if Ge in marks and Le in marks:
        return f" from {marks[Ge].ge:g} to {marks[Le].le:g}"
    signs = ((Gt, "gt", " > "), (Ge, "ge", " >= "), (Le, "le", " and <= "))
    return "".join(f"{sign}{getattr(marks[kind], name):g}" for kind, name, sign in signs if kind in marks)
