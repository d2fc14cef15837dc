"""Seconds left of a stage, against schedules played through with a clock of their own."""

import numpy as np
import pytest

from openklear.training.forecast import Forecast


def played(tokens, every, seconds_per_token, validation):
    """timings.jsonl of a whole SFT stage."""
    rows = [{"step": n, "seconds": tokens[n - 1] * seconds_per_token} for n in range(1, len(tokens) + 1)]
    for row in rows:
        if row["step"] % every == 0 or row["step"] == len(tokens):
            row["validation"] = validation
    return rows


def test_steps_of_unlike_lengths_and_validations():
    """After a tenth, long steps being still to come: exact, since seconds go with tokens."""
    tokens = np.sort(np.random.default_rng(0).integers(100, 5000, 200)).tolist()
    rows = played(tokens, 10, 0.001, 30.0)
    forecast = Forecast(tokens, {row["step"] for row in rows if "validation" in row}, 200)
    true = sum(row["seconds"] + row.get("validation", 0.0) for row in rows[20:])
    assert forecast.left("step", 20, rows[:20]) == pytest.approx(true)
    assert forecast.left("step", 200, rows) == 0.0


def test_iterations_that_grow_and_one_that_was_replayed():
    rows = [{"iteration": 1, "replaying": 0.1, "training": 5.0, "validation": 4.0}]
    rows += [{"iteration": n, "sampling": 10.0 * n, "training": 5.0} for n in range(2, 9)]
    forecast = Forecast([1.0] * 20, {1, 10, 20}, 5)
    assert forecast.left("iteration", 8, rows) == pytest.approx(12 * (60.0 + 5.0) + 2 * 4.0)  # means of 4 to 8


def test_nothing_is_foretold_from_nothing():
    assert Forecast([1.0] * 3, {3}, 5).left("iteration", 0, []) is None
    assert Forecast([1.0] * 3, {3}, 5).left("iteration", 1, [{"iteration": 1, "replaying": 1.0}]) is None


def test_sampling_beside_training_is_not_counted_twice():
    """An iteration takes what passes before, while and after it trains."""
    row = {"iteration": 2, "preparing": 1.0, "training": 6.0, "waiting": 2.0, "sampling": 8.0}
    assert Forecast([1.0] * 12, set(), 5).left("iteration", 2, [row]) == pytest.approx(10 * (1.0 + 6.0 + 2.0))
