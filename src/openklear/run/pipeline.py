"""Runs a recipe's stages in order. A finished stage with the same fingerprint is not run again.

A run that was killed at any moment continues with the same command. A stage's `stage.json` says how far it got; it
says "finished" only once every file of the stage is on disk. What is no longer wanted is moved, never deleted.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from openklear import progress
from openklear.durable import files, notice
from openklear.durable.sealed import checkpoints
from openklear.errors import Preempted, ProcessLost, RankLost, RunError
from openklear.recipe.schema import Recipe
from openklear.recipe.show import resolved_toml
from openklear.run.context import Kept, StageContext
from openklear.run.extras import require_for_training
from openklear.run.fingerprint import Code, Parts, code_of, fingerprint, hash_files, stage_parts
from openklear.run.fork import pending_fork, take_over
from openklear.run.manifest import manifest
from openklear.run.plan import Stage, Through, select, stages
from openklear.run.record import recorded, settle, tell_found
from openklear.run.state import PlannedStage, hold_against_hashes, planned_stages, refuse, state_of
from openklear.run.summary import write_summary
from openklear.run.superseded import keep_copy, listed, set_aside
from openklear.tracking import require_trackers

__all__ = ["plan", "run_pipeline"]

Hashes = Callable[[str, Path], dict[str, str]]
DATA = {"world": "files", "prepare": "data"}
"""Stages that leave data -> where in their directory it lies; its hashes go into the manifest."""


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
    notice.forget()
    every = list(stages(recipe)) if stage_list is None else list(stage_list)
    chosen = select(every, through)
    require_trackers(recipe.track.to)
    require_for_training(recipe)
    with files.lock(root), files.disk_errors(root):
        settle(root / stage.name for stage in every)
        files.remove_partials(root)
        parts = plan_parts(every)
        fork = fork or pending_fork(root)
        if fork is not None:
            take_over(fork, root, every, parts)
        planned = planned_stages(chosen, parts, root)
        refuse(planned.values(), root)
        hold_against_hashes(chosen, planned, root)
        reused = [name for name, one in planned.items() if one.state == "reuse"]
        if reused:
            progress.say(f"reused, since nothing they depend on changed: {', '.join(reused)}")
        to_run = [stage for stage in chosen if stage.name not in reused]
        if to_run:
            write_summary(root, recipe, _current(every, parts, root))  # that of another recipe must not stay
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
    return list(planned_stages(select(every, through), plan_parts(every), root).values())


def plan_parts(
    every: Sequence[Stage], hashes: Hashes = hash_files, code: Callable[..., Code] = code_of
) -> dict[str, Parts]:
    """Name of each stage -> what it depends on. Reads data files from outside the run to the end.

    `hashes` and `code` may remember what they said, for the plans of several recipes at once.
    """
    parts: dict[str, Parts] = {}
    for stage in every:
        inputs = {role: fingerprint(parts[name]) for role, name in stage.inputs.items()}
        for label, path in stage.files.items():
            inputs |= hashes(label, path)
        parts[stage.name] = stage_parts(stage.settings, stage.module, inputs, stage.also, code)
    return parts


def _begin(recipe: Recipe, root: Path, every: Sequence[Stage], parts: Mapping[str, Parts], *, torch: bool) -> None:
    """Write recipe and manifest, once it is clear that something will run with them."""
    if torch:
        from openklear.models.numerics import set_up  # here, because reused stages need no torch, which loads slowly

        there = recipe.cluster is not None and recipe.cluster.elsewhere and recipe.device != "cpu"
        set_up(recipe.threads, "auto" if there else recipe.device)  # the GPUs that it demands may be there alone
    if (cores := os.cpu_count() or 1) < recipe.threads:
        progress.say(
            f"threads = {recipe.threads}, and this machine has {cores} cores: more threads than cores are slow"
        )
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
        set_aside(directory, planned.why)
    elif planned.state == "prolong":
        progress.say(f"{stage.name} is prolonged; it stays as it is in {keep_copy(directory)}:{listed(planned.why)}")
    run_stage(stage, parts, recipe, root, {role: root / name for role, name in stage.inputs.items()})
    if stage.name in DATA:
        facts = files.read_json(root / "manifest.json")
        files.write_json(root / "manifest.json", {**facts, "data": facts["data"] | _own_data(root)})


def run_stage(stage: Stage, parts: Parts, recipe: Recipe, root: Path, inputs: Mapping[str, Path]) -> None:
    """Run one stage in its directory below `root`, from the directories of finished ones, and keep its stage.json.

    Called again after a kill, it goes on.
    """
    directory = root / stage.name
    directory.mkdir(parents=True, exist_ok=True)
    with recorded(directory, parts, stage.pace) as record:
        tell = partial(tell_found, directory, record)
        context = StageContext(recipe, root, stage.name, directory, inputs, tell)
        with files.disk_errors(directory), closing(Kept()) as kept:
            _run_again_where_lost(stage, replace(context, kept=kept), kept)
        if stage.model:
            from openklear.models.loading import weights_hash

            record["weights"] = weights_hash(directory / "model")


def _run_again_where_lost(stage: Stage, context: StageContext, kept: Kept) -> None:
    """Run a stage; where a process of a cluster was lost, begin it again, which goes on from its newest checkpoint.

    Where it was a trainer, who samples and judges goes on. ProcessLost where that happens more than LOST times and no
    checkpoint came in between.
    """
    losses, newest = 0, checkpoints(context.directory)[-1:]
    while True:
        if notice.given():
            raise Preempted(
                f"{stage.name}: not begun, as this process was told to end (SIGTERM); what is finished is kept, and "
                "the same command goes on from there"
            )
        try:
            importlib.import_module(stage.module).run(context)
            return
        except ProcessLost as error:
            before, newest = newest, checkpoints(context.directory)[-1:]
            losses = losses + 1 if newest == before else 1
            if losses > LOST:
                raise
            told = isinstance(error, RankLost)  # by the gang, at once
            why = "its ranks have ended" if told else error
            progress.say(f"{stage.name}: {why}; the stage begins again, from its newest checkpoint")
            if not told:
                kept.close()


LOST = 3
"""Times that a stage begins again, at most, without a new checkpoint."""


def _current(every: Sequence[Stage], parts: Mapping[str, Parts], root: Path) -> list[Stage]:
    """The stages that are finished with the present recipe and code."""
    return [s for s in every if state_of(s, root / s.name, parts[s.name]).state == "reuse"]
