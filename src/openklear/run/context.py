"""What a stage is given. A stage reads directories and writes its own; nothing passes in memory between stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openklear.recipe.schema import Recipe


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
