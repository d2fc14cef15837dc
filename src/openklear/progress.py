"""What a run says while it works. Everything goes to stderr: bars on a terminal, a few plain lines elsewhere.

with progress.task("sft", total=steps, unit="steps") as advance:
    ...
    advance(loss=1.25)
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

SECONDS_BETWEEN_LINES = 10.0
CONSOLE = Console(stderr=True)
"""On whatever sys.stderr is when it prints."""


class Advance(Protocol):
    """`advance(3, loss=0.5)`: three more units are done, and these are the latest figures."""

    def __call__(self, n: int = 1, **figures: float | str) -> None:
        """Count `n` more units; `figures` replace those shown so far, name by name."""
        ...


@contextmanager
def task(description: str, total: int | None, unit: str) -> Iterator[Advance]:
    """Show the progress of one piece of work of `total` units (None: unknown). Tasks may be nested."""
    shows = _bar if CONSOLE.is_terminal and not CONSOLE.quiet else _lines
    with shows(description, total, unit) as advance:
        yield advance


def say(text: str) -> None:
    """Print one line, above the bars if there are any."""
    CONSOLE.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)


@cache
def say_once(text: str) -> None:
    """Print one line, unless this process has printed it before."""
    say(text)


def quiet(silent: bool) -> None:
    """Say nothing from now on, or talk again."""
    CONSOLE.quiet = silent


shared_bars: Progress | None = None
"""The display that nested tasks share, while there is one."""


@contextmanager
def _bar(description: str, total: int | None, unit: str) -> Iterator[Advance]:
    global shared_bars
    bars, outermost = shared_bars or _new_bars(), shared_bars is None
    if outermost:
        shared_bars = bars
        bars.start()
    shown: dict[str, float | str] = {}
    identity: TaskID = bars.add_task(description, total=total, unit=unit, figures="")

    def advance(n: int = 1, **figures: float | str) -> None:
        shown.update(figures)
        bars.update(identity, advance=n, figures=figures_text(shown))

    try:
        yield advance
    finally:
        bars.stop_task(identity)
        if outermost:
            bars.stop()
            shared_bars = None
        else:
            # Hundreds of inner tasks would pile up on the screen.
            bars.remove_task(identity)


def _new_bars() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        _Count(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[figures]}", style="dim", markup=False),
        console=CONSOLE,
    )


class _Count(ProgressColumn):
    """`40/100 steps, 3.9 steps/s`."""

    def render(self, task: Task) -> Text:
        total = None if task.total is None else int(task.total)
        return Text(_count(int(task.completed), total, task.fields["unit"], task.finished_speed or task.speed))


@contextmanager
def _lines(description: str, total: int | None, unit: str) -> Iterator[Advance]:
    done, shown = 0, dict[str, float | str]()
    started = last = time.monotonic()

    def advance(n: int = 1, **figures: float | str) -> None:
        nonlocal done, last
        done += n
        shown.update(figures)
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES and done != total:
            last = now
            speed = done / (now - started)
            left = f"{duration((total - done) / speed)} left" if total is not None and done else ""
            parts = (_count(done, total, unit, speed), left, figures_text(shown))
            say(f"{description}: {', '.join(part for part in parts if part)}")

    ended = "stopped at "
    try:
        yield advance
        ended = ""
    finally:
        took = f"{_count(done, total, unit, None)} in {duration(time.monotonic() - started)}"
        say(f"{description}: {ended}{', '.join(part for part in (took, figures_text(shown)) if part)}")


def _count(done: int, total: int | None, unit: str, speed: float | None) -> str:
    text = f"{done:,} {unit}" if total is None else f"{done:,}/{total:,} {unit}"
    return text if not speed else f"{text}, {speed:.3g} {unit}/s"


def figures_text(figures: dict[str, float | str]) -> str:
    """`loss 1.25, accuracy 0.5`: four significant digits are enough to watch."""
    return ", ".join(
        f"{name.replace('_', ' ')} {value if isinstance(value, str) else format(value, '.4g')}"
        for name, value in figures.items()
    )


def duration(seconds: float) -> str:
    """`7 s`, `2 min 5 s`, `3 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
