"""The stage `prepare`: sources in, curated demonstrations, problems and evaluation sets out, every drop accounted for.

What the steps are stands in `openklear.curation.steps`; funnel.json has a line for each step and source. A step that is
done is kept beside the stage (`prepare.work`, see `openklear.curation.finished`) until the stage is whole, so that a
killed stage goes on after it, and one that a changed recipe has to repeat begins at the first step that changed.

Everything lands in `data/` at once (see `openklear.data.store`). Verdicts go through a journal beside it, so that no
response is graded twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich import box
from rich.console import Console
from rich.table import Table as Shown

from openklear import progress
from openklear.cluster import join
from openklear.curation import engine, intake
from openklear.curation.finished import Outcome, Workspace
from openklear.curation.funnel import Funnel
from openklear.curation.selection.steps import Named
from openklear.curation.steps import ROLES, Known, Step, steps
from openklear.curation.table import Table
from openklear.data import store
from openklear.data.rows import Dropped
from openklear.data.sources import resolve
from openklear.durable.files import require_space, stage_record, whole_directory, write_json
from openklear.errors import DataError
from openklear.recipe.curation import HELDOUT_KEYS, RayCluster, Role, Source
from openklear.recipe.schema import Recipe
from openklear.run.context import StageContext
from openklear.verifiers.domains import DOMAINS
from openklear.verifiers.judge import open_judge

WORLD = "world:"
MANY_ROWS = 50_000
"""From here on steps are announced."""

Files = list[tuple[Source, list[Path]]]


@dataclass(slots=True)
class Curated:
    """What curation made: the tables by role, the funnel, and what there is to read about it."""

    tables: dict[str, Table] = field(default_factory=dict)
    funnel: Funnel = field(default_factory=Funnel)
    audits: list[tuple[str, pa.Table]] = field(default_factory=list)
    """(data set, what decontamination matched)."""
    parameters: list[dict[str, Any]] = field(default_factory=list)
    """{dataset, step, parameters, facts} in order, for the data card."""
    taken_over: list[str] = field(default_factory=list)
    """Steps that an earlier run had done."""


def run(context: StageContext, named: Named | None = None) -> None:
    """Read, curate, prove disjoint, write. Raises DataError for a bad file or row, or where a needed set ends empty.

    `named` makes the embedding of a model by its name (`openklear.stages.prepare_embedded`).
    """
    recipe = context.recipe
    if isinstance(recipe.data.engine, RayCluster):
        join.use_ray(recipe.data.engine.address)
    files: Files = [(source, source_paths(source, context)) for source in recipe.data.source]
    sizes = sum(path.stat().st_size for _, paths in files for path in paths)
    require_space(context.directory, 3 * sizes, "the stage prepare")
    workspace = Workspace(context.root / "prepare.work", first_key(context))
    known = Known(recipe, context.directory / "verdicts.jsonl", named=named)
    curated = curate(known, files, workspace)
    if curated.taken_over:
        count, last = len(curated.taken_over), curated.taken_over[-1]
        progress.say(f"prepare: {count} steps were done already by an earlier run, the last {last}")
    require_rows(recipe, curated)
    if recipe.sft is not None or recipe.rl is not None:
        judged = [table for role, table in curated.tables.items() if role != "benchmark"]
        names = tuple(DOMAINS)
        asked = {names[index] for table in judged for index in np.unique(table.domains[table.alive])}
        # Say now which walls are missing, not after training.
        open_judge(recipe.verifiers.limits, asked, progress.say_once).close()
    with whole_directory(context.directory / "data") as directory:
        write(directory, curated)
    workspace.remove()
    progress.say(table(curated.funnel))


def source_paths(source: Source, context: StageContext) -> list[Path]:
    """Where the source's files lie; `world:NAME` is a file of the stage `world`."""
    if not source.path.startswith(WORLD):
        return resolve(source.path)
    if "world" not in context.inputs:
        raise DataError(f"{source.name}: {source.path} is a file of the demo world; add [world] to the recipe")
    return [context.inputs["world"] / "files" / source.path.removeprefix(WORLD)]


def first_key(context: StageContext) -> str:
    """What every step depends on: the code, and the contents of the files from outside (recorded by the pipeline)."""
    record = stage_record(context.directory) or {}
    parts = {name: part for name, part in record.get("parts", {}).items() if name != "recipe"}
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()


def curate(known: Known, files: Files, workspace: Workspace) -> Curated:
    """Take every data set through its steps; the evaluation sets first, since the others are held against them."""
    curated = Curated()
    keys: dict[str, str] = {}
    for role in ROLES:
        mine = [(source, paths) for source, paths in files if source.role == role]
        if mine:
            so_far = replace(known, tables=dict(curated.tables), keys=dict(keys))
            keys[role] = _curate_one(role, mine, so_far, workspace, curated)
    return curated


