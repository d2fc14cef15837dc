"""How much a recipe will go through, where some of its sources are not here yet: nothing is fetched, nobody is asked.

Of a source that is here the first rows tell; of another one what the recipe says: its `limit`, and what [data] leaves
of the demonstrations. Lengths that nothing tells are taken to be a share of the longest that the recipe allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from glob import glob, has_magic
from pathlib import Path

from openklear.data import hub
from openklear.planner.amounts import Amounts, RowCount
from openklear.recipe.curation import Data, Source
from openklear.recipe.schema import Recipe
from openklear.run.amounts import amounts_of, world_sources
from openklear.run.first_rows import SourceFacts, look
from openklear.run.model_facts import TokenCounter

SHARE = 0.5
"""Of the longest response or completion, where nothing says how long they are: 16,384 tokens of 32,768. By the bytes on
its card a row of OpenThoughts3-1.2M has about 14,400 (60.7 GB, 1.2 million rows, 3.5 characters a token)."""
PROMPT_TOKENS = 300
"""Of a prompt, where nothing says how long they are."""


def expected_amounts(recipe: Recipe, length: float | None = None) -> Amounts:
    """What can be known now; `length`: tokens of a completion, and of a response that nothing tells, on average.

    `Amounts.unknown` names the sources whose rows count and are neither here nor limited.
    """
    counter = TokenCounter.of(recipe)
    facts = world_sources(recipe, counter) if recipe.world is not None else []
    facts += [_facts(one, counter) for one in recipe.data.source if not one.path.startswith("world:")]
    demonstrations = [one for one in facts if one.role == "demonstrations"]
    told = length is not None
    if length is None and not any(one.response_tokens for one in demonstrations):
        length = SHARE * _longest(recipe)
    amounts = amounts_of(recipe, facts, length)
    rows = _left(recipe.data, demonstrations, amounts.demonstrations, length)
    counted = {"heldout", "validation"} | ({"demonstrations"} if recipe.sft is not None and not rows.number else set())
    unknown = [one.name for one in facts if one.rows is None and one.role in counted]
    return replace(amounts, demonstrations=rows, unknown=tuple(unknown), told=told)


def _longest(recipe: Recipe) -> int:
    """Tokens of the longest response or completion."""
    phases = recipe.rl.phase if recipe.rl is not None else ()
    lengths = [phase.max_completion_tokens for phase in phases] or [recipe.evaluation.max_completion_tokens]
    return max(lengths if recipe.sft is None else [*lengths, recipe.sft.max_tokens])


def _facts(source: Source, counter: TokenCounter) -> SourceFacts:
    if _is_here(source.path):
        return look(source, counter)
    told = (source.name, source.role, source.limit)
    return SourceFacts(*told, exact=False, domain=source.domain, prompt_tokens=PROMPT_TOKENS)


def _is_here(path: str) -> bool:
    if path.startswith(hub.PREFIX):
        return hub.is_cached(path)
    return bool(glob(path, recursive=True)) if has_magic(path) else Path(path).exists()


def _left(data: Data, facts: Sequence[SourceFacts], rows: RowCount, length: float | None) -> RowCount:
    """The demonstrations that the best sources, a selection and a mixture leave; no rows where their number is open."""
    counts = [one.rows for one in facts[: data.top_sources]]
    limits = [] if None in counts else [sum(filter(None, counts))]
    limits += [data.selection.budget] if data.selection is not None else []
    limits += [data.mixture_rows] if data.mixture_rows is not None else []
    if rows.response:
        return replace(rows, number=min(limits, default=0))
    return RowCount(min(limits, default=0), PROMPT_TOKENS, length or 0.0)
