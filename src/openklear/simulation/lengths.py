"""How long completions are: what decides whether GPUs wait for one another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BETWEEN_PROBLEMS, WITHIN_PROBLEMS = 0.475, 0.38
"""Standard deviations of the logarithm of a trace's length: of problems, and of several traces for one problem.

From three teachers' answers (DeepSeek-R1, QwQ-32B, s1.1-32B) to the same 329 problems of GSM8K and MATH-500
(github.com/tianyi-lab/MiP-Overthinking): variances .343, .406 and .354, covariances .206, .231 and .242. Contest
problems may differ more."""


@dataclass(frozen=True, slots=True)
class DrawnRow:
    """One completion: its iteration, its group, and how many tokens it has."""

    iteration: int
    group: int
    prompt: int
    completion: int


def drawn_rows(
    iterations: int, problems: int, group_size: int, *, mean: float, most: int, prompt: float, seed: int = 0
) -> list[list[DrawnRow]]:
    """The rows of each iteration, their lengths lognormal with that mean before the cut at `most` tokens."""
    generator = np.random.default_rng(seed)
    variance = BETWEEN_PROBLEMS**2 + WITHIN_PROBLEMS**2
    centre = math.log(mean) - variance / 2
    shape = (iterations, problems)
    of_problem = centre + BETWEEN_PROBLEMS * generator.standard_normal(shape)
    spread = WITHIN_PROBLEMS * generator.standard_normal((*shape, group_size))
    tokens = np.clip(np.rint(np.exp(of_problem[..., None] + spread)), 1, most).astype(int)  # (iterations, problems, g)
    return [_rows(number, lengths.tolist(), round(prompt)) for number, lengths in enumerate(tokens)]


def _rows(iteration: int, groups: Sequence[Sequence[int]], prompt: int) -> list[DrawnRow]:
    rows = []
    for group, lengths in enumerate(groups):
        rows += [DrawnRow(iteration, group, prompt, length) for length in lengths]
    return rows
