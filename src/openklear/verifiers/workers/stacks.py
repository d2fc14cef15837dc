"""Room for deep recursion, and a limit on memory that counts what is used.

Judges lift the 8 MiB that a stack may have. The main thread's stack may here grow to a program's whole memory and
somewhat beyond, so that memory ends first. Room for it is kept below the first mapping only where the limit stood when
the interpreter was started, so `before_start` is called by who starts it.

A thread's stack is reserved whole, and the kernel counts what is reserved: against RLIMIT_AS, which is therefore wider
than the memory, and against RLIMIT_DATA, which is the memory, so that an object too big is refused with MemoryError. A
program that asks for bigger stacks (`threading.stack_size(2**28)`) gets the wider limit there too. What it uses is
then bounded by the looks at its family, by the cgroup, and by its peak, which is read at its end.
"""

from __future__ import annotations

import _thread
import resource
import sys

from . import kernel

DEFAULT_BYTES = 8 * 2**20
"""Of a thread's stack. The C library would take the limit of the main thread's."""
SLACK_BYTES = 32 * 2**20
"""What a process may hold beyond its memory: libraries, and pages of the process that forked it."""
_RESERVED = 2**30
_set_size = _thread.stack_size


def most_bytes(memory_bytes: int) -> int:
    """How far a stack may grow: one that ends there has used more than its process may hold."""
    return memory_bytes + 2 * SLACK_BYTES


def before_start(memory_bytes: int) -> None:
    """Lets the stack of the interpreter that this process becomes grow so far."""
    lower(resource.RLIMIT_STACK, most_bytes(memory_bytes), None)


def settle() -> None:
    """Gives threads stacks of the usual size. Of the process that forks the tests."""
    _set_size(DEFAULT_BYTES)


def limit(memory_bytes: int) -> None:
    """Limits this process, and all it starts, to the memory. Linux alone has limits that hold."""
    if not kernel.LINUX:
        return
    reachable = memory_bytes + max(_RESERVED, memory_bytes)
    lower(resource.RLIMIT_AS, reachable, reachable)
    lower(resource.RLIMIT_STACK, most_bytes(memory_bytes), None)
    lower(resource.RLIMIT_DATA, memory_bytes, reachable)
    _lend(memory_bytes)


def _lend(memory_bytes: int) -> None:
    asked = 0

    def stack_size(size: int = 0, /) -> int:
        """As `threading.stack_size`; no stack is made bigger than what could be used of it."""
        nonlocal asked
        before = asked
        _set_size(min(size, most_bytes(memory_bytes)) if size else DEFAULT_BYTES)
        if size > DEFAULT_BYTES:
            hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
            resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
        asked = size
        return before

    for name in ("_thread", "threading"):
        if (module := sys.modules.get(name)) is not None:
            module.stack_size = stack_size  # type: ignore[attr-defined]


def lower(which: int, soft: int, hard: int | None) -> None:
    """Sets a limit, as far as it can be set. Without `hard` that stays."""
    ceiling = resource.getrlimit(which)[1]
    hard = ceiling if hard is None else hard
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    resource.setrlimit(which, (soft, hard))
