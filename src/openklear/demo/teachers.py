"""The demo world's three teachers, and what they answer: right, wrong more often the harder the level, or noise.

As a rule each exercise goes to one teacher. With `same_prompts` every teacher answers every exercise, from a generator
of its own for each exercise: row n of every teacher has the same prompt, and how often the sloppy one slips changes no
row of the others, nor any of its own that slips at both rates or at neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from openklear.demo.exercises import Exercise, generator
from openklear.think import CLOSE, OPEN

TEACHERS = {"careful": 0.40, "sloppy": 0.45, "noise": 0.15}
"""Teacher -> share of the demonstrations, where each exercise goes to one."""

SLOPPY_SLIPS = {1: 0.30, 2: 0.45, 3: 0.60, 4: 0.75}
"""Level -> share of the sloppy teacher's answers that are wrong."""

DUPLICATES = 0.04
"""Exact copies planted among the demonstrations, as a share of them."""

Rows = list[dict[str, Any]]


def shared_out(rng: Random, taught: Sequence[Exercise], leaked: Sequence[Exercise], slips: float) -> Rows:
    """Each exercise answered by one teacher, then leaked evaluation prompts, then exact copies of earlier rows."""
    teachers = rng.choices(list(TEACHERS), weights=list(TEACHERS.values()), k=len(taught))
    rows = [_demonstration(rng, exercise, teacher, slips) for exercise, teacher in zip(taught, teachers, strict=True)]
    rows += [_demonstration(rng, exercise, "careful", slips) for exercise in leaked]
    copies = rng.sample(rows, round(DUPLICATES * len(taught)))
    return rows + [dict(row) for row in copies]


def by_everyone(
    seed: int, domain: str, taught: Sequence[Exercise], leaked: Sequence[Exercise], slips: float
) -> dict[str, Rows]:
    """Teacher -> its rows: every exercise and leaked evaluation prompt, then copies, of the same ones for everyone."""
    found: dict[str, Rows] = {}
    for teacher in TEACHERS:
        rows = []
        for number, exercise in enumerate((*taught, *leaked)):
            rng = generator(seed, domain, "teachers", teacher, str(number))
            rows.append(_demonstration(rng, exercise, teacher, slips))
        copies = generator(seed, domain, "copies").sample(rows, round(DUPLICATES * len(taught)))
        found[teacher] = rows + [dict(row) for row in copies]
    return found


def _demonstration(rng: Random, exercise: Exercise, teacher: str, slips: float) -> dict[str, Any]:
    if teacher == "careful":
        text = exercise.right
    elif teacher == "sloppy":
        text = exercise.wrong(rng) if rng.random() < slips * SLOPPY_SLIPS[exercise.level] else exercise.right
    else:
        text = _mangled(rng, exercise)
    return {"prompt": exercise.prompt, "completion": text, "teacher": teacher, **exercise.columns()}


def _mangled(rng: Random, exercise: Exercise) -> str:
    """What the noise teacher says: a broken trace, something else altogether, or a confident wrong answer."""
    right, kind = exercise.right, rng.randrange(6)
    if kind == 0:
        return right.replace(CLOSE, "", 1)
    if kind == 1:
        return right.replace(OPEN, "", 1)
    if kind == 2:
        return right[: rng.randint(8, len(right) // 2)]
    if kind == 3:
        return right.replace(CLOSE, CLOSE + OPEN, 1)
    if kind == 4:
        return rng.choice(("I do not know.", "Please see the notes above.", "As said before, it is clear."))
    return exercise.wrong(rng)
