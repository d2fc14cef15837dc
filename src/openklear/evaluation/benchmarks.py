"""A benchmark: a named evaluation set, with how many of its problems are asked, how often, and in which words.

Each held-out source of a recipe is one. The set itself stays whole in curation, where training rows are held against
all of it; what is said here acts when the problems are asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from openklear.recipe.schema import Recipe
from openklear.rollout.seeds import rollout_key
from openklear.rollout.wording import PLAIN, Wording
from openklear.types import Problem


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A held-out source as the evaluation asks it."""

    name: str
    """The source's; `Problem.source` of its problems."""
    samples: int
    """k: completions per problem."""
    limit: int | None = None
    limit_by: Literal["first", "seed"] = "first"
    prompt_template: str | None = None
    """Holds {problem} where the problem's text goes; None: the problem's text alone."""
    system_prompt: str | None = None
    prompt_suffix: str | None = None

    def problems(self, heldout: Sequence[Problem], seed: int) -> list[Problem]:
        """Those of the benchmark's problems that are asked, in the order of the file.

        A draw takes the problems with the smallest keys, and a problem's key depends on the seed and its prompt alone:
        other sources change nothing, and a larger limit only adds problems.
        """
        mine = [problem for problem in heldout if problem.source == self.name]
        if self.limit is None or self.limit_by == "first":
            return mine[: self.limit]
        drawn = sorted(range(len(mine)), key=lambda place: _draw(mine[place], seed))[: self.limit]
        return [mine[place] for place in sorted(drawn)]

    def ask(self, problem: Problem) -> Problem:
        """The problem with the prompt that the model is given."""
        return problem if self.wording == PLAIN else replace(problem, prompt=self.wording.of(problem.prompt))

    @property
    def wording(self) -> Wording:
        """In which words."""
        return Wording(self.system_prompt, self.prompt_suffix, self.prompt_template)


def benchmarks(recipe: Recipe) -> Iterator[Benchmark]:
    """The benchmarks of a recipe, in the order of its sources."""
    for source in recipe.data.source:
        if source.role == "heldout":
            samples = source.samples or recipe.evaluation.samples
            words = source.prompt_template, source.system_prompt, source.prompt_suffix
            yield Benchmark(source.name, samples, source.limit, source.limit_by, *words)


def _draw(problem: Problem, seed: int) -> int:
    return rollout_key(seed, "limit", 0, problem.content_hash, 0)
