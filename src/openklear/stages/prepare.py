"""The stage `prepare`: curation (`openklear.curation.curate`) of the recipe's sources.

Its files land in `data/` at once (see `openklear.data.store`). Finished steps are kept beside the stage, in
`prepare.work`, until all are done. Verdicts go through a journal, so that no response is graded twice.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np

from openklear import progress
from openklear.cluster import join
from openklear.curation import cuts
from openklear.curation.curate import curate, write
from openklear.curation.finished import Workspace
from openklear.data.sources import Chosen, choose
from openklear.durable.files import require_space, stage_record, whole_directory
from openklear.errors import DataError
from openklear.recipe.curation import RayCluster, Source
from openklear.rewards import try_reward
from openklear.run.context import StageContext
from openklear.verifiers.domains import DOMAINS
from openklear.verifiers.judge import open_judge

_WORLD = "world:"


def run(context: StageContext) -> None:
    """Read, curate, prove disjoint, write. Raises DataError for a bad file or row, or where a needed set ends empty."""
    recipe = context.recipe
    if isinstance(recipe.data.engine, RayCluster):
        join.use_ray(recipe.data.engine.address)
    chosen = [(source, _paths(source, context)) for source in recipe.data.source]
    notes = {source.name: note for source, found in chosen if (note := _note(source, found))}
    for name, note in notes.items():
        progress.say(f"prepare: {name}: {note}")
    files = [(source, list(found.files)) for source, found in chosen]
    size = 0
    for _, paths in files:
        size += sum(path.stat().st_size for path in paths)
    require_space(context.directory, 3 * size, "the stage prepare")
    workspace = Workspace(context.root / "prepare.work", _first_key(context))
    world = context.inputs["world"] / "files" if "world" in context.inputs else None
    curated = curate(recipe, context.directory / "verdicts.jsonl", files, workspace, notes, world)
    if curated.taken_over:
        count, last = len(curated.taken_over), curated.taken_over[-1]
        progress.say(f"prepare: {count} steps were finished by an earlier run, the last of them {last}")
    if recipe.sft is not None or recipe.rl is not None:
        names, asked = tuple(DOMAINS), set[str]()
        for role, table in curated.tables.items():
            if role != "benchmark":
                asked |= {names[index] for index in np.unique(table.domains[table.alive])}
        # Say now which walls are missing, and which functions fail, not after training.
        open_judge(recipe.verifiers.limits, asked, progress.say_once).close()
        for phase in recipe.rl.phase if recipe.rl is not None else ():
            try_reward(phase.reward, phase.domains)
    with whole_directory(context.directory / "data") as directory:
        write(directory, curated)
    workspace.remove()
    progress.say(curated.funnel.shown())


def _note(source: Source, found: Chosen) -> str:
    """What to say of the files that are read and of a limit; empty where a source is simply read."""
    return "; ".join(filter(None, (found.said(), cuts.said(source))))


def _paths(source: Source, context: StageContext) -> Chosen:
    """Where the source's files are; `world:NAME` is a file of the stage `world`."""
    if not source.path.startswith(_WORLD):
        return choose(source.path, source.role, source.split)
    if "world" not in context.inputs:
        raise DataError(f"{source.name}: {source.path} is a file of the demo world; add [world] to the recipe")
    return Chosen((context.inputs["world"] / "files" / source.path.removeprefix(_WORLD),))


def _first_key(context: StageContext) -> str:
    """What every step depends on: the code, and the contents of the files from outside (recorded by the pipeline)."""
    record = stage_record(context.directory) or {}
    parts = {name: part for name, part in record.get("parts", {}).items() if name != "recipe"}
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()
