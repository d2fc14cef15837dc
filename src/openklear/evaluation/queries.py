"""What an evaluation asks: problems in their benchmark's words, each with its number of samples and its budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from openklear.errors import RowRefused
from openklear.evaluation.stored import Asked
from openklear.models.tokenizer import Speaker
from openklear.planner.auto import Sizes
from openklear.rollout.encoding import encode_problem
from openklear.rollout.seeds import copies
from openklear.rollout.wording import Wording
from openklear.types import Message, Problem


@dataclass(frozen=True, slots=True)
class Query:
    """A problem of a benchmark as it is asked."""

    benchmark: str
    problem: Problem
    """As its source has it: draws and verdicts depend on this, not on the words around it."""
    samples: int
    limit: int
    """A completion is cut off after so many tokens."""
    messages: tuple[Message, ...]
    """What the model is given."""
    prompt_ids: tuple[int, ...] | None = None
    """The same as tokens; None where a server makes them."""
    prompt_tail: str = ""
    refused: str = ""
    """Why it cannot be asked."""
    copy: int = 0
    """How many before it in its benchmark have the same prompt."""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def asked(self) -> Asked:
        """As prompts.jsonl has it."""
        problem = self.problem
        return Asked(
            benchmark=self.benchmark,
            problem=problem.id,
            domain=problem.domain,
            prompt=self.messages,
            level=problem.level,
            reference=problem.answer,
            tests=len(problem.tests),
            prompt_tokens=None if self.prompt_ids is None else len(self.prompt_ids),
            prompt_tail=self.prompt_tail,
            checker=problem.checker,
            refused=self.refused,
            facts=self.facts,
        )


def encoded(query: Query, speaker: Speaker) -> Query:
    """The query as this model's tokens; where its template or its length does not allow that, refused."""
    try:
        found = encode_problem(speaker, replace(query.problem, prompt=query.messages), ANY)
    except RowRefused as error:
        return replace(query, refused=str(error))
    return replace(query, prompt_ids=found.prompt_ids, prompt_tail=found.prompt_tail)


ANY = 1 << 40
"""Tokens that a prompt may have; the model's own positions are the limit."""


def worded(problem: Problem, wording: Wording) -> tuple[tuple[Message, ...], str]:
    """(messages, why there are none): the problem with its benchmark's words around it."""
    try:
        return wording.of(problem.prompt), ""
    except RowRefused as error:
        return problem.prompt, str(error)


def numbered(queries: Sequence[Query]) -> list[Query]:
    """With `copy`: a prompt that stands twice in a benchmark is drawn for twice."""
    counts = copies(f"{query.benchmark}\0{query.problem.content_hash}" for query in queries)
    return [replace(query, copy=count) for query, count in zip(queries, counts, strict=True)]


def cut_budgets(queries: Sequence[Query], positions: int | None) -> str | None:
    """What to tell a person where the model has no room for whole budgets; None where it has."""
    if positions is None:
        return None
    cut = [query for query in queries if len(query.prompt_ids or ()) + query.limit > positions]
    if not cut:
        return None
    most = max(query.limit for query in cut)
    return (
        f"{len(cut):,} of {len(queries):,} problems: completions end at the model's {positions:,} positions, before "
        f"the budget of {most:,} tokens; such ones count as stopped by length"
    )


def roomy(sizes: Sizes, queries: Sequence[Query]) -> Sizes:
    """The sizes with room for the longest row that is asked for: a benchmark's prompts are as long as they are."""
    longest = max(len(query.prompt_ids or ()) + query.limit for query in queries)
    return replace(sizes, cache_tokens=max(sizes.cache_tokens, longest))
