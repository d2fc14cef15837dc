"""The steps of curation by data set, cheap ones first; what a recipe leaves out is not there.

    benchmark       read, normalise*
    heldout         read, normalise*, require_reference, deduplicate
    validation      read, normalise*, require_reference, deduplicate, not_heldout
    demonstrations  read, normalise*, reasoning*, top_sources*, lengths*, languages*, require_format*, broken_traces*,
                    deduplicate*, near_duplicates*, decontaminate, difficulty*, correct_only*, selection*, mixture*,
                    disjoint
    problems        read, normalise*, require_reference, lengths*, languages*, min_tests*, deduplicate*,
                    near_duplicates*, decontaminate, check_solutions*, teacher*, policy*, difficulty*, disjoint

Steps with * follow the recipe's [data]. Evaluation sets are always deduplicated: a repeated prompt would be sampled
with the same random numbers and counted twice. `decontaminate` drops equal prompts whatever its rule. `disjoint` drops
nothing: it proves that no normalised prompt of a training set stands in an evaluation set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from openklear.curation import duplicates, engine, intake
from openklear.curation.contamination import BenchmarkItem, NgramRule, WeightedRule
from openklear.curation.finished import NOTHING, Outcome, Parameters
from openklear.curation.rules.filters import bad_format, length_rule, no_reference
from openklear.curation.rules.language import language_rule
from openklear.curation.rules.traces import broken_trace
from openklear.curation.selection import steps as selection
from openklear.curation.table import ROW_COLUMNS, Table
from openklear.curation.vetting import verdicts
from openklear.curation.vetting.rules import teacher_fails
from openklear.data.rows import Row
from openklear.recipe.curation import Role, Vetting, Weighted
from openklear.recipe.schema import Recipe

ROLES: tuple[Role, ...] = ("benchmark", "heldout", "validation", "demonstrations", "problems")
EVALUATION: tuple[Role, ...] = ("heldout", "validation")
PROMPT = ("prompt", "id", "where")


@dataclass(frozen=True, slots=True)
class Known:
    """What steps know beside their table."""

    recipe: Recipe
    journal: Path
    tables: Mapping[str, Table] = field(default_factory=dict)
    """The data sets that are finished: those before this one in ROLES."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Their keys (`workspace`): what the steps that look at them depend on."""
    named: selection.Named | None = None
    """Makes the embedding of a model by its name."""


@dataclass(frozen=True, slots=True)
class Step:
    """A named step, what it depends on beside the rows, and what it does."""

    name: str
    run: Callable[[Table], Outcome]
    parameters: Parameters = field(default_factory=dict)
    """Of the recipe: the data card shows them."""
    beside: Parameters = field(default_factory=dict)
    """The keys of other data sets that it looks at."""


def steps(role: Role, known: Known, sources: Sequence[str]) -> Iterator[Step]:
    """The steps after `read`, as the module's docstring lists them."""
    data = known.recipe.data
    if data.normalise:
        yield Step("normalise", partial(intake.changed, name="normalised"))
    if role == "demonstrations":
        yield from _of_demonstrations(known, sources)
    elif role == "problems":
        yield from _of_problems(known)
    elif role != "benchmark":
        yield _asked("require_reference", no_reference, ROW_COLUMNS)
        yield Step("deduplicate", duplicates.problems)
    if role == "validation" and "heldout" in known.tables:
        yield Step(
            "not_heldout",
            partial(duplicates.not_in, other=known.tables["heldout"]),
            beside={"heldout": known.keys["heldout"]},
        )


