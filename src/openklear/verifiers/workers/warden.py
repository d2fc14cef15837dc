"""The warden of a box: starts it in its cage, watches that somebody still wants it, and sees that it ends.

It is a process of its own, because a box must end when its user is killed, whatever its programs do, and because only
a single-threaded parent can hand a process the kernel's parent-death signal. Where it starts as root it first makes
the interpreter reachable in a mount namespace of its own (a Python in a private home is closed to other users), then
gives the box another user id: the kernel does not bound the number of root's processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from typing import Any, NoReturn

from . import kernel, stacks, wire
from .outlive import outlive

NOBODY = 65534
"""The user and group that a box gets where it is started by root."""


def main() -> None:
    """Runs a box until it ends or nobody holds the other end of stdin. argv: [-c, directory, module, specification].

    The specification is a JSON object: `command`, `paths` that the box needs, `scratch` (its own directory, or
    null), `cgroup` (a directory to put the box into, or null), and `memory_bytes` of a program.
    """
    plan = json.loads(sys.argv[3])
    box = os.fork()
    if box == 0:
        _become(plan)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    outlive(box, 0)


def _become(plan: dict[str, Any]) -> NoReturn:
    """Turns into the box; what is missing is said in its place, as a hello."""
    try:
        kernel.die_with_parent(signal.SIGKILL)
        if plan["cgroup"] is not None:
            with open(f"{plan['cgroup']}/cgroup.procs", "w") as processes:
                processes.write("0")
        if os.getuid() == 0:
            _leave_root(plan["paths"], plan.get("scratch"))
            kernel.die_with_parent(signal.SIGKILL)  # a new user id takes it away
        stacks.before_start(plan["memory_bytes"])
        os.execve(plan["command"][0], plan["command"], dict(os.environ))
    except OSError as error:
        with contextlib.suppress(OSError):
            wire.write_message(1, {"level": "none", "error": str(error)})
    os._exit(1)


def _leave_root(paths: list[str], scratch: str | None) -> None:
    """Makes `paths` reachable for everybody, in this mount namespace alone, and becomes nobody."""
    closed = {wall for path in paths if (wall := closed_ancestor(path)) is not None}
    if closed:
        kernel.own_mounts()
        held = {path: os.open(path, os.O_PATH) for path in paths}  # before anything is mounted over their parents
        for wall in closed:
            kernel.mount_empty(wall)
        for path, descriptor in held.items():
            if any(path.startswith(wall + "/") for wall in closed):
                os.makedirs(path, mode=0o755, exist_ok=True)
                kernel.bind(f"/proc/self/fd/{descriptor}", path)
            os.close(descriptor)
    if scratch is not None:
        os.chown(scratch, NOBODY, NOBODY)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def closed_ancestor(path: str) -> str | None:
    """The topmost directory on the way to `path` that not everybody may pass; None where the way is open."""
    ancestor = ""
    for name in path.strip("/").split("/")[:-1]:
        ancestor += "/" + name
        if not os.stat(ancestor).st_mode & 0o001:
            return ancestor
    return None
