"""Sampling beside training: work in a thread of its own while a block runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

Made = TypeVar("Made")


class Stopped(Exception):
    """Raised in the thread: nobody waits for what it makes any more."""


@dataclass(frozen=True, slots=True)
class Done(Generic[Made]):
    """What the work made, and how long it took."""

    made: Made
    seconds: float


@contextmanager
def beside(work: Callable[[Callable[[], None]], Made]) -> Iterator[Callable[[], Done[Made]]]:
    """Does `work` while the block runs; what is yielded waits for it, and raises what it raised.

    `work` is given a function that it calls now and then, which raises Stopped once the block has ended without
    waiting. The block ends only when the work has.
    """
    found: list[Done[Made]] = []
    failed: list[BaseException] = []
    stopped = threading.Event()

    def go() -> None:
        if stopped.is_set():
            raise Stopped

    def run() -> None:
        begun = time.perf_counter()
        try:
            found.append(Done(work(go), time.perf_counter() - begun))
        except BaseException as error:  # it is raised where the work is waited for
            failed.append(error)

    def wait() -> Done[Made]:
        thread.join()
        if failed:
            raise failed[0]
        return found[0]

    thread = threading.Thread(target=run, name="beside", daemon=True)
    thread.start()
    try:
        yield wait
    finally:
        stopped.set()
        thread.join()
