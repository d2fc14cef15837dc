"""Nodes of lists, trees and graphs as they cross in a talk: by value, all of a message in one table.

A row of the table is a node: [class, {field: packed value}]. ["g", number] in a value is the node of that row; a node
that is met twice is one row, so shared and circular links stay what they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import nodes, values

Table = list[list[Any]]


class Outgoing:
    """The nodes of a message that is being packed."""

    def __init__(self, kinds: Mapping[type, str], otherwise: values.Refer, first: Sequence[object] = ()):
        """`kinds`: names by class, of nodes that cross by value; `otherwise` packs all other objects.

        `first` are nodes that the other end knows by their places.
        """
        self.kinds, self._otherwise = kinds, otherwise
        self.met = list(first)
        self._places = {id(node): place for place, node in enumerate(self.met)}

    def pack(self, value: object) -> values.Tree:
        """A value of the message."""
        return values.pack(value, self._refer)

    def _refer(self, thing: object) -> values.Tree:
        if type(thing) not in self.kinds:
            return self._otherwise(thing)
        place = self._places.setdefault(id(thing), len(self.met))
        if place == len(self.met):
            self.met.append(thing)
        return ["g", place]

    def table(self) -> Table:
        """The rows of all nodes met, and of those that are met in them. values.NotPlain for too many."""
        rows: Table = []
        for node in self.met:  # which grows under way
            if len(self.met) > values.MAX_NODES // 4:
                raise values.NotPlain("too big")
            fields = _fields(node, nodes.FIELDS[self.kinds[type(node)]])
            rows.append([self.kinds[type(node)], {field: self.pack(value) for field, value in fields.items()}])
        return rows


def _fields(node: object, usual: Sequence[str]) -> dict[str, object]:
    """What a node holds: a class of the test's own may have other fields than the usual."""
    held = getattr(node, "__dict__", None)
    if type(held) is not dict:
        return {field: getattr(node, field) for field in usual if hasattr(node, field)}
    return {field: value for field, value in held.items() if not field.startswith("_")}


def build(
    table: Table, classes: Mapping[str, type], resolve: values.Resolve, first: Sequence[object] = ()
) -> list[Any]:
    """The nodes of a table, which may come from a hostile process: then it may raise what reading a bad one raises.

    `first` are the nodes of the first rows, which become what the rows say.
    """
    made: list[Any] = list(first)
    for name, fields in table[len(made) :]:
        made.append(_new(classes[name], next(iter(fields.values()), None)))
    resolve_all = resolver(made, resolve)
    for node, (_, fields) in zip(made, table, strict=True):
        for field, tree in fields.items():
            if field.startswith("_"):
                raise ValueError(f"no field {field!r}")
            setattr(node, field, values.unpack(tree, resolve_all))
    return made


def resolver(made: Sequence[object], resolve: values.Resolve) -> Callable[[list[Any]], object]:
    """What references stand for where these are the nodes of the table."""

    def resolved(tree: list[Any]) -> object:
        if tree[0] != "g":
            return resolve(tree)
        if type(tree[1]) is not int or not 0 <= tree[1] < len(made):
            raise ValueError("no such node")
        return made[tree[1]]

    return resolved


def _new(kind: type, value: values.Tree) -> Any:
    """A node with its value, which is what it holds first; a class of the program's own may want nothing, or more."""
    plain = None if type(value) is list else value
    for given in ((plain,), ()):
        with contextlib.suppress(TypeError):
            return kind(*given)
    return object.__new__(kind)
