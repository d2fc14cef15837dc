"""Sources in, curated demonstrations, problems and evaluation sets out, every drop accounted for.

`openklear.curation.steps` says what the steps are; funnel.json has a line for each step and source. A finished step is
kept in the workspace (`openklear.curation.finished`), so that a killed run resumes after it, and one whose recipe
changed resumes at the first step that changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from openklear import progress
from openklear.curation import engine, intake
from openklear.curation.finished import StepResult, Workspace
from openklear.curation.funnel import Funnel
from openklear.curation.levels import require_levels
from openklear.curation.steps import ROLES, Step, StepContext, steps
from openklear.curation.table import RowTable
from openklear.data import store
from openklear.data.rows import Dropped, Row
from openklear.durable.files import write_json
from openklear.errors import DataError
from openklear.recipe.curation import RayCluster, Role, Source, asking_keys
from openklear.recipe.schema import Recipe
from openklear.verifiers.domains import DOMAINS

MANY_ROWS = 50_000
"""From here on steps are announced."""

NO_NOTES: Mapping[str, str] = {}
Files = list[tuple[Source, list[Path]]]


@dataclass(slots=True)
class Curated:
    """What curation made: the tables by role, the funnel, and what there is to read about it."""

    tables: dict[str, RowTable] = field(default_factory=dict)
    funnel: Funnel = field(default_factory=Funnel)
    audits: list[tuple[str, pa.Table]] = field(default_factory=list)
    """(data set, what decontamination matched)."""
    parameters: list[dict[str, Any]] = field(default_factory=list)
    """{dataset, step, parameters, facts} in order, for the data card."""
    taken_over: list[str] = field(default_factory=list)
    """Steps that an earlier run finished."""


def curate(
    recipe: Recipe,
    journal: Path,
    files: Files,
    workspace: Workspace,
    notes: Mapping[str, str] = NO_NOTES,
    world: Path | None = None,
) -> Curated:
    """Take every data set through its steps; the evaluation sets first, since the others are held against them.

    `notes` (source -> what to say of its files) go to the facts of the step `read`; `world` holds the demo world's
    files, where the recipe has one.
    Raises DataError for a bad file or row, or where a set that the recipe needs ends empty.
    """
    curated = Curated()
    keys: dict[str, str] = {}
    known = StepContext(recipe, journal, curated.tables, keys, world)
    for role in ROLES:
        mine = [(source, paths) for source, paths in files if source.role == role]
        if mine:
            keys[role] = _curate_one(role, mine, known, workspace, curated)
            told = {source.name: notes[source.name] for source, _ in mine if source.name in notes}
            first = next(one for one in curated.parameters if one["dataset"] == role)
            first["facts"] |= {"files": told} if told else {}
    _require_rows(recipe, curated)
    return curated


def _curate_one(role: Role, files: Files, known: StepContext, workspace: Workspace, curated: Curated) -> str:
    """One data set into `curated`; the key of its last step."""
    names = [source.name for source, _ in files]
    sources = [source.model_dump(exclude={"weight", "licence", *asking_keys(role)}) for source, _ in files]
    seed, normalise = known.recipe.seed_of("data"), known.recipe.data.normalise
    reading: dict[str, Any] = {"role": role, "sources": sources, "normalise": normalise}
    if any(source.drawn for source, _ in files):
        reading["seed"] = seed
    here = workspace.after("read", reading)
    ray = isinstance(known.recipe.data.engine, RayCluster)
    table = intake.read(role, files, here.place(f"{role}-rows"), normalise=normalise, ray=ray, seed=seed)
    if role == "demonstrations":
        require_levels(table, known.recipe.data)
    unique = role not in ("demonstrations", "benchmark")
    todo = [Step("read", lambda table: intake.read_result(table, unique=unique)), *steps(role, known, names)]
    for number, step in enumerate(todo):
        if number:
            here = here.after(step.name, {**step.parameters, **step.beside})
        if here.place(f"{role}-{step.name}").is_dir():
            curated.taken_over.append(f"{role} / {step.name}")
        found = here.result(f"{role}-{step.name}", lambda step=step: work(role, step, table))  # type: ignore[misc]
        curated.funnel.pour(role, step.name, names, table, found.marks, found.changed)
        if step.name == "read":
            intake.say_lost(role, curated.funnel.lines[-len(names) :], table, found.marks)
        for column, patch in found.patches.items():
            table.patches[column] = {**table.patches.get(column, {}), **patch}
        if found.audit is not None:
            curated.audits.append((role, found.audit))
        about = {"dataset": role, "step": step.name, "parameters": step.parameters, "facts": found.facts}
        curated.parameters.append(json.loads(json.dumps(about, default=str)))
    curated.tables[role] = table
    return here.key


def work(role: str, step: Step, table: RowTable) -> StepResult:
    """Do a step that is not done yet, and say so where it takes a while."""
    if len(table) >= MANY_ROWS:
        progress.say(f"prepare: {role} / {step.name}: {len(table):,} rows")
    return step.run(table)


def _require_rows(recipe: Recipe, curated: Curated) -> None:
    """DataError, with the funnel lines that emptied it, where a set that the recipe needs has no rows left."""
    tables, funnel = curated.tables, curated.funnel
    empty = RowTable(())
    needed: dict[str, str] = {
        source.role: f"the recipe names a {source.role} source"
        for source in recipe.data.source
        if source.role != "benchmark"
    }
    if recipe.sft is not None or recipe.rl is not None:
        needed = {"validation": needed["validation"]} if "validation" in needed else {}
        needed |= {"heldout": "the final evaluation needs problems"}
    if recipe.sft is not None:
        needed["demonstrations"] = "[sft] learns from them"
    for role in ("heldout", "validation", "demonstrations", "problems"):
        if role in needed:
            funnel.require(role, tables.get(role, empty), None, needed[role])
    for phase in recipe.rl.phase if recipe.rl else ():
        problems = tables.get("problems", empty)
        for domain in phase.domains:
            funnel.require("problems", problems, domain, f'the RL phase "{phase.name}" trains on them')
        if recipe.checkpoints.keep_best and not any(_counts(tables.get("validation", empty), phase.domains).values()):
            names = " or ".join(phase.domains)
            raise DataError(
                f"checkpoints.keep_best chooses the best checkpoint of the RL phase {phase.name} by validation, but no "
                f"validation problem in {names} is left; add a [[data.source]] of such problems with "
                'role = "validation", or set keep_best to false'
            )
        have = _counts(problems, phase.domains)
        if lacking := phase.lacking(have):  # the phase would say so itself, but after hours of fine-tuning
            raise DataError(f"the RL phase {phase.name}: {lacking} for it; lower it or add problems")


def _counts(table: RowTable, domains: Sequence[str]) -> dict[str, int]:
    """Domain -> living rows."""
    alive = table.domains[table.alive]
    return {domain: int((alive == list(DOMAINS).index(domain)).sum()) for domain in domains}


def write(directory: Path, curated: Curated) -> None:
    """Write the files of `store.PreparedPaths` into `directory`."""
    paths = store.named_in(directory)
    store.write_demonstrations(paths.demonstrations, (row.demonstration() for row in _rows(curated, "demonstrations")))
    for role in ("problems", "validation", "heldout"):
        store.write_problems(getattr(paths, role), (row.problem for row in _rows(curated, role)))
    store.write_dropped(paths.dropped, _dropped(curated))
    store.write_audit(paths.audit, curated.audits)
    write_json(paths.funnel, curated.funnel.columns())
    write_json(paths.steps, curated.parameters)


def _rows(curated: Curated, role: str) -> Iterator[Row]:
    for _, batch in curated.tables.get(role, RowTable(())).rows():
        yield from batch


def _dropped(curated: Curated) -> Iterator[tuple[str, str, Dropped]]:
    """Every dropped row with its data set and step, in the order of the steps."""
    for role, step, marks in curated.funnel.marks:
        for start in range(0, marks.num_rows, engine.LARGE_AT_ONCE):
            some = marks.slice(start, engine.LARGE_AT_ONCE)
            rows = curated.tables[role].values(some["row"].to_numpy())
            for row, reason, detail in zip(rows, some["reason"].to_pylist(), some["detail"].to_pylist(), strict=True):
                yield role, step, Dropped(row, reason, detail)
