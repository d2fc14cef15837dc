"""A small HTTP server that grades rows for other trainers: POST /grade/math, POST /grade/code, GET /health.

A request holds one row, or {"rows": [...]}, as application/json; the answer holds the same with verdicts. Everything
has a bound: bytes and rows of a request, seconds until it has arrived, connections, requests in work and their bytes
together. Beyond those of the server the answer is 503 with Retry-After, so that a trainer waits instead of failing. A
connection carries one request. There is no authentication: listen at an address that only trainers reach.
"""

from __future__ import annotations

import io
import json
import signal
import socket
import socketserver
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from openklear import __version__, progress
from openklear.errors import DataError, OpenKlearError, UsageError
from openklear.grading.bounds import Refusal, ServerBounds, Until, is_local_name, is_loopback
from openklear.grading.grader import Grader
from openklear.grading.rows import dumps, graded, to_attempt, verdict_fields
from openklear.verifiers.domains import DOMAINS
from openklear.verifiers.limits import Limits

_SHOWN_FAULTS = 20
_DRAIN_SECONDS = 2.0
"""For how long the rest of a refused request is read, so that its sender can read the refusal."""


def paths() -> dict[str, str]:
    """Where rows are sent -> their domain."""
    return {f"/grade/{name}": name for name in DOMAINS}


