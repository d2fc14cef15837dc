"""Notice that this process has to end (SIGTERM, as schedulers give it before they take a machine away).

While a stage heeds it, the step or iteration under way is ended and saved before the process ends; a second notice ends
it at once. Elsewhere a SIGTERM ends the process at once, as ever: what is done lies on the disk.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_given = False


def given() -> bool:
    """Whether this process was told to end."""
    return _given


def forget() -> None:
    """A run begins: what was told before was for another one."""
    global _given
    _given = False


@contextmanager
def heeded(stage: str, unit: str, say: Callable[[str], None]) -> Iterator[None]:
    """Within, the first SIGTERM is noted, and said by `say`; that it was `given` stays known afterwards.

    In the main thread alone; elsewhere nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, frame: Any) -> None:
        global _given
        _given = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        say(f"{stage}: told to end (SIGTERM): the {unit} under way is finished and saved first")

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