def _of_demonstrations(known: Known, sources: Sequence[str]) -> Iterator[Step]:
    data = known.recipe.data
    if any(source.reasoning != "think" for source in data.source if source.role == "demonstrations"):
        yield Step("reasoning", partial(intake.changed, name="reformed"))
    if data.top_sources is not None:
        chosen_sources = list(sources[: data.top_sources])
        yield Step("top_sources", partial(_top_sources, names=chosen_sources), {"sources": chosen_sources})
    yield from _texts(known, response=True)
    if data.require_format:
        yield _asked("require_format", bad_format, ("response",))
    if data.drop_broken:
        yield _asked("broken_traces", broken_trace, ("domain", "response"))
    yield from _copies(known, duplicates.demonstrations)
    yield from _decontaminate(known)
    yield from _difficulty(known)
    if data.correct_only:
        levels = data.correct_only
        run = partial(verdicts.correct_only, levels=levels, recipe=known.recipe, journal=known.journal)
        yield Step("correct_only", run, {"levels": levels, "graders": _grading(known.recipe)})
    yield from _chosen(known)
    yield _disjoint(known)


def _of_problems(known: Known) -> Iterator[Step]:
    data = known.recipe.data
    yield _asked("require_reference", no_reference, ROW_COLUMNS)
    yield from _texts(known, response=False)
    if data.vetting is not None and (least := data.vetting.min_tests):
        yield Step("min_tests", partial(verdicts.min_tests, least=least), {"least": least})
    yield from _copies(known, duplicates.problems)
    yield from _decontaminate(known)
    if data.vetting is not None:
        yield from _vetting(known, data.vetting)
    yield from _difficulty(known)
    yield _disjoint(known)


def _vetting(known: Known, settings: Vetting) -> Iterator[Step]:
    """Steps that look at graded programs and responses (report, section 2.2)."""
    if settings.check_solutions:
        run = partial(verdicts.solutions, recipe=known.recipe, journal=known.journal)
        yield Step("check_solutions", run, _grading(known.recipe))
    if settings.responses is not None:
        rate = settings.code_pass_rate
        teacher = partial(
            verdicts.vetted, directory=Path(settings.responses), rule=partial(teacher_fails, code_pass_rate=rate)
        )
        yield Step("teacher", teacher, {"responses": settings.responses, "code_pass_rate": rate})
    if settings.policy_responses is not None:
        low, high = settings.policy_low, settings.policy_high
        rule = partial(verdicts.by_policy, low=low, high=high)
        policy = partial(verdicts.vetted, directory=Path(settings.policy_responses), rule=rule)
        yield Step("policy", policy, {"responses": settings.policy_responses, "low": low, "high": high})


def _difficulty(known: Known) -> Iterator[Step]:
    settings = known.recipe.data.difficulty
    if settings is not None:
        run = partial(verdicts.labelled, directory=Path(settings.responses), easy=settings.easy, hard=settings.hard)
        yield Step("difficulty", run, settings.model_dump())


def _texts(known: Known, *, response: bool) -> Iterator[Step]:
    """Steps that look at one row's text."""
    data = known.recipe.data
    if data.lengths is not None:
        limits = data.lengths.model_dump()
        columns = ("prompt", "response") if response else ("prompt",)
        yield _asked("lengths", length_rule(**limits), columns, limits)
    if data.languages:
        yield _asked("languages", language_rule(data.languages), ("prompt",), {"keep": data.languages})


def _copies(known: Known, exact: Callable[[Table], Outcome]) -> Iterator[Step]:
    data = known.recipe.data
    if data.deduplicate:
        yield Step("deduplicate", exact)
    if data.near_duplicates is not None:
        threshold = data.near_duplicates.threshold
        yield Step("near_duplicates", partial(duplicates.near, threshold=threshold), {"threshold": threshold})


def _decontaminate(known: Known) -> Iterator[Step]:
    rule = known.recipe.data.decontaminate
    against = {role: known.keys[role] for role in ("heldout", "validation", "benchmark") if role in known.keys}
    yield Step("decontaminate", partial(decontaminate, known=known), rule.model_dump(), against)


