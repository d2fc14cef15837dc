"""Runs a recipe's stages in order. A finished stage with the same fingerprint is not run again.

A run that was killed at any moment continues with the same command. A stage's `stage.json` says how far it got; it
says "finished" only once every file of the stage is on disk. What is no longer wanted is moved, never deleted.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from openklear import progress
from openklear.durable import files
from openklear.errors import NoSpace, RunError, StageChanged, UsageError
from openklear.recipe.schema import Recipe
from openklear.recipe.show import resolved_toml
from openklear.run.context import StageContext
from openklear.run.fingerprint import Parts, difference, fingerprint, hash_files, stage_parts
from openklear.run.fork import pending_fork, take_over
from openklear.run.manifest import manifest
from openklear.run.plan import Stage, Through, select, stages
from openklear.run.summary import write_summary

__all__ = ["plan", "run_pipeline"]

DATA = {"world": "files", "prepare": "data"}
"""Stages that leave data -> where in their directory it lies; its hashes go into the manifest."""

State = Literal["reuse", "run", "continue", "redo", "blocked"]


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """What a run would do with a stage.

    reuse: finished, nothing changed; run: not started; continue: started, nothing changed; redo: finished, or failed
    before it did any work, but something changed, so it is moved aside and run again; blocked: its work is under way,
    but something changed (StageChanged).
    """

    name: str
    state: State
    why: tuple[str, ...] = ()
    """What changed, one line each."""


def run_pipeline(
    recipe: Recipe,
    root: Path,
    *,
    through: Through | None = None,
    fork: Path | None = None,
    stage_list: Sequence[Stage] | None = None,
) -> dict[str, Any]:
    """Run the recipe in `root` and return its summary (also in `root`/summary.json).

    `through` ends early; `fork` is another run directory whose work is taken over first. `stage_list` replaces the
    recipe's own stages. Raises RunLocked, StageChanged, NoSpace, and whatever a stage raises; the same call continues.
    """
    every = list(stages(recipe)) if stage_list is None else list(stage_list)
    chosen = select(every, through)
    with files.lock(root), files.disk_errors(root):
        files.remove_partials(root)
        parts = plan_parts(every)
        fork = fork or pending_fork(root)
        if fork is not None:
            take_over(fork, root, every, parts)
        planned = _planned(chosen, parts, root)
        _refuse(planned.values(), root)
        reused = [name for name, one in planned.items() if one.state == "reuse"]
        if reused:
            progress.say(f"reused, since nothing they depend on changed: {', '.join(reused)}")
        to_run = [stage for stage in chosen if stage.name not in reused]
        if to_run:
            _begin(recipe, root, every, parts, torch=any(stage.torch for stage in to_run))
        for stage in to_run:
            _run(stage, planned[stage.name], parts[stage.name], recipe, root)
            write_summary(root, recipe, _current(every, parts, root))
        return write_summary(root, recipe, _current(every, parts, root))


def plan(
    recipe: Recipe, root: Path, *, through: Through | None = None, stage_list: Sequence[Stage] | None = None
) -> list[PlannedStage]:
    """What `run_pipeline` would do with each stage; takes no lock and writes nothing."""
    every = list(stages(recipe)) if stage_list is None else list(stage_list)
    return list(_planned(select(every, through), plan_parts(every), root).values())


def plan_parts(every: Sequence[Stage]) -> dict[str, Parts]:
    """Name of each stage -> what it depends on. Reads data files from outside the run to the end."""
    parts: dict[str, Parts] = {}
    for stage in every:
        inputs = {role: fingerprint(parts[name]) for role, name in stage.inputs.items()}
        for label, path in stage.files.items():
            inputs |= hash_files(label, path)
        parts[stage.name] = stage_parts(stage.settings, stage.module, inputs, stage.also)
    return parts


def _planned(chosen: Sequence[Stage], parts: Mapping[str, Parts], root: Path) -> dict[str, PlannedStage]:
    planned: dict[str, PlannedStage] = {}
    for stage in chosen:
        state, why = _state(root / stage.name, parts[stage.name])
        if why:  # what changed further up is said too
            above = (planned[name].why for name in stage.inputs.values() if name in planned)
            why = list(dict.fromkeys(chain(why, *above)))
        planned[stage.name] = PlannedStage(stage.name, state, tuple(why))
    return planned


def _state(directory: Path, parts: Parts) -> tuple[State, list[str]]:
    record = files.stage_record(directory)
    if record is None:
        return "run", []
    finished = record["state"] == "finished"
    if record["fingerprint"] == fingerprint(parts):
        return ("reuse" if finished else "continue"), []
    if not finished and not _left_behind(directory):
        return "run", []  # it failed before it left anything, so there is nothing to lose
    return ("redo" if finished or not _worked(directory) else "blocked"), difference(record["parts"], parts)


def _worked(directory: Path) -> bool:
    """Whether an unfinished stage has done work: work lies in directories, while its files only say what it met."""
    return any(path.is_dir() for path in _left_behind(directory))


def _left_behind(directory: Path) -> list[Path]:
    """What is in a stage's directory besides its stage.json."""
    if not directory.is_dir():
        return []
    return [p for p in directory.iterdir() if p.name != "stage.json" and not p.name.startswith(".partial-")]


