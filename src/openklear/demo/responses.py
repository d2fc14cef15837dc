"""Graded responses of a good teacher to the demo world's problems, with the columns that curation reads.

They stand for what `openklear distill` leaves: a careful teacher with a few slips answers every RL problem several
times. No judge is asked. What a program prints is computed from the task that it solves, and a boxed answer is compared
as text, so the verdicts are those of the judge (a test compares them).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from openklear.demo import programs
from openklear.demo.exercises import Exercise, generator

SLIPS = 0.05
"""Share of the responses that are wrong: few enough that a right problem seldom looks faulty for them."""

TEACHER = "careful"


def responses(seed: int, exercises: Sequence[Exercise], samples: int) -> Iterator[dict[str, Any]]:
    """`samples` graded responses to each exercise; more samples add to those that fewer would have."""
    for number, exercise in enumerate(exercises):
        problem = {"prompt": [{"role": "user", "content": exercise.prompt}], **exercise.columns()}
        rng = generator(seed, exercise.domain, "responses", str(number))
        for sample in range(samples):
            slips = rng.random() < SLIPS
            answered = _answer(rng, exercise, slips) if exercise.task is None else _program(rng, exercise, slips)
            yield {**problem, "teacher": TEACHER, "sample": sample, **answered}


def _answer(rng: Random, exercise: Exercise, slips: bool) -> dict[str, Any]:
    text = exercise.wrong(rng) if slips else exercise.right
    answer = text.rpartition("\\boxed{")[2].removesuffix("}")
    return _graded(text, answer, int(answer == exercise.answer), 1)


def _program(rng: Random, exercise: Exercise, slips: bool) -> dict[str, Any]:
    """Graded by the tests that the problem has, be they faulty or not."""
    assert exercise.task is not None
    task = programs.slipped_task(rng, exercise.task) if slips else exercise.task
    return _graded(programs.solution(task), task.program(), task.passed(exercise.tests), len(exercise.tests))


def _graded(text: str, extracted: str, passed: int, total: int) -> dict[str, Any]:
    outcome = "correct" if passed == total else "incorrect"
    return {"response": text, "outcome": outcome, "extracted": extracted, "passed": passed, "total": total}
