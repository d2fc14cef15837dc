"""How much a recipe will go through: from the first rows of its sources, or from what a finished `prepare` left."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from openklear.data.store import prepared
from openklear.errors import DataError
from openklear.planner.amounts import Amounts, RowCount
from openklear.recipe.schema import Recipe
from openklear.recipe.world import World
from openklear.run.first_rows import SAMPLE, SourceFacts, look
from openklear.run.model_facts import TokenCounter

WORLD_ROWS = 400
"""Demonstrations and problems of each domain that a demo world is written with, to look at it."""


def looked_at(recipe: Recipe, counter: TokenCounter) -> list[SourceFacts]:
    """The first rows of every source; a source that cannot be read yet has none."""
    found = world_sources(recipe, counter) if recipe.world is not None else []
    for source in recipe.data.source:
        if not source.path.startswith("world:"):
            found.append(look(source, counter))
    return found


def world_sources(recipe: Recipe, counter: TokenCounter) -> list[SourceFacts]:
    """The sources of the demo world: a small one is written, and its rows are taken for those of the whole."""
    from openklear.demo.world import write_world  # it writes Parquet: not for those who need no world

    assert recipe.world is not None
    sources = [source for source in recipe.data.source if source.path.startswith("world:")]
    counts = {name: min(getattr(recipe.world, name), WORLD_ROWS) for name in COUNTS}
    found = []
    with tempfile.TemporaryDirectory() as place:
        write_world(Path(place), **recipe.world.model_copy(update={**counts, "responses": 0}).model_dump())
        for source in sources:
            path = source.path.removeprefix("world:")
            facts = look(source.model_copy(update={"path": str(Path(place) / path)}), counter)
            found.append(replace(facts, rows=round((facts.rows or 0) * _scale(recipe.world, counts, path))))
    return found


COUNTS = ("demonstrations", "problems", "validation", "heldout")


def _scale(world: World, counts: dict[str, int], path: str) -> float:
    kind = path.partition("/")[0]
    return float(getattr(world, kind, 1) / counts.get(kind, 1))


def amounts_of(recipe: Recipe, sources: Sequence[SourceFacts], length: float | None = None) -> Amounts:
    """From what the first rows of the sources say."""
    by_name = {source.name: source for source in recipe.data.source}
    heldout, completions, code = [], 0, 0
    for one in (one for one in sources if one.role == "heldout"):
        source = by_name[one.name]
        number = min(one.rows or 0, source.limit or one.rows or 0)
        mine = number * (source.samples or recipe.evaluation.samples)
        heldout.append(replace(one, rows=number))
        completions, code = completions + mine, code + mine * (one.domain == "code")
    return Amounts(
        demonstrations=_together([one for one in sources if one.role == "demonstrations"]),
        problems=_by_domain([one for one in sources if one.role == "problems"]),
        validation=_by_domain([one for one in sources if one.role == "validation"]),
        heldout=_together(heldout),
        completions=completions,
        code=code / max(completions, 1),
        length=length,
        unknown=tuple(one.name for one in sources if one.rows is None),
    )


def _by_domain(sources: Sequence[SourceFacts]) -> dict[str, RowCount]:
    names = dict.fromkeys(str(one.domain) for one in sources)
    return {name: _together(list(filter(lambda one: one.domain == name, sources))) for name in names}


def _together(sources: Sequence[SourceFacts]) -> RowCount:
    number = sum(one.rows or 0 for one in sources)
    prompts = sum((one.rows or 0) * one.prompt_tokens for one in sources)
    responses = sum((one.rows or 0) * one.response_tokens for one in sources)
    longest = max((one.longest for one in sources), default=0)
    return RowCount(number, prompts / max(number, 1), responses / max(number, 1), longest or None)


def prepared_amounts(recipe: Recipe, directory: Path, counter: TokenCounter, length: float | None = None) -> Amounts:
    """From the rows that a finished `prepare` left in `directory`; DataError where there is none."""
    paths = prepared(directory)
    sources = []
    for role, file in (("demonstrations", paths.demonstrations), ("problems", paths.problems)):
        sources += _kept(role, file, counter)
    for role, file in (("validation", paths.validation), ("heldout", paths.heldout)):
        sources += _kept(role, file, counter)
    return replace(amounts_of(recipe, sources, length), exact=True)


def _kept(role: str, file: Path, counter: TokenCounter) -> list[SourceFacts]:
    """One for each source and domain of a file of prepared rows; its texts are counted on the first of every group."""
    if not file.is_file():
        raise DataError(f"{file}: not there; run openklear prepare first, or leave --output out")
    whole = pq.ParquetFile(file)
    seen: dict[tuple[str, str], int] = {}
    for batch in whole.iter_batches(columns=["source", "domain"]):
        for key in zip(*(batch.column(name).to_pylist() for name in ("source", "domain")), strict=True):
            seen[key] = seen.get(key, 0) + 1
    columns = ["prompt", "response"] if role == "demonstrations" else ["prompt"]
    rows: list[dict[str, Any]] = []
    for group in range(min(whole.num_row_groups, GROUPS)):
        batch = next(whole.iter_batches(SAMPLE, row_groups=[group], columns=columns), None)
        rows += [] if batch is None else batch.to_pylist()
    prompts = [counter.count(_asked(row["prompt"])) for row in rows]
    responses = [counter.count(row["response"]) for row in rows if "response" in row]
    prompt, response = (sum(found) / max(len(found), 1) for found in (prompts, responses))
    both = zip(prompts, responses, strict=True) if responses else ()
    longest = int(max(map(sum, both), default=0))
    found = []
    for (name, domain), number in seen.items():
        found.append(SourceFacts(name, role, number, True, (), domain, prompt, response, longest=longest))
    return found


def _asked(turns: Sequence[Mapping[str, str]]) -> str:
    return "\n".join(turn["content"] for turn in turns)


GROUPS = 16
"""Of a file's rows, at most so many are looked into."""
