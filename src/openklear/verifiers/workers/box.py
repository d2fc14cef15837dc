"""The program worker: reads jobs from its stdin, forks a process for each test, watches it, kills its family.

A job holds a program and inputs, never an expected output: those stay in the process that compares. The box is one
thread; it ends, with everything below it, when the other end of its stdin is closed, whatever it is doing.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from . import child, kernel, wire

STDOUT_CAP = 64 * 1024
STDERR_TAIL = 4096
STDERR_CAP = 32 * 2**20
"""Bytes of stderr after which a program is ended."""
FILE_BYTES = 16 * 2**20
SCRATCH_MEBIBYTES = 64
MAX_FAMILY = 32
"""Processes a program may have at once."""
TICK = 0.02
"""Seconds between two looks at a program's family."""
_CLOCK_TICKS, _PAGE_BYTES = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
MAX_STARVED = 30.0
"""Seconds, at most, that a program waited for a CPU and that its wall limit therefore does not count."""

PRELOADED = ("bisect", "collections", "functools", "heapq", "itertools", "math", "operator", "random", "re", "string")
"""Modules nearly every program imports: loaded once, shared by fork."""


class ParentGone(Exception):
    """Nobody waits for the answer any more."""


def main() -> None:
    """Serves jobs until the end of stdin. argv: [-c, directory, module, level, scratch directory of `rlimits`]."""
    level = sys.argv[3]
    incoming, outgoing = _take_protocol()
    try:
        _settle(level)
        scratch = Scratch(None if level == "namespaces" else sys.argv[4])
    except OSError as error:
        wire.write_message(outgoing, {"level": "none", "error": str(error)})
        return
    wire.write_message(outgoing, {"level": level})
    with contextlib.suppress(ParentGone, BrokenPipeError):
        while (job := wire.read_message(incoming)) is not None:
            wire.write_message(outgoing, {"tests": _run_job(job, incoming, scratch)})
    scratch.remove()


def _take_protocol() -> tuple[int, int]:
    """Moves the protocol away from descriptors 0 and 1, which belong to the programs."""
    import fcntl

    incoming, outgoing = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (0, 1))
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.close(null)
    return incoming, outgoing


def _settle(level: str) -> None:
    """Puts up the walls that all programs of this worker share; OSError where the host does not let us."""
    import _sitebuiltins
    import builtins

    for name in PRELOADED:
        __import__(name)
    builtins.exit = builtins.quit = _sitebuiltins.Quitter("exit", "")  # what `site` would have added
    if kernel.LINUX:
        kernel.become_subreaper()
        kernel.no_new_privileges()
        kernel.hide_memory()
    if level == "namespaces":
        if os.getpid() != 1:
            raise OSError("no pid namespace of our own")
        with open("/proc/sys/user/max_user_namespaces", "w") as limit:
            limit.write("0")
        kernel.private_root(_visible_paths())
        kernel.mount_scratch("/tmp", SCRATCH_MEBIBYTES)
        kernel.drop_bounding_set()
    gc.disable()
    gc.freeze()