def _curate_one(role: Role, files: Files, known: Known, workspace: Workspace, curated: Curated) -> str:
    """One data set into `curated`; the key of its last step."""
    names = [source.name for source, _ in files]
    sources = [source.model_dump(exclude={"weight", "licence", *HELDOUT_KEYS}) for source, _ in files]
    normalise = known.recipe.data.normalise
    here = workspace.after("read", {"role": role, "sources": sources, "normalise": normalise})
    ray = isinstance(known.recipe.data.engine, RayCluster)
    table = intake.read(role, files, here.place(f"{role}-rows"), normalise=normalise, ray=ray)
    unique = role not in ("demonstrations", "benchmark")
    todo = [Step("read", lambda table: intake.outcome(table, unique=unique)), *steps(role, known, names)]
    for number, step in enumerate(todo):
        if number:
            here = here.after(step.name, {**step.parameters, **step.beside})
        if here.place(f"{role}-{step.name}").is_dir():
            curated.taken_over.append(f"{role} / {step.name}")
        found = here.outcome(f"{role}-{step.name}", lambda step=step: _worked(role, step, table))  # type: ignore[misc]
        curated.funnel.pour(role, step.name, names, table, found.marks, found.changed)
        for column, patch in found.patches.items():
            table.patches[column] = {**table.patches.get(column, {}), **patch}
        if found.audit is not None:
            curated.audits.append((role, found.audit))
        about = {"dataset": role, "step": step.name, "parameters": step.parameters, "facts": found.facts}
        curated.parameters.append(json.loads(json.dumps(about, default=str)))
    curated.tables[role] = table
    return here.key


def _worked(role: str, step: Step, table: Table) -> Outcome:
    """Do a step that is not done yet, and say so where it takes a while."""
    if len(table) >= MANY_ROWS:
        progress.say(f"prepare: {role} / {step.name}: {len(table):,} rows")
    return step.run(table)


def require_rows(recipe: Recipe, curated: Curated) -> None:
    """DataError, with the funnel lines that emptied it, where a set that the recipe needs has no rows left."""
    tables, funnel = curated.tables, curated.funnel
    empty = Table(())
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
        domains = [list(DOMAINS).index(domain) for domain in phase.domains]
        count = sum(int((problems.domains[problems.alive] == domain).sum()) for domain in domains)
        if count < phase.problems_per_iteration:  # the phase would say so itself, but after hours of fine-tuning
            raise DataError(
                f"the RL phase {phase.name} takes problems_per_iteration = {phase.problems_per_iteration} problems at "
                f"a time, but {count} are left for it; lower it or add problems"
            )


def write(directory: Path, curated: Curated) -> None:
    """Write the files of `store.PreparedPaths` into `directory`."""
    paths, empty = store.named_in(directory), Table(())
    tables = {role: curated.tables.get(role, empty) for role in ROLES}
    rows = (row for _, batch in tables["demonstrations"].rows() for row in batch)
    store.write_demonstrations(paths.demonstrations, (row.demonstration() for row in rows))
    for role in ("problems", "validation", "heldout"):
        found = (row.problem for _, batch in tables[role].rows() for row in batch)
        store.write_problems(getattr(paths, role), found)
    store.write_dropped(paths.dropped, _dropped(curated))
    store.write_audit(paths.audit, curated.audits)
    write_json(paths.funnel, curated.funnel.columns())
    write_json(paths.steps, curated.parameters)


def _dropped(curated: Curated) -> Iterator[tuple[str, str, Dropped]]:
    """Every dropped row with its data set and step, in the order of the steps."""
    for role, step, marks in curated.funnel.marks:
        for start in range(0, marks.num_rows, engine.LARGE_AT_ONCE):
            some = marks.slice(start, engine.LARGE_AT_ONCE)
            rows = curated.tables[role].values(some["row"].to_numpy())
            for row, reason, detail in zip(rows, some["reason"].to_pylist(), some["detail"].to_pylist(), strict=True):
                yield role, step, Dropped(row, reason, detail)


def table(funnel: Funnel) -> str:
    """The funnel as text for the terminal: what was read, and the steps that dropped something."""
    shown = Shown(box=box.SIMPLE, pad_edge=False)
    for column in ("data set", "source", "step"):
        shown.add_column(column, no_wrap=True)
    for column in ("read", "kept", "dropped"):
        shown.add_column(column, justify="right", no_wrap=True)
    shown.add_column("reasons")
    for line in funnel.lines:
        if line.step != "read" and not line.dropped and not line.changed:
            continue
        reasons = ", ".join(f"{reason}: {count}" for reason, count in line.reasons.items())
        reasons = reasons or (f"brought to one form: {line.changed}" if line.changed else "")
        cells = (line.dataset, line.source, line.step, f"{line.read:,}", f"{line.kept:,}", f"{line.dropped:,}", reasons)
        shown.add_row(*cells)
    console = Console(file=StringIO(), width=140)
    console.print(shown)
    assert isinstance(console.file, StringIO)
    text = "\n".join(text.rstrip() for text in console.file.getvalue().rstrip().split("\n"))
    proved = sum(line.kept for line in funnel.lines if line.step == "disjoint")
    return f"{text}\n\n {proved:,} training rows kept; none has the prompt of an evaluation row"
