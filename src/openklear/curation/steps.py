"""The steps of curation by data set, cheap ones first; what a recipe leaves out is not there.

    benchmark       read, normalise*
    heldout         read, normalise*, require_reference, deduplicate
    validation      read, normalise*, require_reference, deduplicate, not_heldout
    demonstrations  read, normalise*, reasoning*, top_sources*, domains*, lengths*, languages*, require_format*,
                    broken_traces*, deduplicate*, near_duplicates*, decontaminate, difficulty*, levels*, correct_only*,
                    selection*, mixture*, disjoint
    problems        read, normalise*, require_reference, lengths*, languages*, min_tests*, deduplicate*,
                    near_duplicates*, decontaminate, check_solutions*, teacher*, policy*, difficulty*, disjoint

Steps with * follow the recipe's [data]. Evaluation sets are always deduplicated: a repeated prompt would be sampled
with the same random numbers and counted twice. `decontaminate` drops equal prompts whatever its rule. `disjoint` drops
nothing: it proves that no normalised prompt of a training set is in an evaluation set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from openklear.curation import duplicates, engine, intake
from openklear.curation.contamination import BenchmarkItem, NgramRule, WeightedRule
from openklear.curation.finished import NOTHING, Parameters, StepResult
from openklear.curation.rules import Rule
from openklear.curation.rules.filters import bad_format, bad_length, too_few_tests
from openklear.curation.rules.language import language_rule
from openklear.curation.rules.traces import broken_trace
from openklear.curation.selection import steps as selection
from openklear.curation.table import RowTable
from openklear.curation.vetting import steps as vetting
from openklear.curation.vetting.responses import outside_window, teacher_fails
from openklear.recipe.curation import Role, Vetting, Weighted
from openklear.recipe.schema import Recipe
from openklear.recipe.world import WORLD
from openklear.verifiers.packages import versions

ROLES: tuple[Role, ...] = ("benchmark", "heldout", "validation", "demonstrations", "problems")
EVALUATION: tuple[Role, ...] = ("heldout", "validation")


@dataclass(frozen=True, slots=True)
class StepContext:
    """What steps know besides their table."""

    recipe: Recipe
    journal: Path
    tables: Mapping[str, RowTable]
    """The data sets that are finished: those before this one in ROLES."""
    keys: Mapping[str, str]
    """Their keys (`finished.Workspace`): what the steps that look at them depend on."""
    world: Path | None = None
    """The demo world's files, where there is one."""

    def responses(self, path: str) -> Path:
        """The directory of graded responses that a key of the recipe names."""
        if not path.startswith(WORLD):
            return Path(path)
        assert self.world is not None, "the recipe is refused where there is no [world]"
        return self.world / path.removeprefix(WORLD)


@dataclass(frozen=True, slots=True)
class Step:
    """A named step, what it depends on besides the rows, and what it does."""

    name: str
    run: Callable[[RowTable], StepResult]
    parameters: Parameters = field(default_factory=dict)
    """Of the recipe: the data card shows them."""
    beside: Parameters = field(default_factory=dict)
    """The keys of other data sets that it looks at."""


def steps(role: Role, known: StepContext, sources: Sequence[str]) -> Iterator[Step]:
    """The steps after `read`, as the module's docstring lists them."""
    data = known.recipe.data
    if data.normalise:
        yield Step("normalise", partial(intake.changed, name="normalised"))
    if role == "demonstrations":
        yield from _of_demonstrations(known, sources)
    elif role == "problems":
        yield from _of_problems(known)
    elif role != "benchmark":
        yield _gradable(known)
        yield Step("deduplicate", duplicates.problems)
    if role == "validation" and "heldout" in known.tables:
        yield Step(
            "not_heldout",
            partial(duplicates.not_in, other=known.tables["heldout"]),
            beside={"heldout": known.keys["heldout"]},
        )


