"""What is no longer wanted is moved to DIR/superseded, never deleted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from openklear import progress
from openklear.durable import files

LEFT_OUT = ("checkpoints", "verdicts.jsonl", "iterations")
"""What a prolonged stage goes on with in its own place."""


def set_aside(directory: Path, why: Sequence[str]) -> None:
    """Move a stage whose recipe, code or inputs changed, or that is damaged, to superseded/NAME-FINGERPRINT."""
    record = files.read_json(directory / "stage.json")
    place = _free(directory.parent / "superseded" / f"{directory.name}-{record['fingerprint'][:8]}")
    _move(directory, place)
    progress.say(f"{directory.name} runs again; the old one is kept in {place}. What changed:{listed(why)}")


def move_part(directory: Path, part: Path) -> Path:
    """Move one directory of a stage to superseded/NAME-damaged; returns where it lies, if it was there."""
    place = _free(directory.parent / "superseded" / f"{directory.name}-damaged" / part.name)
    if (directory / part).exists():
        _move(directory / part, place)
    return place


def keep_copy(directory: Path) -> Path:
    """Keep a finished stage's model and figures in superseded/NAME-FINGERPRINT, before the stage is prolonged."""
    record = files.read_json(directory / "stage.json")
    place = directory.parent / "superseded" / f"{directory.name}-{record['fingerprint'][:8]}"
    if not place.exists():
        ignore = shutil.ignore_patterns(*LEFT_OUT, ".partial-*")
        with files.whole_directory(place) as partial:
            shutil.copytree(directory, partial, ignore=ignore, copy_function=link, dirs_exist_ok=True)
    return place


def link(source: str, target: str) -> None:
    """A second name for what is never changed in place: weights; anything else is copied."""
    if not source.endswith(".safetensors"):
        shutil.copy2(source, target)
        return
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def listed(lines: Sequence[str], most: int = 12) -> str:
    """Lines below a sentence, the first of them."""
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return "".join(f"\n  {line}" for line in (*lines[:most], *more))


def _free(place: Path) -> Path:
    """The place, numbered where it is taken: recipes go back and forth."""
    number, free = 1, place
    while free.exists():
        number += 1
        free = place.with_name(f"{place.name}-{number}")
    return free


def _move(source: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    source.rename(place)
    files.fsync_directory(place.parent)
    files.fsync_directory(source.parent)
