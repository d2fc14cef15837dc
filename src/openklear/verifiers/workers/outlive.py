"""How a worker's first process waits for its second, which may hang in C code or hold hostile programs."""

from __future__ import annotations

import os
import select
import signal

_GRACE_MS = 200
"""A process whose user is gone is told so by its own stdin, and has this long to go by itself."""


def outlive(child: int, incoming: int) -> int | None:
    """The child's exit code (minus its signal); None where the other end of `incoming` is gone: it is killed then."""
    pidfd = os.pidfd_open(child) if hasattr(os, "pidfd_open") else -1
    poll = select.poll()
    poll.register(incoming, 0)  # reports only that its other end is gone: what is in it is the child's
    if pidfd >= 0:
        poll.register(pidfd, select.POLLIN)
    try:
        while not any(descriptor == incoming for descriptor, _ in poll.poll(None if pidfd >= 0 else 20)):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
        poll.unregister(incoming)
        poll.poll(_GRACE_MS)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return None
    finally:
        if pidfd >= 0:
            os.close(pidfd)
