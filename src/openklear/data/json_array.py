"""The elements of a JSON array, one after the other, in bounded memory.

The buffer holds what was read and not yet parsed. If an element does not end in it, more is read, twice as much each
time up to 8 MiB, so that few elements are tried often; one longer than `streams.MAX_LINE` is refused.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from openklear.data.streams import MAX_LINE, not_json, not_utf8, open_stream, reading, too_long
from openklear.errors import DataError

CHUNK = 1 << 20
_MOST = 8 << 20
"""Bytes that are read at once."""
_NEAR_END = 16
"""An error so few letters before the end of the buffer may mean that a word, a number or an escape is cut."""
_BLANKS = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()
_TYPES = {"{": "an object", '"': "a string", "n": "null", "t": "a truth value", "f": "a truth value"}


def json_array(path: Path) -> Iterator[Any]:
    """Yield every element; none for a file of blanks. DataError, with the line, for anything but a JSON array."""
    with open_stream(path) as file:
        buffer = _Buffer(path, file)
        try:
            yield from _elements(buffer)
        except json.JSONDecodeError as error:
            before = buffer.column if error.lineno == 1 else 0
            raise not_json(error, path, buffer.lines + error.lineno, before) from error
        except (ValueError, RecursionError) as error:
            raise not_json(error, path, buffer.line()) from error


def _elements(buffer: _Buffer) -> Iterator[Any]:
    mark = buffer.peek()
    if not mark:
        return
    if mark != "[":
        kind = _TYPES.get(mark) or ("a number" if mark.isdigit() or mark == "-" else "no JSON")
        what = f"found {kind} where an array of rows is expected"
        raise DataError(f"{buffer.path}:{buffer.line()}: {what}; name the file .jsonl if it holds one row a line")
    buffer.at += 1
    if buffer.peek() == "]":
        mark = "]"
        buffer.at += 1
    while mark != "]":
        yield buffer.value()
        mark = buffer.peek()
        if mark not in (",", "]"):
            raise json.JSONDecodeError("Expecting ',' delimiter", buffer.text, buffer.at)
        buffer.at += 1
    if buffer.peek():
        raise json.JSONDecodeError("Extra data after the array", buffer.text, buffer.at)


class _Buffer:
    """Text that was read, of which the letters before `at` are parsed, and its place in the file."""

    def __init__(self, path: Path, file: BinaryIO):
        self.path, self._file = path, file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self.text, self.at, self._read = "", 0, 0
        self.lines = self.column = 0
        """Whole lines before the text, and letters before it on its first line."""

    def line(self) -> int:
        """Of the letter at `at`, from 1."""
        return self.lines + self.text.count("\n", 0, self.at) + 1

    def peek(self) -> str:
        """Skip blanks and return the next letter without taking it; empty at the end."""
        while True:
            self.at = _BLANKS.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._more(CHUNK):
                return ""

    def value(self) -> Any:
        """Take the next value."""
        self.peek()
        size = CHUNK
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                cut = error.pos >= len(self.text) - _NEAR_END or error.msg.startswith("Unterminated string")
                if not (cut and self._more(size)):
                    raise
            else:
                may_go_on = isinstance(value, int | float) and len(self.text) - end < _NEAR_END
                if not (may_go_on and self._more(size)):
                    self.at = end
                    return value
            size = min(2 * size, _MOST)
            if len(self.text) - self.at > MAX_LINE:
                raise too_long(self.path, self.line(), "an element of the array")

    def _more(self, size: int) -> bool:
        """Read more; False, and nothing changes, at the end of the file."""
        with reading(self.path, self.line()):
            data = self._file.read(size)
        self._read += len(data)
        try:
            text = self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            line = self.lines + self.text.count("\n") + error.object[: error.start].count(b"\n") + 1
            raise not_utf8(self.path, line, self._read - len(error.object) + error.start) from error
        if not data:
            return False
        parsed = self.text[: self.at]
        self.column = len(parsed) - parsed.rfind("\n") - 1 + (0 if "\n" in parsed else self.column)
        self.lines += parsed.count("\n")
        self.text, self.at = self.text[self.at :] + text, 0
        return True
