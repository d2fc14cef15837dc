"""pydantic's errors in the words of the recipe: the key, what is wrong with it, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from openklear.recipe import keys
from openklear.recipe.schema import Recipe
from openklear.recipe.section import DomainName

Path = tuple[str | int, ...]
RENAMED = {"ours": "report"}
"""Old `type` -> what it is called now."""
NUMBER = re.compile(r"[+-]?(\d[\d_]*)?\.?\d*([eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a recipe."""

    path: Path
    message: str
    rule: bool = False
    """Whether it is a rule between keys, not a key on its own."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a pydantic location lies in the tables."""

    path: Path
    table: type[BaseModel]
    siblings: keys.Tables
    """All members of the tagged union that the table belongs to, if it does."""
    field: FieldInfo | None


def faults(error: ValidationError, table: type[BaseModel] = Recipe, prefix: Path = ()) -> Iterator[Fault]:
    """What an error of validating `table` says; `prefix` is the path of that table."""
    for detail in _one_each(error):
        place = locate(table, detail["loc"], prefix)
        if detail["type"] == "rules":
            for path, message in detail["ctx"]["broken"]:
                yield Fault((*place.path, *path), message, rule=True)
        elif detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
            yield _tag_fault(detail, place)
        else:
            yield Fault(place.path, _message(detail, place))


def _one_each(error: ValidationError) -> Iterator[ErrorDetails]:
    """Of a key with choices of several kinds one error: that it is none of the words says less than the others do.

    A list is too short for pydantic where its items are wrong, too: then it is the items that are told.
    """
    said: dict[Path, ErrorDetails] = {}
    every = error.errors(include_url=False)
    places = [detail["loc"] for detail in every]
    for detail in every:
        if detail["type"] == "too_short" and any(_is_below(place, detail["loc"]) for place in places):
            continue
        *stem, last = detail["loc"] or ("",)
        known = said.get(tuple(stem))
        of_choice = str(last).startswith("literal[") or (known is not None and known["type"] == "literal_error")
        loc = tuple(stem) if of_choice else detail["loc"]
        said[loc] = {**detail, "loc": loc}
    yield from said.values()


def _is_below(place: Path, above: Path) -> bool:
    return place != above and place[: len(above)] == above


def locate(table: type[BaseModel], loc: Path, prefix: Path = ()) -> Location:
    """Follow a pydantic location, which names the member after every tagged union, down the tables."""
    path = [*prefix]
    siblings: keys.Tables = ()
    field: FieldInfo | None = None
    rest = list(loc)
    while rest:
        name = rest.pop(0)
        path.append(name)
        field = table.model_fields.get(str(name))
        below = keys.tables(field.annotation) if field else ()
        if field is None or not rest or not below:
            return Location((*path, *rest), table, siblings, field)
        if keys.is_list(field.annotation):
            path.append(rest.pop(0))
        siblings = below if len(below) > 1 else ()
        wanted = rest.pop(0) if siblings and rest else None
        table = next((one for one in below if siblings and keys.tag(one) == wanted), below[0])
        field = None
    return Location(tuple(path), table, siblings, field)


def _message(detail: ErrorDetails, place: Location) -> str:
    kind, given = detail["type"], detail["input"]
    below = keys.tables(place.field.annotation) if place.field else (place.table,)
    if kind == "missing" and place.field is not None:
        words = keys.in_words(place.field.annotation, place.field.metadata) if not below else "table"
        return f"missing; add it ({words}: {place.field.description})"
    if kind == "extra_forbidden":
        return unknown_key(str(place.path[-1]), place)
    if kind == "too_short" and place.field is not None:
        return f"is empty; write at least one ({place.field.description})"
    if below and kind in ("tuple_type", "model_type", "model_attributes_type", "dict_type"):
        return _not_a_table(place, given, is_item=isinstance(place.path[-1], int))
    if place.field is None:
        return f"{detail['msg']}; change it"
    return _wrong_value(detail, place.field, given, is_item=isinstance(place.path[-1], int))


def _wrong_value(detail: ErrorDetails, field: FieldInfo, given: Any, *, is_item: bool) -> str:
    annotation, metadata = field.annotation, field.metadata
    if any(mark in get_args(DomainName) for mark in metadata):  # pydantic has taken the name apart
        annotation = DomainName
    if get_origin(annotation) is dict and detail["type"] != "dict_type":
        annotation, metadata = get_args(annotation)[1], []
    if is_item and keys.is_list(annotation):
        annotation, metadata = get_args(annotation)[0], []
    words = keys.in_words(annotation, metadata)
    if detail["type"] == "less_than_equal" and (most := keys.bounds(annotation, metadata)["le"]) > 1:
        words += f", at most {most:_}"
    article = "a " if words.startswith(("whole", "number", "list", "table")) else ""
    remedy = _remedy(detail["type"], given) or _example(field, annotation, given)
    return f"must be {article}{words}, not {shown(given)}; {remedy}"