def _chosen(known: Known) -> Iterator[Step]:
    recipe = known.recipe
    if recipe.data.selection is not None:
        settings = {**recipe.data.selection.model_dump(), "seed": recipe.seed}
        yield Step("selection", partial(selection.cover, **settings, named=known.named), settings)
    if (total := recipe.data.mixture_rows) is not None:
        weights = {source.name: source.weight for source in recipe.data.source if source.role == "demonstrations"}
        parameters = {"rows": total, "weights": weights, "seed": recipe.seed}
        yield Step("mixture", partial(selection.mix, weights=weights, total=total, seed=recipe.seed), parameters)


def decontaminate(table: Table, known: Known) -> Outcome:
    """Drop rows whose prompt an evaluation set or a benchmark holds; the audit says what matched."""
    settings = known.recipe.data.decontaminate
    items = [item for role in ("heldout", "validation", "benchmark") for item in _items(known.tables.get(role))]
    if not items:
        return Outcome(NOTHING)
    if isinstance(settings, Weighted):
        rule: Any = WeightedRule.build(items)
        rule = rule.with_frequencies(_frequencies(table, rule), len(table))
    else:
        rule = NgramRule.build(items, n=settings.length)
    found = engine.match(table, rule)
    scores, matched = found["score"].to_pylist(), found["matched"].to_pylist()
    told = zip(found["item"].to_pylist(), scores, matched, strict=True)
    details = [f"{score:.2f} with {item}: {text}" for item, score, text in told]
    marks = engine.marks(found["row"].to_numpy(), found["kind"].to_pylist(), details)
    return Outcome(marks, audit=_audit(table, found))


def _frequencies(table: Table, rule: WeightedRule) -> Any:
    """How many of the table's rows hold each of the benchmark's n-grams."""
    counts: Any = 0
    for batch in table.batches(("text",), engine.MATCHED_AT_ONCE):
        counts = counts + rule.count(batch["text"].to_pylist())
    return counts


def _audit(table: Table, found: pa.Table) -> pa.Table:
    ids = table.lookup(found["row"].to_numpy(), "id", "source", "where", "text")
    columns = {"id": ids["id"], "source": ids["source"], "where": ids["where"], "text": ids["text"]}
    return pa.table({**columns, **{name: found[name] for name in ("item", "score", "matched", "kind")}})


def _items(table: Table | None) -> Iterator[BenchmarkItem]:
    if table is not None:
        for batch in table.batches(("id", "text")):
            yield from map(BenchmarkItem, batch["id"].to_pylist(), batch["text"].to_pylist())


def _top_sources(table: Table, names: Sequence[str]) -> Outcome:
    """Drop rows of sources beyond the first K, which stand in the order of their quality (Tables 4, 5)."""
    rows = table.numbers()
    rows = rows[~np.isin(table.sources(rows).astype(str), list(names))]
    reason = f"not in the first {len(names)} sources"
    return Outcome(engine.marks(rows, [reason] * len(rows), [""] * len(rows)))


def _disjoint(known: Known) -> Step:
    evaluation = [known.tables[role] for role in EVALUATION if role in known.tables]

    def prove(table: Table) -> Outcome:
        shared = [row for other in evaluation for row in duplicates.shared(table, other).tolist()]
        if shared:
            where = table.lookup(np.asarray(shared[:1]), "where")["where"][0]
            raise AssertionError(f"{len(shared)} training prompts stand in an evaluation set too, e.g. {where}")
        return Outcome(NOTHING)

    return Step("disjoint", prove, beside={role: known.keys[role] for role in EVALUATION if role in known.keys})


def _asked(name: str, rule: Callable[[Row], Any], columns: Sequence[str], parameters: Parameters | None = None) -> Step:
    return Step(name, lambda table: Outcome(engine.ask(table, rule, tuple(columns))), parameters or {})


def _grading(recipe: Recipe) -> dict[str, Any]:
    """The settings that a verdict depends on."""
    table = recipe.verifiers.model_dump()
    return {name: table[name] for name in ("math_seconds", "code_seconds", "code_memory_mb", "graders")}
