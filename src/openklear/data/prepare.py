"""The stage `prepare`: sources in, curated demonstrations, problems and evaluation sets out, every drop accounted for.

The steps, in this order, the cheap ones first (funnel.json has a line for each step and source):

    heldout         read, require_reference, deduplicate
    validation      read, require_reference, deduplicate, not_heldout
    demonstrations  read, top_sources*, require_format*, deduplicate*, decontaminate, correct_only*, disjoint
    problems        read, require_reference, deduplicate*, decontaminate, disjoint

Steps with * follow the recipe's [data] and are left out where it turns them off. Evaluation sets are always
deduplicated: a repeated prompt would be sampled with the same random numbers and counted twice. `decontaminate` drops
equal prompts even with decontaminate_ngrams = 0. `disjoint` drops nothing: it proves that no normalised prompt of a
training set stands in an evaluation set, and its line holds the rows that were checked.

Everything lands in `data/` at once (see `openklear.data.store`). Verdicts go through a journal beside it, so that a
killed stage does not grade twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from openklear import progress
from openklear.data import decontaminate as contamination
from openklear.data import store
from openklear.data.dedup import deduplicate_demonstrations, deduplicate_problems
from openklear.data.filters import correct_only, keep_top_sources, require_format, require_reference
from openklear.data.funnel import Funnel, Step
from openklear.data.readers import read_rows
from openklear.data.rows import Dropped, Row, Sifted, prompt_key
from openklear.data.shapes import Role, parse_row
from openklear.errors import DataError
from openklear.judging import open_judge
from openklear.recipe.schema import Recipe, Source
from openklear.rundir import require_space, whole_directory, write_json
from openklear.stage import StageContext
from openklear.types import Attempt, Verdict

WORLD = "world:"
GRADED_AT_ONCE = 256
"""Demonstrations between two writes of the journal: what a killed stage grades again at most."""
ROLES: tuple[Role, ...] = ("heldout", "validation", "demonstrations", "problems")

Datasets = dict[Role, list[Row]]


def run(context: StageContext) -> None:
    """Read, curate, prove disjoint, write. Raises DataError for a bad file or row, or where a needed set ends empty."""
    recipe = context.recipe
    paths = {source.name: source_path(source, context) for source in recipe.data.source}
    sizes = sum(path.stat().st_size for path in paths.values() if path.is_file())
    require_space(context.directory, 2 * sizes, "the stage prepare")
    funnel = Funnel()
    datasets = curate(recipe, paths, context.directory / "verdicts.jsonl", funnel)
    require_rows(recipe, datasets, funnel)
    asked = {row.problem.domain for rows in datasets.values() for row in rows}
    open_judge(recipe.verifiers, None, asked).close()  # walls that are not to be had are told now, not after training
    with whole_directory(context.directory / "data") as directory:
        write(directory, datasets, funnel)
    progress.say(table(funnel))


def source_path(source: Source, context: StageContext) -> Path:
    """Where the source's file lies; `world:NAME` is a file of the stage `world`."""
    if not source.path.startswith(WORLD):
        return Path(source.path)
    if "world" not in context.inputs:
        raise DataError(f"{source.name}: {source.path} is a file of the demo world; add [world] to the recipe")
    return context.inputs["world"] / "files" / source.path.removeprefix(WORLD)


def curate(recipe: Recipe, paths: dict[str, Path], journal: Path, funnel: Funnel) -> Datasets:
    """Take every data set through its steps; the evaluation sets first, since the others are held against them."""
    datasets: Datasets = {}
    for role in ROLES:
        sources = [source for source in recipe.data.source if source.role == role]
        rows = _read(role, sources, paths, funnel)
        for name, step in _steps(role, recipe, datasets, [s.name for s in sources], journal):
            rows = funnel.pour(role, name, [s.name for s in sources], rows, step)
        datasets[role] = rows
    return datasets


def require_rows(recipe: Recipe, datasets: Datasets, funnel: Funnel) -> None:
    """DataError, with the funnel lines that emptied it, where a set that the recipe needs has no rows left."""
    funnel.require("heldout", datasets["heldout"], None, "the final evaluation needs problems")
    if any(source.role == "validation" for source in recipe.data.source):
        funnel.require("validation", datasets["validation"], None, "the recipe names a validation source")
    if recipe.sft is not None:
        funnel.require("demonstrations", datasets["demonstrations"], None, "[sft] learns from them")
    for phase in recipe.rl.phase if recipe.rl else ():
        for domain in phase.domains:
            funnel.require("problems", datasets["problems"], domain, f'the RL phase "{phase.name}" trains on them')
        count = sum(row.problem.domain in phase.domains for row in datasets["problems"])
        if count < phase.problems_per_iteration:  # the phase would say so itself, but after hours of fine-tuning
            raise DataError(
                f"the RL phase {phase.name} takes problems_per_iteration = {phase.problems_per_iteration} problems at "
                f"a time, but {count} are left for it; lower it or add problems"
            )


def write(directory: Path, datasets: Datasets, funnel: Funnel) -> None:
    """Write the files of `store.PreparedPaths` into `directory`."""
    paths = store.named_in(directory)
    store.write_demonstrations(paths.demonstrations, (row.demonstration() for row in datasets["demonstrations"]))
    store.write_problems(paths.problems, (row.problem for row in datasets["problems"]))
    store.write_problems(paths.validation, (row.problem for row in datasets["validation"]))
    store.write_problems(paths.heldout, (row.problem for row in datasets["heldout"]))
    store.write_dropped(paths.dropped, funnel.dropped)
    write_json(paths.funnel, funnel.columns())


