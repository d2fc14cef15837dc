"""The mathematics worker: asks math-verify whether two answers are equal, under an alarm that nothing can catch.

The first process loads math-verify and forks a second that answers. The second sets alarms whose default action,
death, works in the middle of any C call; the first then says "timeout" in its place and forks again (a few ms).
Answers only ever pass through math-verify's LaTeX grammar: its plain-expression path is sympy's parse_expr, an eval.
"""

from __future__ import annotations

import gc
import logging
import os
import resource
import select
import signal
import sys
from typing import Any

from . import wire

MEMORY_BYTES = 4 * 2**30
WALL_FACTOR = 6.0
"""Wall seconds a question may take for each of its CPU seconds: a crowded machine is not the answer's fault."""
_ALARMS = (signal.SIGPROF, signal.SIGALRM)


def main() -> None:
    """Serves until the end of stdin. argv: [-c, directory, module, seconds]."""
    seconds = float(sys.argv[3])
    incoming, outgoing = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)  # whatever a library prints is not an answer
    logging.disable(logging.CRITICAL)
    warm_up()
    wire.write_message(outgoing, {"ready": True})
    gc.freeze()
    while True:
        pid = os.fork()
        if pid == 0:
            _serve(incoming, outgoing, seconds)
            os._exit(0)
        code = _outlive(pid, incoming)
        if code == 0:
            return
        wire.write_message(outgoing, {"error": "timeout" if -code in _ALARMS else "killed"})


def warm_up() -> None:
    """Loads what the first question would load."""
    if not equal(r"\frac{1}{2}x", r"\frac{x}{2}"):
        raise RuntimeError("math-verify does not know that x/2 is x/2")


def _serve(incoming: int, outgoing: int, seconds: float) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":  # macOS accepts the call and ignores it
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for number in _ALARMS:
        signal.signal(number, signal.SIG_DFL)
    while (message := wire.read_message(incoming)) is not None:
        _set_alarms(seconds)
        answer = _answer(message)
        _set_alarms(0.0)
        wire.write_message(outgoing, answer)


def _outlive(pid: int, incoming: int) -> int:
    """The second process's exit code (minus its signal); 0 also where our own parent has gone, whatever it computes."""
    pidfd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
    poll = select.poll()
    poll.register(incoming, 0)  # reports only that its other end is gone
    if pidfd >= 0:
        poll.register(pidfd, select.POLLIN)
    try:
        while True:
            ready = poll.poll(None if pidfd >= 0 else 20)
            if any(descriptor == incoming for descriptor, _ in ready):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return 0
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
    finally:
        if pidfd >= 0:
            os.close(pidfd)


def _set_alarms(seconds: float) -> None:
    """Death after so many CPU seconds, or WALL_FACTOR times as many of the clock; 0 calls both off."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, WALL_FACTOR * seconds)


def _answer(message: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"equal": equal(message["reference"], message["answer"])}
    except (Exception, MemoryError) as error:  # sympy raises anything; the caller grades the reference against itself
        return {"error": type(error).__name__}


def equal(reference: str, answer: str) -> bool:
    """Whether math-verify holds two LaTeX answers (the contents of boxes) for equal."""
    from math_verify import LatexExtractionConfig, parse, verify

    config = [LatexExtractionConfig(boxed_match_priority=0)]
    sides = [
        parse(f"\\boxed{{{text}}}", config, parsing_timeout=0, fallback_mode="no_fallback", raise_on_error=True)
        for text in (reference, answer)
    ]
    if not all(sides):
        return False
    return bool(verify(sides[0], sides[1], timeout_seconds=0, raise_on_error=True))
