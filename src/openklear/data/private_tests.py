"""Tests that LiveCodeBench hides: base64 of zlib of a pickle of JSON text.

A pickle is a program. Here none runs: its steps are read one by one, those that make a text or a table of texts are
followed, and any other (a global, a call, a number) is refused. The size of the decompressed text is bounded.
"""

from __future__ import annotations

import base64
import binascii
import pickletools
import zlib
from typing import Any

from openklear.errors import DataError

MAX_BYTES = 256 << 20
"""The most that one row's tests may take decompressed; real ones are far smaller."""

_TEXTS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"}
_IDLE = {"PROTO", "FRAME"}
_MARK = object()


def read_private(text: str, column: str, where: str) -> str | dict[str, str]:
    """The text, or the table of texts, that was stored so. DataError, with `where`, for anything else."""
    try:
        data = base64.b64decode(text, validate=True)
        stream = zlib.decompressobj()
        pickled = stream.decompress(data, MAX_BYTES)
    except (binascii.Error, ValueError, zlib.error) as error:
        what = f"{column} is not base64 of zlib: {error}"
        raise DataError(f"{where}: {what}; download the file again") from error
    if not stream.eof and len(pickled) < MAX_BYTES:
        raise DataError(f"{where}: {column} is cut off; download the file again")
    if not stream.eof:
        what = f"{column} grows to more than {MAX_BYTES >> 20} MiB"
        raise DataError(f"{where}: {what}; remove the row, or write its tests out as a list of {{input, output}}")
    try:
        return read_texts(pickled)
    except (ValueError, IndexError, KeyError) as error:
        what = f"{column} holds a pickle of something other than texts ({error})"
        raise DataError(f"{where}: {what}; it was not opened: remove the row, and distrust its source") from error


def read_texts(pickled: bytes) -> str | dict[str, str]:
    """A text or a dict of texts out of a pickle of one; ValueError, IndexError or KeyError for any other."""
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    for step, value, _ in pickletools.genops(pickled):
        name = step.name
        if name in _TEXTS:
            stack.append(value)
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "SETITEM":
            _set_items(stack, len(stack) - 2)
        elif name == "SETITEMS":
            _set_items(stack, _mark(stack))
        elif name == "DICT":
            start = _mark(stack)
            stack.insert(start, {})
            _set_items(stack, start + 1)
        elif name in ("MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"):
            memo[len(memo) if name == "MEMOIZE" else value] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[value])
        elif name == "STOP":
            return _texts(stack)
        elif name not in _IDLE:
            raise ValueError(f"the step {name}")
    raise ValueError("it does not end")


def _mark(stack: list[Any]) -> int:
    """The place of the last mark, which is taken out."""
    place = len(stack) - 1 - stack[::-1].index(_MARK)
    del stack[place]
    return place


def _set_items(stack: list[Any], start: int) -> None:
    """Put the items from `start` on into the table before them."""
    items, table = stack[start:], stack[start - 1]
    if start < 1 or len(items) % 2 or not all(isinstance(item, str) for item in items) or not isinstance(table, dict):
        raise ValueError("a table of something else")
    del stack[start:]
    table.update(zip(items[::2], items[1::2], strict=True))


def _texts(stack: list[Any]) -> str | dict[str, str]:
    if len(stack) != 1 or not isinstance(stack[0], str | dict):
        raise ValueError("not one text")
    found: str | dict[str, str] = stack[0]
    return found