class Handler(BaseHTTPRequestHandler):
    """One connection: one request, read within bounds, and one answer, as JSON."""

    protocol_version = "HTTP/1.1"
    server_version = f"openklear/{__version__}"
    sys_version = ""

    server: GradingServer
    _unread = False
    """Whether the body still has to be read."""

    def setup(self) -> None:
        """Reads end at the deadline, however slowly the bytes drip in."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(Until(self.connection, self.server.bounds.read_seconds))

    def do_GET(self) -> None:
        """GET /health."""
        if self._path() == "/health":
            self._reply(HTTPStatus.OK, self.server.health())
        else:
            self._refuse(self._not_found("GET"))

    def do_POST(self) -> None:
        """POST /grade/math and /grade/code."""
        self.server.count("requests")
        self._unread = True
        try:
            kind = paths().get(self._path())
            if kind is None:
                raise self._not_found("POST")
            size = self._announced()
            with self.server.admitted(size):
                self._reply(HTTPStatus.OK, self._graded(kind, self._body(size)))
        except Refusal as refusal:
            self._refuse(refusal)
        except OpenKlearError as error:  # workers cannot be started, for instance
            self._refuse(Refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(error), 10))
        except OSError:
            self.close_connection = True  # the other side went away, or was too slow
        except Exception:  # a bug of ours must cost one answer, not the server, and must not show its inside
            self.server.handle_error(self.request, self.client_address)
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
        if self.server.local_only and not is_local_name(self.headers.get("Host", "localhost")):
            # A page that a browser on this machine shows could otherwise reach us under a name of its own.
            raise Refusal(HTTPStatus.MISDIRECTED_REQUEST, "this server answers to localhost only")
        if self.headers.get_content_type() != "application/json":
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json, and say so in Content-Type")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or "Transfer-Encoding" in self.headers:
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "send the body in one piece, with its Content-Length")
        most = self.server.bounds.body_bytes
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
            most = self.server.bounds.read_seconds
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
            return self.server.grade(kind, [asked])[0]
        rows, most = asked["rows"], self.server.bounds.rows
        if not isinstance(rows, list):
            raise Refusal(HTTPStatus.BAD_REQUEST, "rows must be an array of rows")
        if len(rows) > most:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request may hold {most:,} rows, not {len(rows):,}")
        return {"rows": self.server.grade(kind, rows)}

    def handle_expect_100(self) -> bool:
        """No client is told to continue before there is a place for its request."""
        return True

    def _refuse(self, refusal: Refusal) -> None:
        if refusal.status is HTTPStatus.SERVICE_UNAVAILABLE:
            self.server.count("refused")
        self._reply(refusal.status, {"error": str(refusal)}, refusal.retry_after)
        if self._unread:
            self._drain()

    def _reply(self, status: int, document: Any, retry_after: int | None = None) -> None:
        self.close_connection = True
        data = dumps(document)
        with suppress(OSError):  # the other side went away: there is nobody to answer
            self.connection.settimeout(self.server.bounds.write_seconds)
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
        rest = Until(self.connection, _DRAIN_SECONDS)
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while rest.read(1 << 20):
                pass

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library refuses (a malformed request line, an unknown method), as JSON."""
        self._reply(code, {"error": (message or HTTPStatus(code).phrase)[:200]})

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: /health counts."""


class GradingServer(ThreadingHTTPServer):
    """Serves from `serve_forever`; `stop` ends it. The grader stays its caller's."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, grader: Grader, bounds: ServerBounds):
        """Binds the port (0: any that is free). UsageError where it is not available."""
        self.grader, self.bounds = grader, bounds
        self.isolation = grader.isolation()
        self.counters = Counter[str]()
        self.started = time.monotonic()
        self._connections = threading.BoundedSemaphore(bounds.connections)
        self._changed = threading.Condition()
        self._running = self._bytes = 0
        self._stopping = self._gave_up = False
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise UsageError(f"cannot listen at {host}:{port}: {error}; choose another --host or --port") from error
        self.local_only = is_loopback(str(self.server_address[0]))

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = str(self.server_address[0]), self.server_address[1]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def server_bind(self) -> None:
        """As any TCP server does; HTTPServer would also ask the name service who we are."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for the connection, or a refusal where there are too many."""
        if not self._connections.acquire(blocking=False):
            self.count("refused")
            with suppress(OSError):  # whoever cannot even take this is not waited for
                request.setblocking(False)
                request.send(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n\r\n")
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no more threads
            self._connections.release()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serves a connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections break; that is nobody's error. Anything else is a bug of ours, and is reported on stderr."""
        if not isinstance(sys.exc_info()[1], OSError):
            self.count("errors")
            progress.say(f"openklear met a bug of its own; please report it:\n{traceback.format_exc()}")

    def count(self, name: str, by: int = 1) -> None:
        """Adds to a counter that /health shows."""
        with self._changed:
            self.counters[name] += by

    @contextmanager
    def admitted(self, size: int) -> Iterator[None]:
        """A place for a request of `size` bytes, from before it is read until it is answered; Refusal where none is."""
        with self._changed:
            if self._stopping:
                raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the server is stopping", 10)
            if self._running >= self.bounds.waiting or self._bytes + size > 8 * self.bounds.body_bytes:
                raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests are waiting; try again later", 1)
            self._running += 1
            self._bytes += size
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._bytes -= size
                self._changed.notify_all()

    def grade(self, kind: str, rows: list[Any]) -> list[dict[str, Any]]:
        """The rows with verdicts. Refusal names every row that cannot be graded; then none is."""
        attempts, faults = [], []
        for index, row in enumerate(rows):
            try:
                if not isinstance(row, dict):
                    raise DataError("a row is an object")
                attempts.append(to_attempt(row, kind, self.grader.checkers))
            except DataError as error:
                faults.append(f"rows[{index}]: {error}")
        if faults:
            more = f" (and {len(faults) - _SHOWN_FAULTS} more)" if len(faults) > _SHOWN_FAULTS else ""
            raise Refusal(HTTPStatus.BAD_REQUEST, "; ".join(faults[:_SHOWN_FAULTS]) + more)
        verdicts = self.grader.judge.judge(attempts)
        with self._changed:
            if self._gave_up:  # these verdicts come from workers that were taken away
                raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the server stopped", 10)
            self.counters["rows"] += len(rows)
            self.counters.update(verdict.outcome.value for verdict in verdicts)
        return [graded(row, verdict_fields(verdict)) for row, verdict in zip(rows, verdicts, strict=True)]

    def health(self) -> dict[str, Any]:
        """What GET /health answers."""
        names = ("requests", "rows", "correct", "incorrect", "unscorable", "refused", "errors")
        with self._changed:
            counters = {name: self.counters[name] for name in names} | {"running": self._running}
        isolation = self.isolation
        elsewhere = "remote" if self.grader.limits.sandbox_url is not None else "none"
        return {
            "status": "stopping" if self._stopping else "ok",
            "version": __version__,
            "isolation": elsewhere if isolation is None else isolation.level,
            "isolation_description": "" if isolation is None else isolation.description,
            "workers": self.grader.limits.workers,
            "seconds_up": round(time.monotonic() - self.started, 3),
            "counters": counters,
        }

    def stop(self) -> bool:
        """Takes nothing new, waits for what is in work, `stop_seconds` at most; whether all of it was answered."""
        with self._changed:
            self._stopping = True
        self.shutdown()
        self.server_close()
        with self._changed:
            answered = self._changed.wait_for(lambda: self._running == 0, self.bounds.stop_seconds)
            self._gave_up = not answered
            return answered


def serve(
    host: str,
    port: int,
    limits: Limits,
    bounds: ServerBounds,
    on_ready: Callable[[str], None],
    checkers: Sequence[str],
) -> bool:
    """Serve until SIGTERM or SIGINT, then finish what is in work; whether all of it was answered.

    `on_ready` gets the address. A second signal ends the process at once. Only for the main thread.
    """
    signals: list[int] = []
    with Grader(limits, checkers=checkers) as grader, GradingServer(host, port, grader, bounds) as server:
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        for number in before:
            signal.signal(number, lambda received, frame: signals.append(received))
        try:
            _say_what_it_is(server)
            threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
            on_ready(server.url)
            while not signals:
                time.sleep(0.2)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        progress.say("stopping: what is in work is finished first")
        answered = server.stop()
    progress.say("stopped" if answered else "stopped; some requests had to be cut off")
    return answered


def _say_what_it_is(server: GradingServer) -> None:
    progress.say(f"grading at {server.url} with {server.grader.limits.workers} workers")
    server.grader.judge.announce(DOMAINS, progress.say)
    if not server.local_only:
        progress.say(f"{server.url} can be reached from other machines, and there is no authentication")
