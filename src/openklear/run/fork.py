"""Continuing another run's work with a changed recipe or code; the other run directory is only read.

What is taken over, stage by stage in order:

    finished    if its recipe, its data files and its inputs are unchanged (changed code alone does not undo it)
    unfinished  training with a sound checkpoint, if its inputs were taken over and its place means something under the
                new recipe (`openklear.run.places`); it continues from that checkpoint. A finished phase whose
                iterations were raised is such a one
    the rest    runs again

Each copy records in its stage.json where it came from and what differed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openklear import progress
from openklear.durable import files
from openklear.durable.sealed import checkpoints, latest
from openklear.errors import UsageError
from openklear.run.fingerprint import Parts, difference, fingerprint
from openklear.run.places import require_place, why_no_place
from openklear.run.plan import Stage
from openklear.run.record import settled
from openklear.run.state import is_longer

_MARK = "fork.json"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a fork does with a stage of the other run."""

    name: str
    state: str
    """finished, unfinished (it goes on) or anew."""
    lines: tuple[str, ...] = ()
    """What differs; for a stage that is not taken over, why."""

    @property
    def text(self) -> str:
        """For people."""
        begun = "runs anew, since" if self.state == "anew" else f"taken over, {self.state}"
        return "\n  ".join((f"{self.name}: {begun}", *self.lines))


def pending_fork(root: Path) -> Path | None:
    """The run directory whose taking over was interrupted, if one was."""
    mark = root / _MARK
    if not mark.is_file():
        return None
    found = files.read_json(mark)
    return None if found["whole"] else Path(found["from"])


def decide(source: Path, stages: Sequence[Stage], parts: Mapping[str, Parts]) -> list[Decision]:
    """What a fork of `source` would take over of each stage that is there; only reads.

    UsageError where going on would leave rows unseen that the recipe asks for, or undo some.
    """
    found: list[Decision] = []
    anew: set[str] = set()
    for stage in stages:
        record = files.stage_record(source / stage.name)
        if record is None:
            anew.add(stage.name)
            continue
        one = _decided(stage, record, parts[stage.name], source / stage.name, anew)
        anew |= {stage.name} if one.state == "anew" else set()
        found.append(one)
    return found


def take_over(source: Path, root: Path, stages: Sequence[Stage], parts: Mapping[str, Parts]) -> None:
    """Bring what still holds of `source` to `root` (once; called again after a kill, it continues).

    Finished files are hard-linked where the file system allows it, since nothing in a finished stage is ever changed
    in place; an unfinished stage is copied. Raises UsageError if there is nothing to fork or `root` is another run.
    """
    source = source.absolute()
    if not _may_begin(source, root, stages):
        return
    with files.reading(source):
        decisions = decide(source, stages, parts)
        files.write_json(root / _MARK, {"from": str(source), "whole": False})
        for one in decisions:
            if one.state != "anew" and not (root / one.name).exists():
                _copy(source / one.name, root / one.name, one, parts[one.name])
            progress.say(f"{one.text}\n  (from {source})")
    taken = {one.name: one.state for one in decisions if one.state != "anew"}
    files.write_json(root / _MARK, {"from": str(source), "whole": True, "stages": taken})


def would_take_over(source: Path, root: Path, stages: Sequence[Stage], parts: Mapping[str, Parts]) -> list[Decision]:
    """What `take_over` would decide; nothing is written."""
    source = source.absolute()
    return decide(source, stages, parts) if _may_begin(source, root, stages) else []


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


def _decided(stage: Stage, record: Mapping[str, Any], parts: Parts, directory: Path, anew: set[str]) -> Decision:
    """A stage that was begun in the other run."""
    old = record["parts"]
    lines = difference(old, parts)
    if again := anew.intersection(stage.inputs.values()):
        return Decision(stage.name, "anew", (f"{' and '.join(sorted(again))} is made anew",))
    same_files = _files(stage, old) == _files(stage, parts)
    if record["state"] == "finished" and old["recipe"] == parts["recipe"] and same_files:
        return Decision(stage.name, "finished", tuple(lines))
    longer = is_longer(stage, {**old, "recipe": old["recipe"]}, {**old, "recipe": parts["recipe"]}) and same_files
    if record["state"] == "finished" and not longer:
        return Decision(stage.name, "anew", tuple(lines))
    newest = latest(directory) if stage.trains else None
    if newest is None:
        what = "no sound checkpoint" if stage.trains and checkpoints(directory) else "no checkpoint"
        return Decision(stage.name, "anew", (f"it is unfinished and has {what}",))
    why = why_no_place(stage, newest, old["recipe"], parts["recipe"])
    if why is not None:
        return Decision(stage.name, "anew", (f"its place means nothing here: {why}", *lines))
    require_place(stage, newest, old["recipe"], parts["recipe"])
    return Decision(stage.name, "unfinished", tuple(lines))


def _files(stage: Stage, parts: Parts) -> dict[str, str]:
    return {label: hashed for label, hashed in parts["inputs"].items() if label not in stage.inputs}


def _copy(source: Path, target: Path, one: Decision, parts: Parts) -> None:
    finished = one.state == "finished"
    ignore = shutil.ignore_patterns("stage.json", ".partial-*") if finished else _unsettled(source)
    copy = _link if finished else shutil.copy2
    record = settled(source, files.read_json(source / "stage.json"))
    with files.whole_directory(target) as partial:
        shutil.copytree(source, partial, ignore=ignore, copy_function=copy, dirs_exist_ok=True)
        origin = {"from": str(source), "state": one.state, "fingerprint": record["fingerprint"]}
        changes = {"state": one.state, "fingerprint": fingerprint(parts), "parts": parts}
        mine = {**record, **changes, "forked": {**origin, "difference": list(one.lines)}}
        files.write_json(partial / "stage.json", mine)


def _unsettled(source: Path) -> Any:
    """What of a training stage belongs to the old recipe alone: verdicts, its model, all after its sound checkpoint.

    Replaying iterations after it would train on rollouts of a policy that the new recipe never reaches.
    """
    newest = latest(source)
    last = int(newest.name) if newest is not None else 0

    def ignore(directory: str, names: list[str]) -> set[str]:
        out = {n for n in names if n in ("stage.json", "verdicts.jsonl") or n.startswith(".partial-")}
        if Path(directory) == source:
            out |= {"model"}
        if Path(directory) in (source / "iterations", source / "checkpoints"):
            out |= {n for n in names if not n.isdigit() or int(n) > last}
        return out

    return ignore


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