def _refuse(planned: Iterable[PlannedStage], root: Path) -> None:
    """Raise before anything is touched, if there is work here that the run would have to destroy."""
    for one in planned:
        directory = root / one.name
        if one.state == "run" and _left_behind(directory):
            raise UsageError(f"{directory} exists but is not a stage of a run; move it or choose another --output")
        if one.state == "blocked":
            raise StageChanged(
                f"{directory} is unfinished, and what it depends on changed:{_listed(one.why)}\n"
                "Restore the recipe (the run's own is in recipe.toml) or the code, or continue with the changed ones "
                f"in a run directory of its own:\n  openklear run RECIPE --output NEW --fork {root}\n"
                f"To start the stage over here, remove {directory}."
            )


def _begin(recipe: Recipe, root: Path, every: Sequence[Stage], parts: Mapping[str, Parts], *, torch: bool) -> None:
    """Write recipe and manifest, once it is clear that something will run with them."""
    if torch:
        from openklear.models.numerics import set_up  # here, because reused stages need no torch, which loads slowly

        set_up(recipe.threads)
    data: dict[str, str] = {}
    for stage in every:
        data |= {label: text for label, text in parts[stage.name]["inputs"].items() if label not in stage.inputs}
    files.write_atomic(root / "recipe.toml", resolved_toml(recipe))
    facts = manifest(root, seed=recipe.seed, threads=recipe.threads, data=data | _own_data(root))
    files.write_json(root / "manifest.json", facts)


def _own_data(root: Path) -> dict[str, str]:
    """Hashes of the data that the run itself made: the demo world's files, and what curation left."""
    found: dict[str, str] = {}
    for name, below in DATA.items():
        if (root / name / below).is_dir():
            found |= hash_files(name, root / name / below)
    return found


def _run(stage: Stage, planned: PlannedStage, parts: Parts, recipe: Recipe, root: Path) -> None:
    directory = root / stage.name
    if stage_parts(parts["recipe"], stage.module, parts["inputs"], stage.also)["code"] != parts["code"]:
        raise RunError(
            f"the code of {stage.name} changed while the run was under way; run the same command again: "
            "finished stages are kept"
        )
    if planned.state == "redo":
        _set_aside(directory, planned.why)
    directory.mkdir(exist_ok=True)
    inputs = {role: root / name for role, name in stage.inputs.items()}
    context = StageContext(recipe=recipe, root=root, name=stage.name, directory=directory, inputs=inputs)
    with _recorded(directory, parts) as record:
        with files.disk_errors(directory):
            importlib.import_module(stage.module).run(context)
        if stage.model:
            from openklear.models.loading import weights_hash

            record["weights"] = weights_hash(directory / "model")
    if stage.name in DATA:
        facts = files.read_json(root / "manifest.json")
        files.write_json(root / "manifest.json", {**facts, "data": facts["data"] | _own_data(root)})


@contextmanager
def _recorded(directory: Path, parts: Parts) -> Iterator[dict[str, Any]]:
    """stage.json around a stage: "unfinished" before, "finished" once all its files are on disk.

    `seconds` is wall time summed over the attempts that ended, in whatever way; that of a killed attempt is lost.
    """
    record = files.stage_record(directory) or {}
    record |= {"state": "unfinished", "fingerprint": fingerprint(parts), "parts": parts}
    earlier = float(record.setdefault("seconds", 0.0))
    files.write_json(directory / "stage.json", record)
    started = time.monotonic()
    try:
        yield record
    except BaseException:  # an interrupt too: the time counts, whatever ended the stage
        with suppress(OSError, NoSpace):  # the stage's own error is the one to report
            record["seconds"] = earlier + time.monotonic() - started
            files.write_json(directory / "stage.json", record)
        raise
    files.fsync_tree(directory)
    record |= {"state": "finished", "seconds": earlier + time.monotonic() - started}
    files.write_json(directory / "stage.json", record)


def _current(every: Sequence[Stage], parts: Mapping[str, Parts], root: Path) -> list[Stage]:
    """The stages that are finished with the present recipe and code."""
    return [s for s in every if _state(root / s.name, parts[s.name])[0] == "reuse"]


def _set_aside(directory: Path, why: Sequence[str]) -> None:
    """Move a stage whose recipe, code or inputs changed to superseded/NAME-FINGERPRINT."""
    record = files.read_json(directory / "stage.json")
    place = directory.parent / "superseded" / f"{directory.name}-{record['fingerprint'][:8]}"
    place.parent.mkdir(exist_ok=True)
    number = 1
    while place.exists():  # the recipe went back and forth
        number += 1
        place = place.with_name(f"{directory.name}-{record['fingerprint'][:8]}-{number}")
    directory.rename(place)
    files.fsync_directory(place.parent)
    files.fsync_directory(directory.parent)
    progress.say(f"{directory.name} runs again; the old one is kept in {place}. What changed:{_listed(why)}")


def _listed(lines: Sequence[str], most: int = 12) -> str:
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return "".join(f"\n  {line}" for line in (*lines[:most], *more))
