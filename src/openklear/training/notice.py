"""Notice that this process has to end (SIGTERM, as schedulers give it before they take a machine away).

While a stage heeds it, the step or iteration under way is ended and saved before the process ends; a second notice ends
it at once. Elsewhere a SIGTERM ends the process at once, as ever: what is done lies on the disk.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from openklear import progress

_given = False


def given() -> bool:
    """Whether this process was told to end."""
    return _given


@contextmanager
def heeded(stage: str, unit: str) -> Iterator[None]:
    """Within, the first SIGTERM is noted and said. In the main thread alone; elsewhere nothing changes."""
    global _given
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, frame: Any) -> None:
        global _given
        _given = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        progress.say(f"{stage}: told to end (SIGTERM): the {unit} under way is finished and saved first")

    _given, before = False, signal.signal(signal.SIGTERM, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _given = False
