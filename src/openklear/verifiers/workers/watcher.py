"""Looks after one running test: its output, its time, its family, and whether anybody still wants the answer."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable

from . import wire
from .stacks import SLACK_BYTES
from .test_process import Bounds

VALUE_CAP = 8 * 2**20
"""Bytes that a call may answer with, and that one frame of a talk may hold."""
STDERR_TAIL = 4096
STDERR_CAP = 32 * 2**20
"""Bytes of stderr after which a program is ended."""
MAX_FAMILY = 16
"""Processes a program may have at once."""
TICK = 0.02
"""Seconds between two looks at a program's family."""
MAX_STARVED = 30.0
"""Seconds, at most, that a program waited for a CPU and that its wall limit therefore does not count."""
PEAK_UNIT = 1024 if sys.platform == "linux" else 1
"""Bytes in which the kernel counts the most memory that a process had."""
_CLOCK_TICKS, _PAGE_BYTES = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


class ParentGone(Exception):
    """Nobody waits for the answer any more."""


class Collected:
    """A pipe whose bytes are kept, up to a cap. `over` says why the test must end now; empty while it may go on."""

    def __init__(self, fd: int, cap: int):
        self.fd, self.cap, self.data, self.over = fd, cap, bytearray(), ""

    def readable(self) -> bool:
        """Takes what is there; False at the end."""
        part = os.read(self.fd, 65536)
        self.data += part[: self.cap + 1 - len(self.data)]
        if len(self.data) > self.cap:
            self.over = "output"
        return bool(part)


class Relay:
    """Passes frames between the box's user and a test's socket; the test cannot make us wait, nor hold much of ours."""

    def __init__(self, fd: int, incoming: int, outgoing: int):
        self.fd, self.incoming, self.outgoing, self.over, self.ended = fd, incoming, outgoing, "", False
        self._received = bytearray()
        self.waiting = bytearray()
        """What the test has not taken yet."""
        os.set_blocking(fd, False)

    def readable(self) -> bool:
        """Passes on whole frames that the test sent; False at its end."""
        part = os.read(self.fd, 65536)
        self._received += part
        while not self.over and len(self._received) >= wire.HEADER.size:
            (length,) = wire.HEADER.unpack_from(self._received)
            if length > VALUE_CAP:
                self.over = "output"
            elif len(self._received) < wire.HEADER.size + length:
                break
            else:
                body = bytes(self._received[wire.HEADER.size : wire.HEADER.size + length])
                del self._received[: wire.HEADER.size + length]
                wire.write_message(self.outgoing, {"said": body.decode("utf-8", "replace")})
        return bool(part)

    def heard(self) -> None:
        """Takes a frame of our user."""
        frame = wire.read_message(self.incoming)
        if frame is None:
            raise ParentGone
        if "end" in frame:
            self.ended, self.over = True, "stopped"
        else:
            body = frame["say"].encode("utf-8", "surrogateescape")
            self.waiting += wire.HEADER.pack(len(body)) + body

    def write(self) -> None:
        """Sends what the test takes now."""
        try:
            del self.waiting[: os.write(self.fd, self.waiting)]
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):  # it closed its end: nobody will read this
            self.waiting.clear()


Channel = Collected | Relay
"""Our end of what a test talks over besides its stdout and stderr."""


