"""What a test's own process does before and after the code it is for. Runs in a fork of the runner; never returns."""

from __future__ import annotations

import gc
import math
import os
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import CodeType, ModuleType
from typing import NoReturn

from . import kernel, stacks

COMPILE_ERROR = 121
"""Exit status of a program that does not compile. A program may fake it: all its tests fail then."""
FILE_BYTES = 16 * 2**20
OUTPUT_BYTES = 4 * 2**20
"""Of stdout, where no test expects more."""
MAX_FILES = 64
MAX_TASKS = 16
"""Processes and threads of the box's user, the box's own five among them. Only counted where the user is not root."""
CHANNEL = 3
"""The descriptor of a test's channel, where it has one."""
OWN_MODULES: list[str] = []
"""Our modules' names, which no program shall find; the box fills it once, for every page touched here costs a fault."""


@dataclass(frozen=True)
class Bounds:
    """What a test of a program may use."""

    cpu_seconds: float
    wall_seconds: float
    memory_bytes: int
    walled: bool
    """The session has a pid namespace of its own."""
    output_bytes: int = OUTPUT_BYTES
    """Of stdout."""


def run(entry: Callable[[int], int], descriptors: Sequence[int], bounds: Bounds) -> NoReturn:
    """Runs `entry(channel)` behind the walls and ends the process with its status.

    `descriptors` become stdin, stdout, stderr and, where there is a fourth, the channel; all others are closed.
    """
    status = 1
    try:
        os.setsid()
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)  # 0, 1 and 2 are /dev/null until here, and the channel comes last
        os.closerange(len(descriptors), 4096)
        _limit(bounds)
        if kernel.LINUX and not bounds.walled:
            kernel.die_with_parent(9)
        status = entry(CHANNEL)
        _finish()
    except BaseException as error:  # the program's finalizers may raise anything; nothing of it may reach the box
        report(error)
        status = status or 1
    finally:
        os._exit(status & 0xFF)


def _limit(bounds: Bounds) -> None:
    seconds = math.ceil(bounds.cpu_seconds)
    stacks.lower(resource.RLIMIT_CORE, 0, 0)
    stacks.lower(resource.RLIMIT_CPU, seconds, seconds + 1)
    stacks.lower(resource.RLIMIT_FSIZE, FILE_BYTES, FILE_BYTES)
    stacks.lower(resource.RLIMIT_NOFILE, MAX_FILES, MAX_FILES)
    if bounds.walled:  # elsewhere it would count all processes of the user, innocent ones too
        stacks.lower(resource.RLIMIT_NPROC, MAX_TASKS, MAX_TASKS)
    stacks.limit(bounds.memory_bytes)


def run_script(source: str) -> int:
    """Runs a whole program, as the interpreter would run a file. Returns its exit status."""
    code = compile_program(source)
    if code is None:
        return COMPILE_ERROR
    module = fresh_main()
    try:
        exec(code, module.__dict__)
    except SystemExit as stop:
        return exit_status(stop.code)
    except BaseException as error:  # whatever the program raises ends it, as in an interpreter of its own
        report(error)
        return 1
    return 0


def compile_program(source: str) -> CodeType | None:
    """The program's code; None (and a line on stderr) where it does not compile."""
    try:
        return compile(source, "solution.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        report(error)
        return None


def fresh_main() -> ModuleType:
    """An empty __main__ for a program; the box's own modules can no longer be imported."""
    module = ModuleType("__main__")
    module.__dict__["__builtins__"] = __builtins__
    for name in OWN_MODULES:
        sys.modules.pop(name, None)
    sys.modules["__main__"] = module
    sys.argv = ["solution.py"]
    if (random := sys.modules.get("random")) is not None:
        random.seed(0)  # a program that draws at random gets the same verdict every time
    gc.enable()
    return module


def exit_status(code: object) -> int:
    """The status of a process that called sys.exit(code); what it says goes to stderr."""
    if code is None:
        return 0
    if isinstance(code, int):
        return int(code) & 0xFF
    os.write(2, str(code)[:1000].encode("utf-8", "replace") + b"\n")
    return 1


def _finish() -> None:
    """What an interpreter does at its end: waits for threads, runs exit handlers, flushes."""
    if (threading := sys.modules.get("threading")) is not None:  # not preloaded, so the program has asked for it
        threading._shutdown()
    import atexit

    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()


def report(error: BaseException) -> None:
    """The exception's last line, to stderr; kept short, since its text is the program's."""
    try:
        text = str(error)
    except BaseException:  # a hostile __str__
        text = ""
    line = f"{type(error).__name__}: {text}".replace("\n", " ")[:500]
    os.write(2, b"\n" + line.encode("utf-8", "replace") + b"\n")
