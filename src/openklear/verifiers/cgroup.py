"""Memory cgroups for workers: one number for the whole family, whatever it holds and however it shares it.

To be had where a memory controller (cgroup v1 or v2) is mounted and we may make groups below our own or beside it: as
root, in most containers' own cgroup namespaces with it writable, and for users whose session is delegated to them.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "openklear-"
_LIMIT = ("memory.max", "memory.limit_in_bytes")
_SWAP = (("memory.swap.max", "0"), ("memory.swappiness", "0"))
_REMOVE_SECONDS = 2.0

_numbers = itertools.count()


class Cage:
    """A group of our own with a limit on memory. Not for two threads at once."""

    def __init__(self, path: Path, lock: int):
        """`lock` is the group's open directory, locked while we live, so that nobody takes it for a leftover."""
        self.path, self._lock = path, lock

    def remove(self) -> None:
        """Kills what is left in the group and takes it away; again is harmless."""
        if self._lock < 0:
            return
        _remove(self.path)
        os.close(self._lock)
        self._lock = -1


def make(limit_bytes: int) -> Cage | None:
    """A new group that may hold `limit_bytes` and no swap; None where this host does not let us.

    Takes away groups that killed processes of ours left behind.
    """
    for directory in directories():
        _sweep(directory)
        try:
            return _make_in(directory, limit_bytes)
        except OSError:  # not ours to write, or no memory controller below it: the next, or none
            continue
    return None


def _make_in(directory: Path, limit_bytes: int) -> Cage:
    while True:
        path = directory / f"{_PREFIX}{os.getpid()}-{next(_numbers)}"
        try:
            path.mkdir()
        except FileExistsError:  # of another process namespace with this number, or of a dead one while it is removed
            continue
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # another process swept it before it was locked
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            limit = next((path / name for name in _LIMIT if (path / name).exists()), None)
            if limit is None:
                raise FileNotFoundError("no memory controller")
            limit.write_text(f"{limit_bytes}")
            for name, value in (*_SWAP, ("memory.memsw.limit_in_bytes", f"{limit_bytes}")):
                with contextlib.suppress(OSError):  # kernels without swap accounting lack the files
                    if (path / name).exists():
                        (path / name).write_text(value)
        except OSError as error:
            os.close(lock)
            with contextlib.suppress(OSError):
                path.rmdir()
            if isinstance(error, BlockingIOError):  # a sweep holds it at this moment
                continue
            raise
        return Cage(path, lock)


def directories() -> Iterator[Path]:
    """Where groups may be made: below our own group of the memory hierarchy; under v2 also beside it.

    A v2 group that holds processes cannot have a controller for groups below it, but the one around it may.
    """
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        groups = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    except OSError:  # not Linux
        return
    for line in mounts:
        before, _, after = line.partition(" - ")
        (root, mount), (kind, _, options) = before.split()[3:5], after.split()[:3]
        if kind != "cgroup2" and not (kind == "cgroup" and "memory" in options.split(",")):
            continue
        for _, controllers, place in groups:
            if ("" if kind == "cgroup2" else "memory") in controllers.split(","):
                relative = os.path.relpath(place, root) if place.startswith(root) else "."
                own = Path(os.path.normpath(os.path.join(mount, relative)))
                own = own if own.is_dir() else Path(mount)
                yield own
                if kind == "cgroup2" and own != Path(mount):
                    yield own.parent


def _sweep(directory: Path) -> None:
    """Removes groups of ours that nobody holds the lock of."""
    try:
        left = [path for path in directory.iterdir() if path.name.startswith(_PREFIX)]
    except OSError:
        return
    for path in left:
        with contextlib.suppress(OSError):  # held, gone meanwhile, or another user's
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path)
            finally:
                os.close(lock)


def _remove(path: Path) -> None:
    patience = time.monotonic() + _REMOVE_SECONDS
    while True:
        try:
            for pid in (path / "cgroup.procs").read_text().split():
                if pid != "0":  # of another process namespace
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(int(pid), signal.SIGKILL)
            path.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:  # busy: its processes have not ended yet
            if time.monotonic() > patience:
                return
            time.sleep(0.002)