def table(funnel: Funnel) -> str:
    """The funnel as text for the terminal: what was read, and the steps that dropped something."""
    shown = Table(box=box.SIMPLE, pad_edge=False)
    for column in ("data set", "source", "step"):
        shown.add_column(column, no_wrap=True)
    for column in ("read", "kept", "dropped"):
        shown.add_column(column, justify="right", no_wrap=True)
    shown.add_column("reasons")
    for line in funnel.lines:
        if line.step != "read" and not line.dropped:
            continue
        reasons = ", ".join(f"{reason}: {count}" for reason, count in line.reasons.items())
        cells = (line.dataset, line.source, line.step, f"{line.read:,}", f"{line.kept:,}", f"{line.dropped:,}", reasons)
        shown.add_row(*cells)
    console = Console(file=StringIO(), width=140)
    console.print(shown)
    assert isinstance(console.file, StringIO)
    text = "\n".join(text.rstrip() for text in console.file.getvalue().rstrip().split("\n"))
    proved = sum(line.kept for line in funnel.lines if line.step == "disjoint")
    return f"{text}\n\n {proved:,} training rows kept; none has the prompt of an evaluation row"


def _read(role: Role, sources: Sequence[Source], paths: dict[str, Path], funnel: Funnel) -> list[Row]:
    """All rows of the sources, in order; those that say nothing are dropped in the step `read`."""
    found: list[Row] = []
    for source in sources:
        parsed: list[Row | Dropped] = []
        with progress.task(f"prepare: {source.name}", None, "rows") as advance:
            for where, raw in read_rows(paths[source.name], source.path):
                parsed.append(parse_row(raw, where, role=role, source=source.name, domain=source.domain))
                advance()
        if role != "demonstrations":
            parsed = _unique_ids(parsed)
        kept = [item for item in parsed if isinstance(item, Row)]
        dropped = tuple(item for item in parsed if isinstance(item, Dropped))
        everything = [item if isinstance(item, Row) else item.row for item in parsed]
        funnel.record(role, "read", [source.name], everything, Sifted(tuple(kept), dropped))
        found += kept
    return found


def _unique_ids(parsed: Sequence[Row | Dropped]) -> list[Row | Dropped]:
    """A problem's id leads to it wherever rollouts are stored, so the second of a name becomes `name#2`."""
    seen: Counter[str] = Counter()
    unique: list[Row | Dropped] = []
    for item in parsed:
        row = item if isinstance(item, Row) else item.row
        seen[row.problem.id] += 1
        if (count := seen[row.problem.id]) > 1:
            row = replace(row, problem=replace(row.problem, id=f"{row.problem.id}#{count}"))
        unique.append(row if isinstance(item, Row) else replace(item, row=row))
    return unique


def _steps(
    role: Role, recipe: Recipe, datasets: Datasets, sources: Sequence[str], journal: Path
) -> Iterator[tuple[str, Step]]:
    """The named steps after `read`, as the module's docstring lists them."""
    data = recipe.data
    if role == "demonstrations":
        if data.top_sources is not None:
            yield "top_sources", partial(keep_top_sources, sources=sources, count=data.top_sources)
        if data.require_format:
            yield "require_format", require_format
    else:
        yield "require_reference", require_reference
    if role in ("heldout", "validation") or (data.deduplicate and role == "problems"):
        yield "deduplicate", deduplicate_problems
    elif data.deduplicate:
        yield "deduplicate", deduplicate_demonstrations
    if role == "validation":
        known = {prompt_key(row): row.problem.id for row in datasets["heldout"]}
        yield "not_heldout", partial(contamination.drop_shared, prompts=known)
    if role in ("demonstrations", "problems"):
        evaluation = datasets["heldout"] + datasets["validation"]
        index = contamination.build_index([row.problem for row in evaluation], data.decontaminate_ngrams)
        yield "decontaminate", partial(contamination.decontaminate, index=index)
        if role == "demonstrations" and data.correct_only:
            yield (
                "correct_only",
                partial(correct_only, levels=data.correct_only, judge=partial(_grade, recipe, journal)),
            )
        yield "disjoint", partial(_disjoint, evaluation=evaluation)


def _grade(recipe: Recipe, journal: Path, attempts: Sequence[Attempt]) -> list[Verdict]:
    """Verdicts of the recipe's judge; those that a killed run left in the journal are not made again."""
    with (
        progress.task("prepare: grading", len(attempts), "demonstrations") as advance,
        open_judge(recipe.verifiers, journal, {attempt.problem.domain for attempt in attempts}) as judge,
    ):
        verdicts: list[Verdict] = []
        for start in range(0, len(attempts), GRADED_AT_ONCE):
            found = judge.judge(attempts[start : start + GRADED_AT_ONCE])
            verdicts += found
            advance(len(found), correct=sum(verdict.correct for verdict in verdicts))
        return verdicts


def _disjoint(rows: Sequence[Row], evaluation: Sequence[Row]) -> Sifted:
    """Every row, after the proof that none asks what an evaluation set asks."""
    shared = contamination.shared_prompts(rows, evaluation)
    if shared:
        raise AssertionError(f"{len(shared)} training prompts stand in an evaluation set too, e.g. {min(shared)!r}")
    return Sifted(tuple(rows), ())
