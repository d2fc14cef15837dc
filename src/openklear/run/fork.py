"""Continuing another run's work with a changed recipe or code; the other run directory is only read.

What is taken over, stage by stage in order:

    finished    if its recipe, its data files and its inputs are unchanged (changed code alone does not undo it)
    unfinished  training with a checkpoint, if its inputs were taken over; it continues from that checkpoint
    the rest    runs again

Each copy records in its stage.json where it came from and what differed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from openklear import progress
from openklear.durable import files
from openklear.errors import UsageError
from openklear.run.fingerprint import Parts, difference, fingerprint
from openklear.run.plan import Stage

_MARK = "fork.json"


def pending_fork(root: Path) -> Path | None:
    """The run directory whose taking over was interrupted, if one was."""
    mark = root / _MARK
    if not mark.is_file():
        return None
    found = files.read_json(mark)
    return None if found["whole"] else Path(found["from"])


def take_over(source: Path, root: Path, stages: Sequence[Stage], parts: Mapping[str, Parts]) -> None:
    """Bring what still holds of `source` to `root` (once; called again after a kill, it continues).

    Finished files are hard-linked where the file system allows it, since nothing in a finished stage is ever changed
    in place; an unfinished stage is copied. Raises UsageError if there is nothing to fork or `root` is another run.
    """
    source = source.absolute()
    if not _may_begin(source, root, stages):
        return
    files.write_json(root / _MARK, {"from": str(source), "whole": False})
    taken: dict[str, str] = {}
    with files.reading(source):
        for stage, record in _holding(source, stages, parts):
            taken[stage.name] = record["state"]
            lines = difference(record["parts"], parts[stage.name])
            if not (root / stage.name).exists():
                _copy(source / stage.name, root / stage.name, record, parts[stage.name])
            progress.say("\n  ".join([f"{stage.name}: taken over, {record['state']}, from {source}", *lines]))
    files.write_json(root / _MARK, {"from": str(source), "whole": True, "stages": taken})


def would_take_over(
    source: Path, root: Path, stages: Sequence[Stage], parts: Mapping[str, Parts]
) -> dict[str, tuple[str, list[str]]]:
    """Stage -> (its state in `source`, what differs) of those that `take_over` would bring; nothing is written."""
    source = source.absolute()
    if not _may_begin(source, root, stages):
        return {}
    found = _holding(source, stages, parts)
    return {stage.name: (record["state"], difference(record["parts"], parts[stage.name])) for stage, record in found}


def _holding(
    source: Path, stages: Sequence[Stage], parts: Mapping[str, Parts]
) -> Iterator[tuple[Stage, Mapping[str, Any]]]:
    """The stages of `source` that still hold, in order, each with its record."""
    anew: set[str] = set()
    for stage in stages:
        record = files.stage_record(source / stage.name)
        if record is None or not _usable(stage, record, parts[stage.name], source / stage.name, anew):
            anew.add(stage.name)
        else:
            yield stage, record


def _may_begin(source: Path, root: Path, stages: Sequence[Stage]) -> bool:
    """False if `root` holds the fork already."""
    if source.resolve() == root.resolve():
        raise UsageError(f"{root} cannot be forked into itself; choose another --output")
    mark = root / _MARK
    if mark.is_file():
        found = files.read_json(mark)
        if found["from"] != str(source):
            raise UsageError(f"{root} is a fork of {found['from']}, not of {source}; choose another --output")
        return not found["whole"]
    if any((root / stage.name).exists() for stage in stages):
        raise UsageError(f"{root} holds a run of its own already; choose another --output for the fork")
    if not any(files.stage_record(source / stage.name) for stage in stages) or not (source / "lock").is_file():
        raise UsageError(f"{source} holds no stage of this recipe; give --fork the directory of a run")
    return True


def _usable(stage: Stage, record: Mapping[str, Any], parts: Parts, directory: Path, anew: set[str]) -> bool:
    if anew.intersection(stage.inputs.values()):
        return False
    if record["state"] == "unfinished":
        return _newest_checkpoint(directory) is not None
    old = record["parts"]
    return bool(old["recipe"] == parts["recipe"] and _files(stage, old) == _files(stage, parts))


def _files(stage: Stage, parts: Parts) -> dict[str, str]:
    return {label: hashed for label, hashed in parts["inputs"].items() if label not in stage.inputs}


def _copy(source: Path, target: Path, record: Mapping[str, Any], parts: Parts) -> None:
    finished = record["state"] == "finished"
    ignore = shutil.ignore_patterns("stage.json", ".partial-*") if finished else _unsettled(source)
    copy = _link if finished else shutil.copy2
    with files.whole_directory(target) as partial:
        shutil.copytree(source, partial, ignore=ignore, copy_function=copy, dirs_exist_ok=True)
        lines = difference(record["parts"], parts)
        origin = {"from": str(source), "fingerprint": record["fingerprint"], "difference": lines}
        mine = {**record, "fingerprint": fingerprint(parts), "parts": parts, "forked": origin}
        files.write_json(partial / "stage.json", mine)


def _unsettled(source: Path) -> Any:
    """What of an unfinished training stage belongs to the old recipe alone: verdicts, iterations after the checkpoint.

    Replaying those iterations would train on rollouts of a policy that the new recipe never reaches.
    """
    newest = _newest_checkpoint(source)

    def ignore(directory: str, names: list[str]) -> set[str]:
        out = {n for n in names if n in ("stage.json", "verdicts.jsonl") or n.startswith(".partial-")}
        if Path(directory) == source / "iterations":
            out |= {n for n in names if not n.isdigit() or newest is None or int(n) > newest}
        return out

    return ignore


def _newest_checkpoint(directory: Path) -> int | None:
    places = (directory / "checkpoints").glob("[0-9]*/place.json")
    return max((int(p.parent.name) for p in places), default=None)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
