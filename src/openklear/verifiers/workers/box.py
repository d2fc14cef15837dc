"""The program worker: a zygote that forks a fresh runner, in fresh namespaces, for every session.

It loads what nearly every program needs once, and never holds a program: the runner reads its session from the pipe by
itself. The next runner is made while the caller looks at the last one's answers, so that it waits when it is needed.
The zygote ends, with everything below it, when the other end of its stdin is closed.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys

from . import child, kernel, landlock, runner, seccomp, watch, wire

PRELOADED = (
    *("bisect", "collections", "copy", "datetime", "decimal", "fractions", "functools", "heapq", "itertools", "math"),
    *("operator", "re", "string", "time", "typing"),
)
"""Modules that many programs import: loaded once, shared by fork. Not `random` and `threading`, whose fork handlers
cost every test more (0.1 and 0.3 ms) than their import costs the few that want them."""


def main() -> None:
    """Serves sessions until the end of stdin. argv: [-c, directory, module, level, scratch directory of `rlimits`]."""
    level = sys.argv[3]
    incoming, outgoing = _take_protocol()
    try:
        walls = _settle(level)
        _probe(walls)
    except OSError as error:
        wire.write_message(outgoing, {"level": "none", "error": str(error)})
        return
    wire.write_message(outgoing, {"level": level, "landlock": walls.landlock, "pid": os.getpid()})
    scratch = sys.argv[4] if level == "rlimits" else None
    while _generation(incoming, outgoing, walls, scratch) == runner.DONE:
        pass


def _take_protocol() -> tuple[int, int]:
    """Moves the protocol away from descriptors 0 and 1, which belong to the programs."""
    import fcntl

    incoming, outgoing = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (0, 1))
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.close(null)
    return incoming, outgoing


def _settle(level: str) -> child.Walls:
    """Puts up the walls that all sessions of this worker share; OSError where the host does not let us."""
    import _sitebuiltins
    import builtins
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a handler would let programs reach the first process of their space
    for name in PRELOADED:
        __import__(name)
    builtins.exit = builtins.quit = _sitebuiltins.Quitter("exit", "")  # what `site` would have added
    if kernel.LINUX:
        kernel.become_subreaper()
        kernel.no_new_privileges()
        kernel.die_first()
        kernel.hide_memory()
    visible = _visible_paths()
    if level == "namespaces":
        if os.getpid() != 1:
            raise OSError("no pid namespace of our own")
        with open("/proc/sys/user/max_user_namespaces", "w") as limit:
            limit.write("0")
        kernel.private_root(visible)
    walled = level != "rlimits"
    if walled:
        kernel.drop_bounding_set()
    child.OWN_MODULES.extend(name for name in sys.modules if name.partition(".")[0] == __package__)
    gc.disable()
    gc.freeze()
    return child.Walls(own_pids=walled, filtered=walled, landlock=(*visible, "/proc") if level == "namespaces" else ())


def _probe(walls: child.Walls) -> None:
    """OSError where a session could not have its own namespaces here: better said now than by every program."""
    if walls.own_pids:
        pid = os.fork()
        if pid == 0:
            code = 1
            with contextlib.suppress(OSError):
                kernel.own_session()
                code = 0
            os._exit(code)
        if os.waitpid(pid, 0)[1] != 0:
            raise OSError("a program cannot have namespaces of its own")


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


def _generation(incoming: int, outgoing: int, walls: child.Walls, scratch: str | None) -> int:
    """Makes a runner, waits until its session is over, and says how it ended."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = _enter(incoming, outgoing, walls, scratch)
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _enter(incoming: int, outgoing: int, walls: child.Walls, scratch: str | None) -> int:
    """In the fork: takes namespaces of its own, in which the runner is the first process."""
    if not walls.own_pids:
        if kernel.LINUX:
            kernel.become_subreaper()
            kernel.die_with_parent(9)
        return _serve(incoming, outgoing, walls, scratch)
    kernel.own_session()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            kernel.mount_proc()
            code = _serve(incoming, outgoing, walls, None)
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _serve(incoming: int, outgoing: int, walls: child.Walls, base: str | None) -> int:
    scratch = runner.Scratch(base)
    _give_up_powers(walls)
    try:
        return runner.Runner(incoming, outgoing, walls, scratch).serve()
    except (watch.ParentGone, BrokenPipeError):
        return runner.END_OF_INPUT
    finally:
        scratch.clean()


def _give_up_powers(walls: child.Walls) -> None:
    """From here on the runner can do no more than its programs, which inherit all of this."""
    if kernel.LINUX:
        kernel.drop_capabilities()
    if walls.landlock:
        landlock.restrict(list(walls.landlock), ["/tmp", "/dev/null", "/dev/zero", "/dev/full"])
    if walls.filtered:
        seccomp.install()
