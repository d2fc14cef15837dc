"""A small HTTP server that grades rows for other trainers: POST /grade/math, POST /grade/code, GET /health.

A request holds one row, or {"rows": [...]}, as application/json; the answer holds the same with verdicts. Everything
has a bound: bytes and rows of a request, seconds until it has arrived, connections, requests in work and their bytes
together. Beyond those of the server the answer is 503 with Retry-After, so that a trainer waits instead of failing. A
connection carries one request. There is no authentication: listen at an address that only trainers reach.
"""

from __future__ import annotations

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
from http.server import ThreadingHTTPServer
from typing import Any

from openklear import __version__, progress
from openklear.errors import DataError, UsageError
from openklear.grading.grader import Grader
from openklear.grading.handler import Handler, Refusal, ServerBounds, is_loopback
from openklear.grading.rows import graded, to_attempt, verdict_fields
from openklear.verifiers.domains import DOMAINS
from openklear.verifiers.limits import Limits

_SHOWN_FAULTS = 20


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
        self.local_only = is_loopback(self.server_address[0])

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
    on_ready: Callable[[str], None] = lambda url: None,
    *,
    checkers: Sequence[str] = (),
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