def _visible_paths() -> list[str]:
    """What a program may see: the system's programs and libraries, this interpreter, harmless devices."""
    system = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache"]
    devices = [f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom")]
    python = {os.path.realpath(path) for path in (sys.base_prefix, sys.base_exec_prefix, *sys.path[:3]) if path}
    kept: list[str] = []
    for path in sorted(python):
        if os.path.isdir(path) and not any(path == seen or path.startswith(seen + "/") for seen in [*system, *kept]):
            kept.append(path)
    return [*system, *devices, *kept]


def _run_job(job: dict[str, Any], incoming: int, scratch: Scratch) -> list[dict[str, Any]]:
    own_pids = os.getpid() == 1
    bounds = child.Bounds(job["cpu_seconds"], job["memory_bytes"], FILE_BYTES, own_pids)
    results: list[dict[str, Any]] = []
    for stdin in job["stdins"]:
        results.append(_run_test(job["program"], stdin, bounds, incoming))
        scratch.clean()
        if results[-1]["code"] == child.COMPILE_ERROR:
            break
    return results


def _run_test(program: str, stdin: str, bounds: child.Bounds, incoming: int) -> dict[str, Any]:
    source = _input_file(stdin)
    out, out_inner = os.pipe()
    err, err_inner = os.pipe()
    pid = os.fork()
    if pid == 0:
        child.run(program, (source, out_inner, err_inner), bounds)
    for descriptor in (source, out_inner, err_inner):
        os.close(descriptor)
    watch = Watch(pid, out, err, bounds, incoming)
    try:
        ended = watch.until_end()
    finally:
        _kill_family(pid, bounds.own_pids)
        _, status, usage = os.wait4(pid, 0)
        _reap(bounds.own_pids)
    watch.drain()
    if ended == "exit" and len(watch.stdout) > STDOUT_CAP:
        ended = "output"
    return {
        "ended": ended,
        "code": os.waitstatus_to_exitcode(status),
        "cpu": usage.ru_utime + usage.ru_stime,
        "stdout": watch.stdout[:STDOUT_CAP].decode("utf-8", "surrogateescape"),
        "error": watch.last_error(),
    }


def _input_file(text: str) -> int:
    """The input as an open file without a name: nothing needs to feed it, and reading past its end ends."""
    if kernel.LINUX:
        descriptor = os.memfd_create("stdin")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    view = memoryview(text.encode("utf-8", "surrogateescape"))
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


class Watch:
    """Looks after a running test: its output, its time, its family, and whether our own parent still lives."""

    def __init__(self, pid: int, out: int, err: int, bounds: child.Bounds, incoming: int):
        self.pid, self.out, self.err, self.bounds, self.incoming = pid, out, err, bounds, incoming
        self.stdout, self.stderr, self.stderr_bytes = b"", b"", 0
        self.open = {out, err}
        self.pidfd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
        self.poll = select.poll()
        for descriptor in (out, err, self.pidfd):
            if descriptor >= 0:
                self.poll.register(descriptor, select.POLLIN)
        self.poll.register(incoming, 0)  # reports only that its other end is gone

    def until_end(self) -> str:
        """Why the test ended: exit, wall, cpu, output, processes or memory."""
        now = time.monotonic()
        deadline, next_look = now + 2 * self.bounds.cpu_seconds + 1.0, now + TICK
        tick = TICK if self.pidfd >= 0 else 0.002
        while True:
            for descriptor, event in self.poll.poll(tick * 1000):
                if descriptor == self.incoming and event & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
                    raise ParentGone
                if descriptor in self.open:
                    self._read(descriptor)
            if self._exited():
                return "exit"
            if len(self.stdout) > STDOUT_CAP or self.stderr_bytes > STDERR_CAP:
                return "output"
            now = time.monotonic()
            if now > deadline + min(_starved_seconds(self.pid), MAX_STARVED) and not self._exited():
                return "wall"
            if now > next_look:
                next_look = now + TICK
                if (trouble := self._family_trouble()) is not None:
                    return trouble

    def _exited(self) -> bool:
        result = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return result is not None

    def _family_trouble(self) -> str | None:
        _reap_orphans(self.pid)
        family = _descendants(self.bounds.own_pids)
        if len(family) > MAX_FAMILY:
            return "processes"
        used = [_used(pid) for pid in family]
        if sum(seconds for seconds, _ in used) > self.bounds.cpu_seconds:
            return "cpu"
        if len(family) > 1 and sum(resident for _, resident in used) > self.bounds.memory_bytes:
            return "memory"
        return None

    def _read(self, descriptor: int) -> None:
        part = os.read(descriptor, 65536)
        if not part:
            self.open.discard(descriptor)
            self.poll.unregister(descriptor)
        elif descriptor == self.out:
            self.stdout += part[: STDOUT_CAP + 1 - len(self.stdout)]
        else:
            self.stderr_bytes += len(part)
            self.stderr = (self.stderr + part)[-STDERR_TAIL:]

    def drain(self) -> None:
        """Reads what is left in the pipes, without waiting, and closes them."""
        for descriptor in tuple(self.open):
            os.set_blocking(descriptor, False)
            try:
                while descriptor in self.open:
                    self._read(descriptor)
            except BlockingIOError:
                pass  # someone outlived the kill and holds the pipe: what is there is all there will be
        for descriptor in (self.out, self.err, self.pidfd):
            if descriptor >= 0:
                os.close(descriptor)

    def last_error(self) -> str:
        """The last line of stderr."""
        lines = self.stderr.decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")[:500]


def _kill_family(pid: int, own_pids: bool) -> None:
    """Kills a test's processes. `pid` is not reaped yet, so its group's number is still its own."""
    if own_pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)  # all of our pid namespace but us, its first process: atomic
        return
    for kill in (os.killpg, os.kill):
        _kill(pid, kill)


