"""Nodes of lists, trees and graphs as they cross in a talk: by value, all of a message in one table.

A row of the table is a node: [class, {field: packed value}]. ["g", number] in a value is the node of that row; a node
that is met twice is one row, so shared and circular links stay what they are.
"""

from __future__ import annotations

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
            name = self.kinds[type(node)]
            fields = {field: getattr(node, field) for field in nodes.FIELDS[name] if hasattr(node, field)}
            rows.append([name, {field: self.pack(value) for field, value in fields.items()}])
        return rows


def build(
    table: Table, classes: Mapping[str, type], resolve: values.Resolve, first: Sequence[object] = ()
) -> list[Any]:
    """The nodes of a table, which may come from a hostile process: then it may raise what reading a bad one raises.

    `first` are the nodes of the first rows, which become what the rows say.
    """
    made: list[Any] = list(first)
    for name, fields in table[len(made) :]:
        made.append(_new(classes[name], fields.get("val")))
    resolve_all = resolver(made, resolve)
    for node, (name, fields) in zip(made, table, strict=True):
        for field, tree in fields.items():
            if field not in nodes.FIELDS[name]:
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
    """A node with its value; a class of the program's own may want none, or only that."""
    plain = None if type(value) is list else value
    try:
        return kind(plain)
    except TypeError:
        return kind()