def _of_demonstrations(known: StepContext, sources: Sequence[str]) -> Iterator[Step]:
    data = known.recipe.data
    if any(source.reasoning != "think" for source in data.source if source.role == "demonstrations"):
        yield Step("reasoning", partial(intake.changed, name="reformed"))
    if data.top_sources is not None:
        chosen_sources = list(sources[: data.top_sources])
        yield Step("top_sources", partial(_top_sources, names=chosen_sources), {"sources": chosen_sources})
    if data.domains:
        yield Step("domains", partial(_only, column="domain", names=data.domains), {"domains": data.domains})
    yield from _texts(known, response=True)
    if data.require_format:
        yield _asked("require_format", bad_format, ("response",))
    if data.drop_broken:
        yield _asked("broken_traces", broken_trace, ("domain", "response"))
    yield from _copies(known, duplicates.demonstrations)
    yield from _decontaminate(known)
    yield from _difficulty(known)
    if data.levels:
        yield Step("levels", partial(_only, column="level", names=data.levels), {"levels": data.levels})
    if data.correct_only:
        levels = data.correct_only
        run = partial(vetting.correct_only, levels=levels, recipe=known.recipe, journal=known.journal)
        yield Step("correct_only", run, {"levels": levels, "graders": _grading(known.recipe)})
    yield from _chosen(known)
    yield _disjoint(known)


def _of_problems(known: StepContext) -> Iterator[Step]:
    data = known.recipe.data
    yield _gradable(known)
    yield from _texts(known, response=False)
    if data.vetting is not None and (least := data.vetting.min_tests):
        yield _asked("min_tests", partial(too_few_tests, minimum=least), ("domain", "tests"), {"least": least})
    yield from _copies(known, duplicates.problems)
    yield from _decontaminate(known)
    if data.vetting is not None:
        yield from _vetting(known, data.vetting)
    yield from _difficulty(known)
    yield _disjoint(known)


def _gradable(known: StepContext) -> Step:
    run = partial(vetting.gradable, recipe=known.recipe)
    return Step("require_reference", run, beside=_grading(known.recipe))


def _vetting(known: StepContext, settings: Vetting) -> Iterator[Step]:
    """Steps that look at graded programs and responses (report, section 2.2)."""
    if settings.check_solutions:
        run = partial(vetting.solutions, recipe=known.recipe, journal=known.journal)
        yield Step("check_solutions", run, _grading(known.recipe))
    if settings.responses is not None:
        rate = settings.code_pass_rate
        teacher = partial(teacher_fails, code_pass_rate=rate)
        run = partial(vetting.vetted, directory=known.responses(settings.responses), rule=teacher)
        yield Step("teacher", run, {"responses": settings.responses, "code_pass_rate": rate})
    if settings.policy_responses is not None:
        low, high = settings.policy_low, settings.policy_high
        run = partial(
            vetting.vetted,
            directory=known.responses(settings.policy_responses),
            rule=lambda row, responses: outside_window(responses, low, high),
        )
        yield Step("policy", run, {"responses": settings.policy_responses, "low": low, "high": high})


def _difficulty(known: StepContext) -> Iterator[Step]:
    settings = known.recipe.data.difficulty
    if settings is not None:
        directory = known.responses(settings.responses)
        run = partial(vetting.labelled, directory=directory, easy=settings.easy, hard=settings.hard)
        yield Step("difficulty", run, settings.model_dump())


def _texts(known: StepContext, *, response: bool) -> Iterator[Step]:
    """Steps that look at the text of one row."""
    data = known.recipe.data
    if data.lengths is not None:
        limits = data.lengths.model_dump()
        columns = ("prompt", "response") if response else ("prompt",)
        yield _asked("lengths", partial(bad_length, **limits), columns, limits)
    if data.languages:
        yield _asked("languages", language_rule(data.languages), ("prompt",), {"keep": data.languages})


def _copies(known: StepContext, exact: Callable[[RowTable], StepResult]) -> Iterator[Step]:
    data = known.recipe.data
    if data.deduplicate:
        yield Step("deduplicate", exact)
    if data.near_duplicates is not None:
        threshold = data.near_duplicates.threshold
        yield Step("near_duplicates", partial(duplicates.near, threshold=threshold), {"threshold": threshold})


def _decontaminate(known: StepContext) -> Iterator[Step]:
    rule = known.recipe.data.decontaminate
    against = {role: known.keys[role] for role in ("heldout", "validation", "benchmark") if role in known.keys}
    yield Step("decontaminate", partial(decontaminate, known=known), rule.model_dump(), against)


