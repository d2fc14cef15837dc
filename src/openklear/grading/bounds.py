"""What the grading server takes on, how it refuses more, and who may reach it."""

from __future__ import annotations

import io
import ipaddress
import socket
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any


class Refusal(Exception):
    """An answer other than 200: its status, its message, and after how many seconds another try makes sense."""

    def __init__(self, status: HTTPStatus, message: str, retry_after: int | None = None):
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


@dataclass(frozen=True, slots=True)
class ServerBounds:
    """What the server takes on."""

    rows: int = 1024
    """Of a request."""
    body_bytes: int = 16 * 2**20
    """Of a request; of all requests in work together 8 times as many."""
    waiting: int = 256
    """Requests in work or waiting for a worker."""
    connections: int = 1024
    read_seconds: float = 30.0
    """Until a request has arrived, from its first byte to its last."""
    write_seconds: float = 30.0
    stop_seconds: float = 30.0
    """Until what is in work when the server is told to stop must be answered."""


class Until(io.RawIOBase):
    """A socket's bytes until a deadline, which no drip of bytes puts off; TimeoutError then."""

    def __init__(self, connection: socket.socket, seconds: float):
        super().__init__()
        self._connection, self._ends = connection, time.monotonic() + seconds

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As of any raw stream."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request took too long to arrive")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_local_name(host: str) -> bool:
    """Whether a Host header names this machine."""
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    return name == "localhost" or is_loopback(name)
