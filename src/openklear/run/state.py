"""What a run would do with each stage, from its stage.json and what it depends on now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Literal

from openklear import progress
from openklear.durable import files
from openklear.errors import RunError, StageChanged, UsageError
from openklear.run.fingerprint import Parts, difference, fingerprint
from openklear.run.plan import Stage
from openklear.run.record import SPARE, damaged, size
from openklear.run.superseded import listed, move_part

State = Literal["reuse", "run", "continue", "prolong", "redo", "blocked"]

LARGE = 2_000_000_000
"""Bytes whose reading is announced."""


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """What a run would do with a stage.

    reuse: finished, nothing changed; run: not started; continue: started, nothing changed; prolong: finished, and only
    its length was raised, so it goes on from its last checkpoint; redo: finished, or failed before it did any work, but
    something changed, so it is moved aside and run again; blocked: its work is under way, but something changed
    (StageChanged).
    """

    name: str
    state: State
    why: tuple[str, ...] = ()
    """What changed, one line each."""


def planned_stages(chosen: Sequence[Stage], parts: Mapping[str, Parts], root: Path) -> dict[str, PlannedStage]:
    """Name -> what would be done; what changed further up is among the reasons."""
    planned: dict[str, PlannedStage] = {}
    for stage in chosen:
        one = state_of(stage, root / stage.name, parts[stage.name])
        if one.why:
            above = (planned[name].why for name in stage.inputs.values() if name in planned)
            one = replace(one, why=tuple(dict.fromkeys(chain(one.why, *above))))
        planned[stage.name] = one
    return planned


def state_of(stage: Stage, directory: Path, parts: Parts) -> PlannedStage:
    """What would be done with one stage. Reads its stage.json alone."""
    record = files.stage_record(directory)
    if record is None:
        return PlannedStage(stage.name, "run")
    finished = record["state"] == "finished"
    if record["fingerprint"] == fingerprint(parts):
        return PlannedStage(stage.name, "reuse" if finished else "continue")
    if not finished and not left_behind(directory):
        return PlannedStage(stage.name, "run")  # it failed before it left anything, so there is nothing to lose
    why = (*difference(record["parts"], parts), *_explained(stage, record["parts"], parts))
    if is_longer(stage, record["parts"], parts):
        return PlannedStage(stage.name, "prolong" if finished else "continue", why)
    return PlannedStage(stage.name, "redo" if finished or not _worked(directory) else "blocked", why)


def is_longer(stage: Stage, old: Parts, new: Parts) -> bool:
    """Whether nothing but the stage's length differs, and that was raised: what was done is the beginning of it."""
    if stage.length is None:
        return False
    was, now = (parts["recipe"].get(stage.length) for parts in (old, new))
    return was is not None and was < now and {**old, "recipe": {**old["recipe"], stage.length: now}} == new


def _explained(stage: Stage, old: Parts, new: Parts) -> list[str]:
    """Why a change that looks like more or less of the same is another stage."""
    key = "epochs" if stage.kind == "sft" else ""
    epochs = [dict(parts["recipe"].get("sft") or {}).get(key) for parts in (old, new)]
    if key and epochs[0] != epochs[1]:
        return ["(the learning rate of every step follows from sft.epochs, so other epochs are another training)"]
    if stage.length is None or is_longer(stage, old, new):
        return []
    was, now = (parts["recipe"].get(stage.length) for parts in (old, new))
    if was is not None and now is not None and now < was:
        return [f"({stage.length} can be raised to go on, but what was trained beyond it cannot be undone)"]
    return []


def refuse(planned: Iterable[PlannedStage], root: Path) -> None:
    """Raise before anything is touched, if there is work here that the run would have to destroy."""
    for one in planned:
        directory = root / one.name
        if one.state == "run" and left_behind(directory):
            raise UsageError(f"{directory} exists but is not a stage of a run; move it or choose another --output")
        if one.state == "blocked":
            raise StageChanged(
                f"{directory} is unfinished, and what it depends on changed:{listed(one.why)}\n"
                "Restore the recipe (the run's own is in recipe.toml) or the code, or continue with the changed ones "
                f"in a run directory of its own:\n  openklear run RECIPE --output NEW --fork {root}\n"
                f"To start the stage over here, remove {directory}."
            )


def hold_against_hashes(chosen: Sequence[Stage], planned: dict[str, PlannedStage], root: Path) -> None:
    """Read what finished stages left for those that run, and plan anew what is damaged; changes `planned`.

    A training stage whose model alone is damaged writes it again from its checkpoint. Other stages run again, with
    what is left of them kept aside. RunError where that would repeat a training.
    """
    read: set[str] = set()
    for stage in reversed(chosen):
        if planned[stage.name].state == "reuse" and stage.name in read:
            planned[stage.name] = _checked(stage, root / stage.name)
        if planned[stage.name].state != "reuse":
            read |= set(stage.inputs.values())


def _checked(stage: Stage, directory: Path) -> PlannedStage:
    record = files.stage_record(directory) or {}
    if (large := size(directory, record)) > LARGE:
        progress.say(f"{stage.name}: checking {large / 1e9:.0f} GB against their hashes")
    names = damaged(directory, record)
    spare = [name for name in names if name.startswith(SPARE)]
    for name in spare:
        place = move_part(directory, Path(name).parent)
        progress.say(f"{directory / name} is not what was written; moved to {place}. The report does without it")
    lost = [name for name in names if name not in spare]
    if not lost:
        return PlannedStage(stage.name, "reuse")
    why = tuple(f"{name} is not what the stage wrote (damaged or changed by hand)" for name in lost)
    if not stage.trains:
        return PlannedStage(stage.name, "redo", why)
    if not all(name.startswith("model/") for name in lost):
        raise RunError(
            f"{directory} is finished, but damaged:{listed(why)}\nRestore those files from a copy of the run, or move "
            f"{directory} away to train the stage again"
        )
    place = move_part(directory, Path("model"))
    again = f"The model is written again from the last checkpoint; what was there is in {place}"
    progress.say(f"{stage.name} is damaged:{listed(why)}\n  {again}")
    return PlannedStage(stage.name, "continue", why)


def _worked(directory: Path) -> bool:
    """Whether an unfinished stage has done work: work lies in directories, while its files only say what it met."""
    return any(path.is_dir() for path in left_behind(directory))


def left_behind(directory: Path) -> list[Path]:
    """What is in a stage's directory besides its stage.json."""
    if not directory.is_dir():
        return []
    return [p for p in directory.iterdir() if p.name != "stage.json" and not p.name.startswith(".partial-")]