def _chosen(known: StepContext) -> Iterator[Step]:
    recipe = known.recipe
    if recipe.data.selection is not None:
        settings = {**recipe.data.selection.model_dump(), "seed": recipe.seed_of("data")}
        yield Step("selection", partial(selection.cover, **settings), settings)
    if (total := recipe.data.mixture_rows) is not None:
        weights = {source.name: source.weight for source in recipe.data.source if source.role == "demonstrations"}
        parameters = {"rows": total, "weights": weights, "seed": recipe.seed_of("data")}
        mix = partial(selection.mix, weights=weights, total=total, seed=recipe.seed_of("data"))
        yield Step("mixture", mix, parameters)


def decontaminate(table: RowTable, known: StepContext) -> StepResult:
    """Drop rows whose prompt is in an evaluation set or a benchmark; the audit says what matched."""
    settings = known.recipe.data.decontaminate
    tables = (known.tables.get(role) for role in ("heldout", "validation", "benchmark"))
    items = list(chain.from_iterable(map(_items, tables)))
    if not items:
        return StepResult(NOTHING)
    if isinstance(settings, Weighted):
        rule: Any = WeightedRule.build(items)
        texts = (batch["text"].to_pylist() for batch in table.batches(("text",), engine.MATCHED_AT_ONCE))
        rule = rule.with_frequencies(sum(map(rule.count, texts)), len(table))
    else:
        rule = NgramRule.build(items, n=settings.length)
    found = engine.match(table, rule.match)
    matches = zip(*(found[name].to_pylist() for name in ("item", "score", "matched")), strict=True)
    details = [f"{score:.2f} with {item}: {text}" for item, score, text in matches]
    marks = engine.marks(found["row"].to_numpy(), found["kind"].to_pylist(), details)
    return StepResult(marks, audit=_audit(table, found))


def _audit(table: RowTable, found: pa.Table) -> pa.Table:
    audit = table.lookup(found["row"].to_numpy(), "id", "source", "where", "text").drop_columns("row")
    for name in ("item", "score", "matched", "kind"):
        audit = audit.append_column(name, found[name])
    return audit


def _items(table: RowTable | None) -> Iterator[BenchmarkItem]:
    if table is not None:
        for batch in table.batches(("id", "text")):
            yield from map(BenchmarkItem, batch["id"].to_pylist(), batch["text"].to_pylist())


def _top_sources(table: RowTable, names: Sequence[str]) -> StepResult:
    """Drop rows of sources beyond the first K, which are listed in the order of their quality (Tables 4, 5)."""
    rows = table.numbers()
    rows = rows[~np.isin(table.sources(rows).astype(str), list(names))]
    reason = f"not in the first {len(names)} sources"
    return StepResult(engine.marks(rows, [reason] * len(rows), [""] * len(rows)))


def _only(table: RowTable, column: str, names: Sequence[str]) -> StepResult:
    """Drop rows of other domains or levels, and those without one (Table 2 compares its policies on each level)."""
    others: dict[int, str | None] = {}
    for batch in table.batches((column,)):
        both = zip(batch["row"].to_pylist(), batch[column].to_pylist(), strict=True)
        others |= {row: name for row, name in both if name not in names}
    details = [name or "has none" for name in others.values()]
    reasons = [f"of another {column}"] * len(others)
    return StepResult(engine.marks(np.array([*others], np.int64), reasons, details))


def _disjoint(known: StepContext) -> Step:
    evaluation = {role: known.tables[role] for role in EVALUATION if role in known.tables}

    def prove(table: RowTable) -> StepResult:
        for role, other in evaluation.items():
            shared = duplicates.shared(table, other)
            if len(shared):
                where = table.lookup(shared[:1], "where")["where"][0]
                raise AssertionError(f"{len(shared)} training prompts are in {role} too, e.g. {where}")
        return StepResult(NOTHING)

    return Step("disjoint", prove, beside={role: known.keys[role] for role in evaluation})


def _asked(name: str, rule: Rule, columns: Sequence[str], parameters: Parameters | None = None) -> Step:
    return Step(name, lambda table: StepResult(engine.ask(table, rule, tuple(columns))), parameters or {})


def _grading(recipe: Recipe) -> dict[str, Any]:
    """The settings that a verdict depends on."""
    table = recipe.verifiers.model_dump() | {"packages": versions(recipe.verifiers.packages)}
    return {name: table[name] for name in ("math_seconds", "code_seconds", "code_memory_mb", "packages", "graders")}