def _example(field: FieldInfo, annotation: Any, given: Any) -> str:
    """The nearest choice, or the default, or the key's help."""
    near = get_close_matches(given, keys.choices(annotation), 1) if isinstance(given, str) else []
    if near:
        return f'did you mean "{near[0]}"?'
    if field.is_required():
        return f"write what the key asks for: {field.description}"
    if field.default is None or field.default == {}:
        return "remove the key, or write such a value"
    return f"write, for example, {keys.toml_value(field.default)}"


def _remedy(kind: str, given: Any) -> str:
    """How to write what was probably meant; empty where that is not clear."""
    if isinstance(given, str) and kind in ("int_type", "float_type", "bool_type") and given:
        if given.lower() in ("true", "false"):
            return f"write {given.lower()} without quotes"
        return "write it as TOML does, without quotes" if NUMBER.fullmatch(given) else ""
    if kind == "string_type" and isinstance(given, (int, float)):
        return f'write it in quotes, "{keys.toml_value(given)}"'
    if kind == "int_type" and isinstance(given, float) and given.is_integer():
        return f"write {int(given)}"
    if kind == "tuple_type" and isinstance(given, (str, int, float)):
        return f"write [{keys.toml_value(given)}]"
    return ""


def unknown_key(name: str, place: Location) -> str:
    """Whose key it is, or the nearest key, and the keys there are."""
    own = list(place.table.model_fields)
    owners = [keys.tag(one) for one in place.siblings if name in one.model_fields]
    listed = f"its keys are {', '.join(own)}"
    if owners:
        tag = keys.tag(place.table)
        return f"{name} is not a key of {tag}; it belongs to {', '.join(owners)}; remove it or change type"
    near = get_close_matches(name, own, 1)
    if near:
        return f"unknown key; did you mean {near[0]}? {listed}"
    elsewhere = [key.path for key in keys.keys(Recipe) if key.path.rpartition(".")[2] == name]
    hint = f"it is a key elsewhere: {', '.join(dict.fromkeys(elsewhere))}; " if elsewhere else ""
    return f"unknown key; {hint}{listed}"


def _not_a_table(place: Location, given: Any, *, is_item: bool) -> str:
    dotted = ".".join(str(part) for part in place.path if isinstance(part, str))
    if isinstance(given, dict):
        return f"must be a list of tables; write [[{dotted}]] with double brackets, once for each"
    if not is_item and place.field is not None and not keys.is_list(place.field.annotation):
        return f"must be a table, not {shown(given)}; write [{dotted}] with its keys below"
    return f"must be a list of tables, not {shown(given)}; write [[{dotted}]] with an item's keys below, once for each"


def _tag_fault(detail: ErrorDetails, place: Location) -> Fault:
    members = keys.tables(place.field.annotation) if place.field else ()
    known = [keys.tag(one) for one in members]
    quoted = ", ".join(f'"{one}"' for one in known)
    path = (*place.path, "type")
    if detail["type"] == "union_tag_not_found":
        return Fault(path, f"missing; write type = one of {quoted}")
    given = detail["ctx"]["tag"]
    if RENAMED.get(given) in known:
        return Fault(path, f'"{given}" is now "{RENAMED[given]}"; write "{RENAMED[given]}"')
    near = _nearest(given, known)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return Fault(path, f"there is no {given}; {hint}choose from {quoted}")


def _nearest(given: str, known: Sequence[str]) -> list[str]:
    """The close names that no other is closer than: gpo is as near to gppo as to gspo."""
    likeness = {
        name: SequenceMatcher(None, given, name).ratio() for name in get_close_matches(given, known, len(known))
    }
    return [name for name in known if likeness.get(name, -1.0) == max(likeness.values(), default=0.0)]


def shown(value: Any) -> str:
    """A value for a message, short."""
    if isinstance(value, str):
        text = f"the text {keys.toml_value(value)}" if value else "an empty text"
    elif isinstance(value, dict):
        return "a table"
    elif isinstance(value, (bool, int, float, list, tuple)):
        text = keys.toml_value(value) if not _holds_tables(value) else "a list of tables"
    else:
        text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _holds_tables(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and any(isinstance(item, dict) or _holds_tables(item) for item in value)
