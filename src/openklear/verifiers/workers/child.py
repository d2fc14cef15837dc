"""What a test's own process does around the program's code. Runs in a fork of the box; never returns."""

from __future__ import annotations

import gc
import math
import os
import resource
import sys
from dataclasses import dataclass
from types import CodeType, ModuleType
from typing import NoReturn

from . import kernel

COMPILE_ERROR = 121
"""Exit status of a program that does not compile. A program may fake it: all its tests fail then."""
MAX_FILES = 64
MAX_PROCESSES = 64


@dataclass(frozen=True)
class Bounds:
    """What a test of a program may use."""

    cpu_seconds: float
    memory_bytes: int
    file_bytes: int
    own_pids: bool
    """The box has a pid namespace of its own."""


def run(source: str, descriptors: tuple[int, int, int], bounds: Bounds) -> NoReturn:
    """Runs the program with `descriptors` as its stdin, stdout and stderr, and ends the process with its status."""
    status = 1
    try:
        os.setsid()
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        os.closerange(3, 4096)
        _limit(bounds)
        _give_up_powers(bounds)
        code = _compile(source)
        status = COMPILE_ERROR if code is None else _execute(code)
        _finish()
    except BaseException as error:  # the program's finalizers may raise anything; nothing of it may reach the box
        _report(error)
        status = status or 1
    finally:
        os._exit(status & 0xFF)


def _limit(bounds: Bounds) -> None:
    seconds = math.ceil(bounds.cpu_seconds)
    limits = [
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_CPU, seconds, seconds + 1),
        (resource.RLIMIT_FSIZE, bounds.file_bytes, bounds.file_bytes),
        (resource.RLIMIT_NOFILE, MAX_FILES, MAX_FILES),
    ]
    if kernel.LINUX:  # macOS accepts the call and ignores it
        limits.append((resource.RLIMIT_AS, bounds.memory_bytes, bounds.memory_bytes))
    if bounds.own_pids:  # elsewhere it would count all processes of the user, innocent ones too
        limits.append((resource.RLIMIT_NPROC, MAX_PROCESSES, MAX_PROCESSES))
    for which, soft, hard in limits:
        ceiling = resource.getrlimit(which)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(which, (soft, hard))


def _give_up_powers(bounds: Bounds) -> None:
    if not kernel.LINUX:
        return
    if not bounds.own_pids:
        kernel.die_with_parent(9)
    kernel.drop_capabilities()


def _compile(source: str) -> CodeType | None:
    try:
        return compile(source, "solution.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        _report(error)
        return None


def _execute(code: CodeType) -> int:
    module = ModuleType("__main__")
    module.__dict__["__builtins__"] = __builtins__
    for name in [name for name in sys.modules if name.partition(".")[0] == __package__]:
        del sys.modules[name]
    sys.modules["__main__"] = module
    sys.argv = ["solution.py"]
    if (random := sys.modules.get("random")) is not None:
        random.seed(0)  # a program that draws at random gets the same verdict every time
    gc.enable()
    try:
        exec(code, module.__dict__)
    except SystemExit as stop:
        return _exit_status(stop.code)
    except BaseException as error:  # whatever the program raises ends it, as in an interpreter of its own
        _report(error)
        return 1
    return 0


def _exit_status(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return int(code) & 0xFF
    os.write(2, str(code)[:1000].encode("utf-8", "replace") + b"\n")
    return 1


def _finish() -> None:
    """What an interpreter does at its end: waits for threads, runs exit handlers, flushes."""
    if (threading := sys.modules.get("threading")) is not None:
        threading._shutdown()
    import atexit

    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()


def _report(error: BaseException) -> None:
    """The exception's last line, to stderr; kept short, since its text is the program's."""
    try:
        text = str(error)
    except BaseException:  # a hostile __str__
        text = ""
    line = f"{type(error).__name__}: {text}".replace("\n", " ")[:500]
    os.write(2, b"\n" + line.encode("utf-8", "replace") + b"\n")
