"""Worker processes that can always be killed: one request at a time each, over pipes, from any thread.

A worker is told to stop by closing its stdin, and killed if it does not. It watches its stdin, so it also stops when
this process is killed. (The kernel's parent-death signal would fire when the *thread* that started the worker ends.)
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from openklear.verifiers.workers import wire

START_SECONDS = 60.0
"""Seconds a worker may take to say hello; a busy machine needs many."""
GOODBYE_SECONDS = 1.0

_BOOT = (
    "import sys,types,importlib;p=types.ModuleType('okworkers');p.__path__=[sys.argv[1]];"
    "sys.modules['okworkers']=p;importlib.import_module('okworkers.'+sys.argv[2]).main()"
)
WORKERS = Path(__file__).parent / "workers"


class WorkerLost(Exception):
    """A worker ended, broke the protocol, or did not answer in time. Never leaves the verifiers."""


def worker_command(
    module: str, *arguments: str, options: Sequence[str] = (), python: str = sys.executable
) -> list[str]:
    """The command line of a worker: a module of `workers`, under another package name, with nothing of ours loaded."""
    return [python, "-P", *options, "-c", _BOOT, str(WORKERS), module, *arguments]


class Worker:
    """One process. `hello` is its first message. Not for two threads at once."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        directory: str,
        on_close: Callable[[], None] = lambda: None,
    ):
        self._on_close = on_close
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environment),
            cwd=directory,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._to, False)
        os.set_blocking(self._from, False)
        try:
            self.hello = self.receive(START_SECONDS)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Process id of what was started (of the warden, for a box)."""
        return self._process.pid

    def request(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Sends a message and waits for the answer; WorkerLost after `seconds`, or when the worker is gone."""
        deadline = time.monotonic() + seconds
        self.send(message, seconds)
        return self.receive(deadline - time.monotonic())

    def _wait(self, descriptor: int, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise WorkerLost("no answer in time")

    def send(self, message: dict[str, Any], seconds: float) -> None:
        """Sends a message; WorkerLost where it is not taken within `seconds`."""
        deadline = time.monotonic() + seconds
        view = memoryview(wire.encode(message))
        while view:
            self._wait(self._to, select.POLLOUT, deadline)
            try:
                view = view[os.write(self._to, view) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as error:
                raise WorkerLost("the worker closed its pipe") from error

    def receive(self, seconds: float) -> dict[str, Any]:
        """Waits for the next message; WorkerLost after `seconds`, or when the worker is gone."""
        deadline = time.monotonic() + seconds
        (length,) = wire.HEADER.unpack(self._receive_exactly(wire.HEADER.size, deadline))
        if length > wire.MAX_MESSAGE:
            raise WorkerLost(f"an answer of {length} bytes")
        try:
            message: dict[str, Any] = wire.decode(self._receive_exactly(length, deadline))
        except ValueError as error:
            raise WorkerLost("an answer that is not JSON") from error
        return message

    def _receive_exactly(self, count: int, deadline: float) -> bytes:
        parts: list[bytes] = []
        while count:
            self._wait(self._from, select.POLLIN, deadline)
            try:
                part = os.read(self._from, min(count, 1 << 20))
            except BlockingIOError:
                continue
            if not part:
                raise WorkerLost("the worker ended")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def kill(self) -> None:
        """Kills the worker's group at once; whoever waits for its answer gets WorkerLost and closes it."""
        with contextlib.suppress(ProcessLookupError):  # ended already
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self, patience: float = GOODBYE_SECONDS) -> None:
        """Ends the worker: asks, waits `patience` seconds, kills its group. Returns when it is gone."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        self._on_close()


class Pool:
    """At most `size` workers, started when needed, replaced when lost."""

    def __init__(self, start: Callable[[], Worker], size: int):
        self._start, self._slots = start, threading.Semaphore(size)
        self._free: list[Worker] = []
        self._busy: set[Worker] = set()
        self._closed = False
        self._lock = threading.Lock()
        self._owner = os.getpid()
        _POOLS.add(self)

    def call(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        """One request to any free worker; waits for one. WorkerLost where it was lost: it is gone by then."""
        with self.session() as worker:
            return worker.request(message, seconds)

    @contextlib.contextmanager
    def session(self) -> Iterator[Worker]:
        """Any free worker, for several messages; waits for one. It is gone where the block raises anything."""
        with self._slots:
            worker = self._take()
            healthy = False
            try:
                yield worker
                healthy = True
            finally:
                self._give_back(worker, healthy)

    def hello(self) -> dict[str, Any]:
        """What the first worker said at its start; starts one where none runs."""
        with self.session() as worker:
            return worker.hello

    def pids(self) -> list[int]:
        """Process ids of the living workers."""
        with self._lock:
            return [worker.pid for worker in (*self._free, *self._busy)]

    def _take(self) -> Worker:
        with self._lock:
            worker = self._free.pop() if self._free else None
        if worker is None and not self._closed:
            worker = self._start()  # not under the lock, for it takes a while
        with self._lock:
            if worker is not None and not self._closed:
                self._busy.add(worker)
                return worker
        if worker is not None:
            worker.close(0.0)
        raise WorkerLost("the pool is closed")

    def _give_back(self, worker: Worker, healthy: bool) -> None:
        with self._lock:
            self._busy.discard(worker)
            keep = healthy and not self._closed
            if keep:
                self._free.append(worker)
        if not keep:
            worker.close(GOODBYE_SECONDS if healthy else 0.2)

    def close(self) -> None:
        """Ends all workers, busy ones too (their callers get WorkerLost); again is harmless."""
        if os.getpid() != self._owner:
            return  # a fork of ours: the workers are not its to end
        with self._lock:
            self._closed = True
            workers, self._free = self._free, []
            for worker in self._busy:
                worker.kill()
        for worker in workers:
            worker.close()


_POOLS: weakref.WeakSet[Pool] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for pool in list(_POOLS):
        pool.close()
