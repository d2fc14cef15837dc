"""The demo world's problems, each with the right response to it and a way to draw wrong ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from random import Random
from typing import Any

from openklear.demo import arithmetic, programs

DOMAINS = ("math", "code")
LEVELS = (1, 2, 3, 4)

_DRAWS_PER_PROMPT = 1000


@dataclass(frozen=True, slots=True)
class Exercise:
    """A problem with the answers that teachers give to it."""

    prompt: str
    domain: str
    level: int
    key: str
    """What makes two problems the same: the expression of a chain, the words of a task."""
    right: str
    """A right response."""
    wrong: Callable[[Random], str]
    """Draws a well-formed wrong response."""
    answer: str | None = None
    tests: tuple[dict[str, str], ...] = ()
    task: programs.CodeTask | None = None
    """What a program is asked for; None in mathematics."""

    def columns(self) -> dict[str, Any]:
        """The columns that every file has."""
        tests = list(self.tests) or None
        return {"domain": self.domain, "level": str(self.level), "answer": self.answer, "tests": tests}


def generator(seed: int, *purpose: str) -> Random:
    """An independent generator for each purpose."""
    digest = blake2b("/".join((str(seed), *purpose)).encode(), digest_size=8).digest()
    return Random(int.from_bytes(digest, "big"))


def distinct_exercises(domain: str, rng: Random) -> Iterator[Exercise]:
    """Endless problems, no two alike, the levels in turn."""
    seen: set[str] = set()
    while True:
        for level in LEVELS:
            for _ in range(_DRAWS_PER_PROMPT):
                exercise = _draw_exercise(domain, rng, level)
                if exercise.key not in seen:
                    break
            else:
                raise ValueError(f"the demo world has no more {domain} problems of level {level}; ask for fewer")
            seen.add(exercise.key)
            yield exercise


def _draw_exercise(domain: str, rng: Random, level: int) -> Exercise:
    if domain == "math":
        chain = arithmetic.draw_chain(rng, level)
        prompt, key, right = arithmetic.word(rng, chain), chain.expression(), arithmetic.solution(chain)
        wrong = partial(arithmetic.slipped_solution, chain=chain)
        return Exercise(prompt, domain, level, key, right, wrong, answer=chain.answer)
    task = programs.draw_task(rng, level)
    prompt, tests = programs.word(rng, task), tuple(programs.tests(rng, task))
    wrong = partial(programs.slipped_solution, task=task)
    return Exercise(prompt, domain, level, prompt.lower(), programs.solution(task), wrong, tests=tests, task=task)
