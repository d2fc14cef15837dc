"""The program worker: a zygote that forks a fresh runner, in fresh namespaces, for every session.

It loads what nearly every program needs once, and never holds a program: the runner reads its session from the pipe by
itself. The next runner is made while the caller looks at the last one's answers, so that it waits when it is needed.
The zygote ends, with everything below it, when the other end of its stdin is closed.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable

from . import kernel, packages, runner, seccomp, stacks, test_process, watcher, wire

PRELOADED = (
    *("bisect", "collections", "copy", "datetime", "decimal", "fractions", "functools", "heapq", "itertools", "math"),
    *("operator", "re", "string", "time", "typing"),
    "atexit",  # which every test's end asks for
)
"""Modules that many programs import: loaded once, shared by fork. Not `random` and `threading`, whose fork handlers
cost every test more (0.1 and 0.3 ms) than their import costs the few that want them."""

NOBODY_LISTENS = -1


def main() -> None:
    """Serves sessions until the end of stdin. argv: [-c, directory, module, level, packages, scratch of `rlimits`].

    The packages that programs may import are a JSON object of directories by name.
    """
    level = sys.argv[3]
    walled = level != "rlimits"
    incoming, outgoing = _take_protocol()
    scratch = None if walled else sys.argv[5]
    packages.allow(sys.argv[4])
    try:
        _settle(walled)
        _probe(walled, scratch)
    except OSError as error:
        wire.write_message(outgoing, {"level": "none", "error": str(error)})
        return
    wire.write_message(outgoing, {"level": level})

    def serve(scratch: runner.Scratch) -> int:
        try:
            return runner.Runner(incoming, outgoing, walled, scratch).serve()
        except (watcher.ParentGone, BrokenPipeError):
            return runner.END_OF_INPUT

    while _session(walled, scratch, serve, NOBODY_LISTENS) == runner.DONE:
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


def _settle(walled: bool) -> None:
    """Puts up the walls that all sessions of this worker share; OSError where the host does not let us."""
    import _sitebuiltins
    import builtins
    import signal

    stacks.settle()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a handler would let programs reach the first process of their space
    for name in PRELOADED:
        __import__(name)
    builtins.exit = builtins.quit = _sitebuiltins.Quitter("exit", "")  # what `site` would have added
    if kernel.LINUX:
        kernel.become_subreaper()
        kernel.no_new_privileges()
        kernel.die_first()
        kernel.hide_memory()
    if walled:
        kernel.drop_bounding_set()
    test_process.OWN_MODULES.extend(name for name in sys.modules if name.partition(".")[0] == __package__)
    gc.disable()
    gc.freeze()


def _probe(walled: bool, base: str | None) -> None:
    """OSError where a session cannot be walled in here: better said now than by every program."""
    ours, theirs = os.pipe()
    refused = _session(walled, base, lambda scratch: runner.DONE, theirs) != runner.DONE
    os.close(theirs)
    why = os.read(ours, 4096).decode("utf-8", "replace")
    os.close(ours)
    if refused:
        raise OSError(why or "a session cannot be walled in")


def _session(walled: bool, base: str | None, serve: Callable[[runner.Scratch], int], complaints: int) -> int:
    """Runs `serve` behind the walls of one session, and says how it ended; it is the first process of its own space."""

    def serving() -> int:
        if walled:
            kernel.mount_proc()
        scratch = runner.Scratch(base)
        if kernel.LINUX:  # from here on the runner can do no more than its programs, which inherit all of this
            kernel.drop_capabilities()
        if walled:
            seccomp.install()
        try:
            return serve(scratch)
        finally:
            scratch.clean()

    def apart() -> int:
        if walled:
            kernel.own_session()
            return _forked(serving, complaints)
        if kernel.LINUX:
            kernel.become_subreaper()
            kernel.die_with_parent(9)
        return serving()

    return _forked(apart, complaints)


def _forked(body: Callable[[], int], complaints: int) -> int:
    """The exit status of a fork that runs `body`; an OSError of it is told to the descriptor `complaints`, if any."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = body()
        except OSError as error:
            if complaints >= 0:
                os.write(complaints, str(error).encode())
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
