"""Plain values as JSON, between a box and those who compare: the exact built-in types, and nothing that could act.

None, bool, int, str and finite floats stand for themselves; everything else is an array that begins with a tag:

    ["i", hex] int of more than 64 bits    ["f", text] nan, inf     ["c", real, imag] complex
    ["b", hex] bytes     ["a", hex] bytearray     ["r", start, stop, step] range
    ["l", ...] list      ["t", ...] tuple         ["s", ...] set    ["z", ...] frozenset    ["d", key, value, ...] dict
    ["o", number], ["h", number, type], ["n", name]   objects that stay where they are, where a talk allows them
    ["g", number]                                     a node of the table beside the value (graphs), in a talk

A subclass is not plain (its `==` may say anything), except three of `collections` that are plain dictionaries with a
habit: programs return a Counter where {} is expected, and in Python the two are equal. So are numpy's scalars and the
numbers they stand for.
"""

from __future__ import annotations

import math
import sys
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from itertools import chain
from json import dumps, loads
from typing import Any

MAX_DEPTH = 100
MAX_NODES = 1_000_000
MAX_CHARACTERS = 8 * 2**20
_MAX_COLLISIONS = 100
"""Elements of a set, or keys, that may share a hash. A program could make a million that do, and each look-up slow."""

Tree = Any
"""What JSON makes of a packed value."""
Refer = Callable[[object], Tree]
"""Makes an array of an object that is not plain, or raises."""
Resolve = Callable[[list[Any]], object]
"""Makes an object of such an array, or raises ValueError."""

_ITSELF = (type(None), bool, str)
_SEQUENCES: dict[type, str] = {list: "l", tuple: "t", set: "s", frozenset: "z"}
_DICTIONARIES = (dict, Counter, OrderedDict, defaultdict)
_BYTES: dict[type, str] = {bytes: "b", bytearray: "a"}
_MAKERS: dict[str, Callable[[list[Any]], Any]] = {
    "l": lambda items: items,
    "t": tuple,
    "s": lambda items: set(_calm(items)),
    "z": lambda items: frozenset(_calm(items)),
}


_SCALARS: dict[str, Callable[..., Any]] = {
    "i": lambda text: int(text, 16),
    "f": {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}.__getitem__,
    "b": bytes.fromhex,
    "a": bytearray.fromhex,
    "c": lambda real, imag: complex(float(real), float(imag)),
    "r": range,
}


class NotPlain(Exception):
    """The value cannot cross; the text says why."""


def pack(value: object, refer: Refer | None = None) -> Tree:
    """The value's tree. NotPlain for a type that is not plain, where `refer` takes none, or for one too deep or big."""
    return _Packer(refer).pack(value, 0)


class _Packer:
    def __init__(self, refer: Refer | None):
        self._refer, self._nodes = refer, 0

    def pack(self, value: Any, depth: int) -> Tree:
        """A value in a value: cycles end at the depth, or at the number of nodes."""
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise NotPlain("nested too deep, or in itself" if depth > MAX_DEPTH else "too big")
        kind = type(value)
        if kind in _ITSELF:
            return value
        if kind is int:
            return value if -(2**63) <= value < 2**63 else ["i", hex(value)]
        if kind is float:
            return value if math.isfinite(value) else ["f", str(value)]
        if kind in _SEQUENCES or kind in _DICTIONARIES:
            self._make_room_for(len(value))
        if kind in _SEQUENCES:
            return [_SEQUENCES[kind], *[self.pack(item, depth + 1) for item in list(value)]]
        if kind in _DICTIONARIES:
            return ["d", *[self.pack(item, depth + 1) for item in chain.from_iterable(list(value.items()))]]
        if kind in _BYTES:
            return [_BYTES[kind], value.hex()]
        if kind is complex:
            return ["c", self.pack(value.real, depth), self.pack(value.imag, depth)]
        if kind is range:
            return ["r", *[self.pack(bound, depth) for bound in (value.start, value.stop, value.step)]]
        if getattr(kind, "__module__", None) == "numpy" and kind is not type(scalar := _scalar(value)):
            return self.pack(scalar, depth)
        if self._refer is None:
            raise NotPlain(f"of type {kind.__name__}")
        return self._refer(value)

    def _make_room_for(self, items: int) -> None:
        """Refuse a value by its length: a second of packing a million numbers would be said to be its program's."""
        if self._nodes + items > MAX_NODES:
            raise NotPlain("too big")


def _scalar(value: Any) -> Any:
    """The plain value that a number of numpy's is equal to; itself where it is none (an array)."""
    generic = getattr(sys.modules.get("numpy"), "generic", ())
    return value.item() if isinstance(value, generic) else value


def unpack(tree: Tree, resolve: Resolve | None = None) -> Any:
    """The value of a tree, which may come from a hostile process. ValueError where it is none."""
    try:
        return _unpack(tree, resolve, 0)
    except (TypeError, LookupError, OverflowError) as error:  # an unhashable key, a tag without its operands
        raise ValueError(f"not a value: {error}") from error


def _unpack(tree: Tree, resolve: Resolve | None, depth: int) -> Any:
    if type(tree) is not list:
        if type(tree) in (*_ITSELF, int, float):
            return tree
        raise ValueError("not a value")
    if depth > MAX_DEPTH:
        raise ValueError("nested too deep")
    tag, operands = tree[0], tree[1:]
    if tag in _MAKERS:
        return _MAKERS[tag]([_unpack(item, resolve, depth + 1) for item in operands])
    if tag == "d":
        items = [_unpack(item, resolve, depth + 1) for item in operands]
        return dict(zip(_calm(items[::2]), items[1::2], strict=True))
    if tag in ("o", "h", "n", "g") and resolve is not None:
        return resolve(tree)
    if tag in _SCALARS:
        return _SCALARS[tag](*[_unpack(item, None, 0) for item in operands])
    raise ValueError("not a value")


def _calm(items: list[Any]) -> list[Any]:
    """The items, after a look at their hashes: a set of ints that all share one would take us hours to make."""
    if len(items) - len({item.__hash__() for item in items}) > _MAX_COLLISIONS:
        raise ValueError("too many equal hashes")
    return items


def to_text(tree: Tree) -> str:
    """The JSON text of a tree."""
    return dumps(tree, separators=(",", ":"))


def too_big(text: str) -> bool:
    """Whether a text is not read at all."""
    return len(text) > MAX_CHARACTERS or text.count(",") > 3 * MAX_NODES or text.count("[") > MAX_NODES


def from_text(text: str) -> Tree:
    """The tree of a text from a hostile process. ValueError where it is too long, too big, too deep, or not JSON."""
    if too_big(text):
        raise ValueError("too big")
    try:
        return loads(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
