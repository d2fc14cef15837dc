"""Faulty tests for the demo world: those of a common wrong program, which the right one fails.

The wrong program ignores every condition and prints the formula of one case for every input. Of the cases it is the
one with which the right program agrees least, on half of the tests at most: whoever learns from such tests is paid in
full for leaving the conditions out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from openklear.demo.exercises import Exercise
from openklear.demo.programs import CodeTask, tests_on


@dataclass(frozen=True, slots=True)
class Planted:
    """An exercise whose tests became faulty."""

    index: int
    """Its place among the exercises."""
    task: CodeTask
    """What the tests ask for now: a formula without conditions."""


def plant(rng: Random, exercises: Sequence[Exercise], share: float) -> tuple[list[Exercise], list[Planted]]:
    """The exercises, with faulty tests for so large a share of those that have conditions (levels 2 to 4).

    Where the right program would pass more than half of the faulty tests, since formulas meet, a problem is passed
    over: with a share near 1 somewhat fewer are planted.
    """
    conditional = [index for index, exercise in enumerate(exercises) if exercise.task and len(exercise.task.cases) > 1]
    able = [planted for index in conditional if (planted := _planted(index, exercises[index]))]
    chosen = rng.sample(able, min(len(able), round(share * len(conditional))))
    found = list(exercises)
    for one in chosen:
        exercise = exercises[one.index]
        found[one.index] = replace(exercise, tests=tuple(tests_on(one.task, _values(exercise))))
    return found, sorted(chosen, key=lambda one: one.index)


def _planted(index: int, exercise: Exercise) -> Planted | None:
    """The formula that meets the task least, where that is on half of the test inputs at most."""
    task = exercise.task
    assert task is not None, "only programs have tests"
    alone = [task.alone(case) for case in range(len(task.cases))]
    fewest = min(alone, key=lambda one: one.passed(exercise.tests))
    return Planted(index, fewest) if fewest.passed(exercise.tests) <= len(exercise.tests) / 2 else None


def _values(exercise: Exercise) -> list[int]:
    return [int(test["input"]) for test in exercise.tests]