class Watch:
    """One test. `until_end`, then kill its family, then `drain`."""

    def __init__(self, pid: int, out: int, err: int, bounds: Bounds, incoming: int, channel: Channel | None):
        self.pid, self.bounds, self.incoming, self.channel = pid, bounds, incoming, channel
        self.relay = channel if isinstance(channel, Relay) else None
        self.stdout, self.stderr, self.stderr_bytes = Collected(out, bounds.output_bytes), b"", 0
        self.err = err
        self.open: dict[int, Callable[[], bool]] = {out: self.stdout.readable, err: self._read_stderr}
        if channel is not None:
            self.open[channel.fd] = channel.readable
        self.pidfd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
        self.poll = select.poll()
        for descriptor in (*self.open, self.pidfd):
            if descriptor >= 0:
                self.poll.register(descriptor, select.POLLIN)
        self.poll.register(incoming, 0 if self.relay is None else select.POLLIN)  # 0: only that its other end is gone

    def until_end(self) -> str:
        """Why the test ended: exit, wall, cpu, output, processes, memory, or what its channel says."""
        now = time.monotonic()
        deadline, next_look = now + self.bounds.wall_seconds, now + TICK
        tick = TICK if self.pidfd >= 0 else 0.002
        while True:
            self._poll(tick)
            if self._exited():
                return "exit"
            if trouble := self._too_much():
                return trouble
            now = time.monotonic()
            if now > deadline and now > deadline + min(_starved_seconds(self.pid), MAX_STARVED) and not self._exited():
                return "wall"
            if now > next_look:
                next_look = now + TICK
                if trouble := self._family_trouble():
                    return trouble

    def _poll(self, seconds: float) -> None:
        relay = self.relay
        if relay is not None and relay.fd in self.open:
            self.poll.modify(relay.fd, select.POLLIN | (select.POLLOUT if relay.waiting else 0))
        for descriptor, event in self.poll.poll(seconds * 1000):
            if descriptor == self.incoming:
                if relay is None or not event & select.POLLIN:
                    raise ParentGone
                relay.heard()
            elif descriptor in self.open:
                if relay is not None and event & select.POLLOUT:
                    relay.write()
                if event & ~select.POLLOUT:
                    self._take(descriptor)

    def _too_much(self) -> str:
        if self.channel is not None and self.channel.over:
            return self.channel.over
        return "output" if self.stdout.over or self.stderr_bytes > STDERR_CAP else ""

    def _exited(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _family_trouble(self) -> str:
        reap_orphans(self.pid)
        family = descendants(self.bounds.walled)
        if len(family) > MAX_FAMILY:
            return "processes"
        used = [_used(pid) for pid in family]
        if sum(seconds for seconds, _ in used) > self.bounds.cpu_seconds:
            return "cpu"
        most = self.bounds.memory_bytes + (SLACK_BYTES if len(family) == 1 else 0)
        if sum(resident for _, resident in used) > most:
            return "memory"
        return ""

    def _take(self, descriptor: int) -> None:
        try:
            more = self.open[descriptor]()
        except ConnectionResetError:  # a socket whose other end went with unread bytes
            more = False
        if not more:
            del self.open[descriptor]
            self.poll.unregister(descriptor)

    def _read_stderr(self) -> bool:
        part = os.read(self.err, 65536)
        self.stderr_bytes += len(part)
        self.stderr = (self.stderr + part)[-STDERR_TAIL:]
        return bool(part)

    def drain(self) -> None:
        """Reads what is left in the pipes, without waiting, and closes them."""
        mine = [self.stdout.fd, self.err, self.pidfd, *([] if self.channel is None else [self.channel.fd])]
        for descriptor in tuple(self.open):
            os.set_blocking(descriptor, False)
            with contextlib.suppress(BlockingIOError):  # someone outlived the kill and holds it: that is all there is
                while descriptor in self.open and not self._too_much():
                    self._take(descriptor)
        for descriptor in mine:
            if descriptor >= 0:
                os.close(descriptor)

    def last_error(self) -> str:
        """The last line of stderr."""
        lines = self.stderr.decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")[:500]


def kill_family(pid: int, walled: bool) -> None:
    """Kills a test's processes. `pid` is not reaped yet, so its group's number is still its own."""
    if walled:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)  # all of our pid namespace but us, its first process: atomic
        return
    for kill in (os.killpg, os.kill):
        _kill(pid, kill)


def _kill(pid: int, kill: Callable[[int, int], None] = os.kill) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        kill(pid, signal.SIGKILL)


def reap(walled: bool) -> None:
    """Waits for every process a test left. Without a pid namespace descendants are looked for again and again."""
    patience = time.monotonic() + 2.0
    while True:
        if not walled:
            for pid in descendants(walled):
                _kill(pid)
        try:
            pid, _ = os.waitpid(-1, 0 if walled else os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            if time.monotonic() > patience:
                return
            time.sleep(0.001)


def reap_orphans(pid: int) -> None:
    """Reaps ended processes that a living test left to us; the test's own status stays for wait4."""
    while True:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None or ended.si_pid == pid:
            return
        os.waitpid(ended.si_pid, 0)


def descendants(walled: bool) -> list[int]:
    """Living and dead processes below us."""
    if walled:
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]
    family = [os.getpid()]
    for parent in family:  # which grows under way
        with contextlib.suppress(OSError), open(f"/proc/{parent}/task/{parent}/children") as file:
            family += map(int, file.read().split())  # none where it is gone, or on a system without this file
        if len(family) > 10_000:
            break
    return family[1:]


def _starved_seconds(pid: int) -> float:
    """How long a process could run but got no CPU: a crowded machine is not the program's fault (house rule 5)."""
    try:
        with open(f"/proc/{pid}/schedstat") as file:
            return int(file.read().split()[1]) * 1e-9
    except (OSError, IndexError):  # macOS, or a kernel without scheduler statistics
        return 0.0


def _used(pid: int) -> tuple[float, int]:
    """CPU seconds (with those of reaped children) and resident bytes of a process; zeros where it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # the name before may hold anything
    except OSError:
        return 0.0, 0
    return sum(map(int, fields[11:15])) / _CLOCK_TICKS, int(fields[21]) * _PAGE_BYTES
