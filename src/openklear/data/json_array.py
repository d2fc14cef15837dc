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

from openklear.data.streams import MAX_LINE, Reading, not_utf8, open_stream, too_long
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
        first = buffer.peek()
        if not first:
            return
        if first != "[":
            kind = _TYPES.get(first) or ("a number" if first.isdigit() or first == "-" else "no JSON")
            what = f"found {kind} where an array of rows is expected"
            raise DataError(f"{path}:{buffer.line}: {what}; name the file .jsonl if it holds one row a line")
        buffer.take(1)
        if buffer.peek() == "]":
            buffer.take(1)
        else:
            yield from _elements(buffer)
        if buffer.peek():
            raise buffer.fault(0, "Extra data after the array")


def _elements(buffer: _Buffer) -> Iterator[Any]:
    while True:
        yield buffer.value()
        mark = buffer.peek()
        if mark not in (",", "]"):
            raise buffer.fault(0, "Expecting ',' delimiter")
        buffer.take(1)
        if mark == "]":
            return


class _Buffer:
    """Text that was read and not yet parsed, and its place in the file."""

    def __init__(self, path: Path, file: BinaryIO):
        self._path, self._file = path, file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._at, self._ended, self._read = "", 0, False, 0
        self.line = 1
        """Of the letter at `_at`."""
        self._column = 1

    def peek(self) -> str:
        """Skip blanks and return the next letter without taking it; empty at the end."""
        while True:
            end = _BLANKS.match(self._text, self._at).end()  # type: ignore[union-attr]
            self.take(end - self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more(CHUNK):
                return ""

    def take(self, count: int) -> None:
        """Advance by so many letters."""
        end = self._at + count
        breaks = self._text.count("\n", self._at, end)
        self.line += breaks
        self._column = end - self._text.rfind("\n", self._at, end) if breaks else self._column + count
        self._at = end

    def value(self) -> Any:
        """Take the next value."""
        self.peek()
        size = CHUNK
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                ahead = error.pos - self._at
                if not (self._cut(error) and self._more(size)):
                    raise self.fault(ahead, error.msg) from error
                size = min(2 * size, _MOST)
                if len(self._text) - self._at > MAX_LINE:
                    raise too_long(self._path, self.line, "an element of the array") from error
            except RecursionError as error:
                raise DataError(f"{self._path}:{self.line}: JSON nested too deeply; correct or remove it") from error
            except ValueError as error:  # a whole number with thousands of digits
                raise DataError(
                    f"{self._path}:{self.line}: not readable JSON: {error}; correct or remove it"
                ) from error
            else:
                length, cut = end - self._at, len(self._text) - end < _NEAR_END
                if cut and isinstance(value, int | float) and self._more(size):
                    continue  # a number may go on
                self.take(length)
                return value

    def fault(self, ahead: int, message: str) -> DataError:
        """An error so many letters ahead."""
        self.take(ahead)
        what = f"not valid JSON at column {self._column}: {message}"
        return DataError(f"{self._path}:{self.line}: {what}; correct or remove it")

    def _cut(self, error: json.JSONDecodeError) -> bool:
        return error.pos >= len(self._text) - _NEAR_END or error.msg.startswith("Unterminated string")

    def _more(self, size: int) -> bool:
        """Read more; False at the end of the file."""
        if self._ended:
            return False
        with Reading(self._path, self.line):
            data = self._file.read(size)
        self._ended = not data
        try:
            text = self._decoder.decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            before = self._text[self._at :].count("\n") + error.object[: error.start].count(b"\n")
            byte = self._read + len(data) - len(error.object) + error.start
            raise not_utf8(self._path, self.line + before, byte) from error
        self._read += len(data)
        self._text, self._at = self._text[self._at :] + text, 0
        return not self._ended or bool(text)
