"""What a run says while it works. Everything goes to stderr: bars on a terminal, a few plain lines elsewhere.

with progress.task("sft", total=steps, unit="steps") as advance:
    ...
    advance(loss=1.25)
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

SECONDS_BETWEEN_LINES = 10.0
CONSOLE = Console(stderr=True)
"""On whatever sys.stderr is when it prints."""


class Advance(Protocol):
    """`advance(3, loss=0.5)`: three more units are done, and these are the latest figures."""

    def __call__(self, n: int = 1, left: float | None = None, /, **figures: float | str) -> None:
        """Count `n` more units; `figures` replace those shown so far, name by name.

        `left`: seconds to the end, where the caller knows better than the units done so far tell.
        """
        ...


@contextmanager
def task(description: str, total: int | None, unit: str, *, done: int = 0, brief: bool = False) -> Iterator[Advance]:
    """Show the progress of one piece of work of `total` units (None: unknown). Tasks may be nested.

    `done` units were there before, and say nothing of the speed. Without a terminal a `brief` task that ends before
    its first line is due says nothing at all.
    """
    shows = _bar if CONSOLE.is_terminal and not CONSOLE.quiet else _lines
    with shows(_Work(description, total, unit, done, brief)) as advance:
        yield advance


@dataclass(slots=True)
class _Work:
    """A piece of work, and how far it is."""

    description: str
    total: int | None
    unit: str
    done: int
    brief: bool
    figures: dict[str, float | str] = field(default_factory=dict)
    ends: float | None = None
    """When it will end, on the monotonic clock, as far as the caller has said."""
    started: float = field(default_factory=lambda: time.monotonic())
    before: int = 0

    def __post_init__(self) -> None:
        self.before = self.done

    def advance(self, n: int, left: float | None, figures: Mapping[str, float | str]) -> None:
        """Take in what is new."""
        self.done += n
        self.figures.update(figures)
        if left is not None:
            self.ends = time.monotonic() + left

    @property
    def speed(self) -> float:
        """Units per second of this attempt."""
        now = time.monotonic()
        return (self.done - self.before) / (now - self.started) if now > self.started else 0.0

    @property
    def left(self) -> float | None:
        """Seconds to the end; None where nothing tells."""
        if self.ends is not None:
            return max(0.0, self.ends - time.monotonic())
        if self.total is None or not self.speed:
            return None
        return (self.total - self.done) / self.speed


class Stopwatch:
    """The time that work takes, from the work that is done: both in one unit, such as tokens."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def left(self, done: float, ahead: float) -> float | None:
        """Seconds that `ahead` will take at the speed of what is done; None before anything is."""
        return (time.monotonic() - self._started) * ahead / done if done else None

    def speed(self, done: float) -> float:
        """What is done, per second."""
        seconds = time.monotonic() - self._started
        return done / seconds if seconds > 0.0 else 0.0


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


def hush_imports() -> None:
    """Keep what libraries tell when they are imported, of GPUs that are not there, from the terminal.

    transformers imports torchao wherever it is installed.
    """
    logging.getLogger("torchao").setLevel(logging.ERROR)
    # torch sets the levels of its own loggers when it is imported, but leaves their filters.
    logging.getLogger("torch.utils._pytree").addFilter(lambda record: "Enum subclass" not in record.getMessage())


shared_bars: Progress | None = None
"""The display that nested tasks share, while there is one."""


@contextmanager
def _bar(work: _Work) -> Iterator[Advance]:
    global shared_bars
    bars, outermost = shared_bars or _new_bars(), shared_bars is None
    if outermost:
        shared_bars = bars
        bars.start()
    identity: TaskID = bars.add_task(work.description, total=work.total, completed=work.done, figures="", work=work)

    def advance(n: int = 1, left: float | None = None, /, **figures: float | str) -> None:
        work.advance(n, left, figures)
        bars.update(identity, advance=n, figures=figures_text(work.figures))

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
        _Left(),
        TextColumn("{task.fields[figures]}", style="dim", markup=False),
        console=CONSOLE,
    )


class _Count(ProgressColumn):
    """`40/100 steps, 3.9 steps/s`."""

    def render(self, task: Task) -> Text:
        work: _Work = task.fields["work"]
        speed = task.finished_speed or task.speed or work.speed
        return Text(_count(work.done, work.total, work.unit, speed))


class _Left(ProgressColumn):
    """`2 min 5 s left`."""

    def render(self, task: Task) -> Text:
        work: _Work = task.fields["work"]
        left = None if work.done == work.total else work.left
        return Text("" if left is None else f"{duration(left)} left", style="progress.remaining")


_open: list[_Work] = []
"""Tasks that are shown as lines, the outermost first."""


@contextmanager
def _lines(work: _Work) -> Iterator[Advance]:
    last, spoken = work.started, False

    def advance(n: int = 1, left: float | None = None, /, **figures: float | str) -> None:
        nonlocal last, spoken
        work.advance(n, left, figures)
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES and work.done != work.total:
            last, spoken = now, True
            say(f"{work.description}: {_line(work)}")

    _open.append(work)
    ended = "stopped at "
    try:
        yield advance
        ended = ""
    finally:
        _open.remove(work)
        took = f"{_count(work.done, work.total, work.unit, None)} in {duration(time.monotonic() - work.started)}"
        if spoken or ended or not work.brief:
            shown = (took, figures_text(work.figures))
            say(f"{work.description}: {ended}{', '.join(part for part in shown if part)}")


def _line(work: _Work) -> str:
    left = work.left
    parts = [_count(work.done, work.total, work.unit, work.speed)]
    if left is not None and work.total is not None:
        parts.append(f"{duration(left)} left")
    outer = _open[0]
    if outer is not work and outer.ends is not None and outer.left is not None:
        parts.append(f"{duration(outer.left)} left of {outer.description}")
    return ", ".join(part for part in (*parts, figures_text(work.figures)) if part)


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