def _kill(pid: int, kill: Callable[[int, int], None] = os.kill) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        kill(pid, signal.SIGKILL)


def _reap(own_pids: bool) -> None:
    """Waits for every process a test left. Without a pid namespace descendants are looked for again and again."""
    patience = time.monotonic() + 2.0
    while True:
        if not own_pids:
            for pid in _descendants(own_pids):
                _kill(pid)
        try:
            pid, _ = os.waitpid(-1, 0 if own_pids else os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            if time.monotonic() > patience:
                return
            time.sleep(0.001)


def _reap_orphans(pid: int) -> None:
    """Reaps ended processes that a living test left to us; the test's own status stays for wait4."""
    while True:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None or ended.si_pid == pid:
            return
        os.waitpid(ended.si_pid, 0)


def _descendants(own_pids: bool) -> list[int]:
    """Living and dead processes below us."""
    if own_pids:
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting and len(found) < 10_000:
        parent = waiting.pop()
        try:
            with open(f"/proc/{parent}/task/{parent}/children") as file:
                children = [int(word) for word in file.read().split()]
        except (OSError, ValueError):  # gone meanwhile, or a system without this file
            continue
        found += children
        waiting += children
    return found


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


class Scratch:
    """The working directory of tests: empty for each, whatever the one before left in it."""

    def __init__(self, base: str | None):
        """`base` is a directory of our own; None where /tmp is a mount of our own."""
        self.base, self.count = base, 0
        self._enter()

    def _enter(self) -> None:
        if self.base is None:
            os.chdir("/tmp")
            return
        self.count += 1
        fresh = f"{self.base}/{self.count}"
        os.mkdir(fresh, 0o700)
        os.chdir(fresh)

    def clean(self) -> None:
        """Replaces the directory where a test left something in it, removed it or locked it."""
        try:
            if not os.listdir("."):
                return
        except OSError:  # the program removed or locked it: replaced like any other
            pass
        if self.base is None:
            os.chdir("/")
            kernel.mount_scratch("/tmp", SCRATCH_MEBIBYTES, again=True)
        else:
            remove_tree(f"{self.base}/{self.count}")
        self._enter()

    def remove(self) -> None:
        """Takes the whole directory away, for nobody else may be left to do it."""
        os.chdir("/")
        if self.base is not None:
            remove_tree(self.base)


def remove_tree(path: str) -> None:
    """Removes a directory that a program may have locked; what resists stays for the pool's last clean-up."""
    import shutil

    for directory, names, _ in os.walk(path):  # top down: unlock before descending; links are not followed
        for name in names:
            inner = os.path.join(directory, name)
            if not os.path.islink(inner):
                os.chmod(inner, 0o700)
    shutil.rmtree(path, ignore_errors=True)
