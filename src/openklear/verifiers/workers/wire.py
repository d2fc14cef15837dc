"""Messages over a pipe: four bytes of length, then JSON. No pickle: the other side may be hostile."""

from __future__ import annotations

import json
import os
import struct
from typing import Any

HEADER = struct.Struct(">I")
MAX_MESSAGE = 256 * 2**20
"""Bytes of a message; a longer one is a broken or a hostile peer."""


def encode(value: dict[str, Any]) -> bytes:
    """A message's bytes. Lone surrogates (bytes that were not UTF-8) survive as JSON escapes."""
    body = json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode("ascii")
    return HEADER.pack(len(body)) + body


def write_message(fd: int, value: dict[str, Any]) -> None:
    """Writes a whole message to a blocking descriptor."""
    view = memoryview(encode(value))
    while view:
        view = view[os.write(fd, view) :]


def read_message(fd: int) -> dict[str, Any] | None:
    """Reads a message from a blocking descriptor; None at the end of the file, also in the middle of a message."""
    header = _read_exactly(fd, HEADER.size)
    if header is None:
        return None
    (length,) = HEADER.unpack(header)
    body = _read_exactly(fd, length) if length <= MAX_MESSAGE else None
    if body is None:
        return None
    return decode(body)


def decode(body: bytes) -> dict[str, Any]:
    """A message from its bytes (without the length); ValueError where it is not a JSON object."""
    message = json.loads(body)
    if not isinstance(message, dict):
        raise ValueError("not an object")
    return message


def _read_exactly(fd: int, count: int) -> bytes | None:
    parts: list[bytes] = []
    while count:
        part = os.read(fd, min(count, 1 << 20))
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
