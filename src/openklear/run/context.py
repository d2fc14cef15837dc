"""What a stage is given. A stage reads directories and writes its own; nothing passes in memory between stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from openklear.recipe.schema import Recipe

Opened = TypeVar("Opened")


class Kept:
    """What is opened once and used again, as a cluster's samplers and judges when a stage begins again. `close` it."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._opened: dict[str, Any] = {}

    def once(self, name: str, make: Callable[[], AbstractContextManager[Opened]]) -> Opened:
        """What was opened under this name; the first time, what `make` returns is entered."""
        if name not in self._opened:
            self._opened[name] = self._stack.enter_context(make())
        found: Opened = self._opened[name]
        return found

    def close(self) -> None:
        """End all of it, what was opened last first; it may be used again."""
        self._opened.clear()
        self._stack.close()


@dataclass(frozen=True, slots=True)
class StageContext:
    """The arguments of every stage's `run`.

    A stage may be killed at any moment and is then called again with the same directory: it continues, and ends with
    the bits that an undisturbed run would have given.
    """

    recipe: Recipe
    root: Path
    """The run directory."""
    name: str
    directory: Path
    """The stage's own directory; it exists, and nothing else writes there."""
    inputs: Mapping[str, Path] = field(default_factory=dict)
    """Role ("world", "prepare", "model") -> directory of the finished stage that plays it."""
    tell: Callable[[Mapping[str, Any]], None] = lambda found: None
    """Says and records with the attempt what "auto" stands for: dotted key of the recipe -> value."""
    kept: Kept | None = None
    """Of the processes that it needs, those that outlive it where it is begun again; None: none."""
