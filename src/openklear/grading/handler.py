"""One connection to the grading server: its request is read within bounds, and answered as JSON."""

from __future__ import annotations

import io
import ipaddress
import json
import socket
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Protocol, cast

from openklear import __version__
from openklear.errors import OpenKlearError
from openklear.grading.rows import dumps
from openklear.verifiers.domains import DOMAINS

_DRAIN_SECONDS = 2.0
"""For how long the rest of a refused request is read, so that its sender can read the refusal."""


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


class Service(Protocol):
    """What a connection asks of the server behind it."""

    bounds: ServerBounds
    local_only: bool

    def admitted(self, size: int) -> AbstractContextManager[None]:
        """A place for a request of `size` bytes; Refusal where there is none."""
        ...

    def grade(self, kind: str, rows: list[Any]) -> list[dict[str, Any]]:
        """The rows with verdicts; Refusal where one cannot be graded."""
        ...

    def health(self) -> dict[str, Any]:
        """What GET /health answers."""
        ...

    def count(self, name: str, by: int = 1) -> None:
        """Adds to a counter that /health shows."""
        ...

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Notes an error of ours."""
        ...


class Handler(BaseHTTPRequestHandler):
    """One connection: one request, one answer."""

    protocol_version = "HTTP/1.1"
    server_version = f"openklear/{__version__}"
    sys_version = ""

    @property
    def _server(self) -> Service:
        return cast("Service", self.server)

    def setup(self) -> None:
        """Reads end at the deadline, however slowly the bytes drip in."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_Until(self.connection, self._server.bounds.read_seconds))

    def do_GET(self) -> None:
        """GET /health."""
        if self._path() == "/health":
            self._reply(HTTPStatus.OK, self._server.health())
        else:
            self._refuse(self._not_found("GET"))

    def do_POST(self) -> None:
        """POST /grade/math and /grade/code."""
        self._server.count("requests")
        self._unread = True
        try:
            kind = paths().get(self._path())
            if kind is None:
                raise self._not_found("POST")
            size = self._announced()
            with self._server.admitted(size):
                self._reply(HTTPStatus.OK, self._graded(kind, self._body(size)))
        except Refusal as refusal:
            self._refuse(refusal)
        except OpenKlearError as error:  # workers cannot be started, for instance
            self._refuse(Refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(error), 10))
        except OSError:
            self.close_connection = True  # the other side went away, or was too slow
        except Exception:  # a bug of ours must cost one answer, not the server, and must not show its inside
            self._server.handle_error(self.request, self.client_address)
            self._refuse(Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "the server met a bug of its own"))

    def _path(self) -> str:
        return self.path.partition("?")[0]

    def _not_found(self, method: str) -> Refusal:
        known = {"/health": "GET", **dict.fromkeys(paths(), "POST")}
        if self._path() in known:
            return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"{self._path()} takes {known[self._path()]}, not {method}")
        listed = ", ".join(f"{verb} {path}" for path, verb in known.items())
        return Refusal(HTTPStatus.NOT_FOUND, f"there is no {self._path()[:80]!r}; there are {listed}")

    def _announced(self) -> int:
        """Bytes of the body, by its header, after what is asked of every request; Refusal."""
        if self._server.local_only and not _is_local_name(self.headers.get("Host", "localhost")):
            # A page that a browser on this machine shows could otherwise reach us under a name of its own.
            raise Refusal(HTTPStatus.MISDIRECTED_REQUEST, "this server answers to localhost only")
        if self.headers.get_content_type() != "application/json":
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json, and say so in Content-Type")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or "Transfer-Encoding" in self.headers:
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "send the body in one piece, with its Content-Length")
        most = self._server.bounds.body_bytes
        if len(length) > 18 or int(length) > most:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request may hold {most:,} bytes; send fewer rows")
        return int(length)

    def _body(self, size: int) -> Any:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(HTTPStatus.CONTINUE)
            self.end_headers()
        try:
            data = self.rfile.read(size)
        except TimeoutError as error:
            most = self._server.bounds.read_seconds
            raise Refusal(HTTPStatus.REQUEST_TIMEOUT, f"the request did not arrive within {most:g} s") from error
        if len(data) < size:
            raise Refusal(HTTPStatus.BAD_REQUEST, "the body is shorter than its Content-Length")
        self._unread = False
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise Refusal(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {str(error)[:200]}") from error

    def _graded(self, kind: str, asked: Any) -> Any:
        if not isinstance(asked, dict):
            raise Refusal(HTTPStatus.BAD_REQUEST, 'send a row (an object), or {"rows": [...]}')
        if "rows" not in asked:
            return self._server.grade(kind, [asked])[0]
        rows, most = asked["rows"], self._server.bounds.rows
        if not isinstance(rows, list):
            raise Refusal(HTTPStatus.BAD_REQUEST, "rows must be an array of rows")
        if len(rows) > most:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request may hold {most:,} rows, not {len(rows):,}")
        return {"rows": self._server.grade(kind, rows)}

    def handle_expect_100(self) -> bool:
        """No client is told to continue before there is a place for its request."""
        return True

    def _refuse(self, refusal: Refusal) -> None:
        if refusal.status is HTTPStatus.SERVICE_UNAVAILABLE:
            self._server.count("refused")
        self._reply(refusal.status, {"error": str(refusal)}, refusal.retry_after)
        if getattr(self, "_unread", False):
            self._drain()

    def _reply(self, status: int, document: Any, retry_after: int | None = None) -> None:
        self.close_connection = True
        data = dumps(document)
        with suppress(OSError):  # the other side went away: there is nobody to answer
            self.connection.settimeout(self._server.bounds.write_seconds)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Connection", "close")
            if retry_after is not None:
                self.send_header("Retry-After", str(retry_after))
            self.end_headers()
            self.wfile.write(data)

    def _drain(self) -> None:
        """Reads on for a moment: closing over unread bytes would reset the connection before our answer is read."""
        ends = time.monotonic() + _DRAIN_SECONDS
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while (left := ends - time.monotonic()) > 0:
                self.connection.settimeout(left)
                if not self.connection.recv(1 << 20):
                    return

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library refuses (a malformed request line, an unknown method), as JSON."""
        self.headers = getattr(self, "headers", None) or cast(Any, {})
        self._reply(code, {"error": (message or HTTPStatus(code).phrase)[:200]})

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: /health counts."""


class _Until(io.RawIOBase):
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


def paths() -> dict[str, str]:
    """Where rows are sent -> their domain."""
    return {f"/grade/{name}": name for name in DOMAINS}


def is_loopback(host: Any) -> bool:
    """Whether an address is this machine's own."""
    try:
        return ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False


def _is_local_name(host: str) -> bool:
    """Whether a Host header names this machine."""
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    return name == "localhost" or is_loopback(name)
