"""Two arms x seeds x problems: closed forms, a slow independent version, laws, and measured coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t

from openklear.evaluation.statistics import arm_mean, over_seeds, two_way

BEFORE = np.array([[0.0, 0.5, 1.0], [0.25, 0.5, 0.75]])
AFTER = np.array([[0.5, 0.5, 1.0], [0.5, 1.0, 1.0]])
"""Differences (1/2, 0, 0) and (1/4, 1/2, 1/4)."""


def test_over_seeds_by_hand():
    """Means by seed 1/6 and 1/3: their mean 1/4, standard error 1/12, t(1) = 12.706."""
    found = over_seeds(BEFORE, AFTER)
    assert (found.value, found.error) == pytest.approx((1 / 4, 1 / 12))
    assert (found.freedom, found.seeds, found.problems) == (1.0, 2, 3)
    assert found.high == 1.0, "cut at 1"
    assert found.low == pytest.approx(1 / 4 - t.ppf(0.975, 1) / 12)


def clustered(cells):
    """Cameron, Gelbach and Miller's sums over clusters, each with its own G / (G - 1), by loops."""
    seeds, problems = cells.shape
    count = seeds * problems
    rest = cells - cells.mean()
    by_seed = sum(sum(rest[s, i] for i in range(problems)) ** 2 for s in range(seeds)) / count**2
    by_problem = sum(sum(rest[s, i] for s in range(seeds)) ** 2 for i in range(problems)) / count**2
    by_cell = sum(rest[s, i] ** 2 for s in range(seeds) for i in range(problems)) / count**2
    parts = by_seed * seeds / (seeds - 1), by_problem * problems / (problems - 1), by_cell * count / (count - 1)
    variance = max(parts[0] + parts[1] - parts[2], parts[0], parts[1])
    down = parts[0] ** 2 / (seeds - 1) + parts[1] ** 2 / (problems - 1) + parts[2] ** 2 / (count - 1)
    return variance, max(seeds - 1, variance**2 / down)


@pytest.mark.parametrize(("seeds", "problems"), [(2, 2), (3, 5), (8, 30)])
def test_two_way_is_the_clustered_variance(seeds, problems):
    rng = np.random.default_rng(seeds)
    before, after = rng.random((2, seeds, problems)) + rng.normal(0, 0.1, (2, seeds, 1))
    found = two_way(before / 2, after / 2)
    cells = (after - before) / 2
    variance, freedom = clustered(cells)
    assert (found.value, found.error) == pytest.approx((cells.mean(), math.sqrt(variance)))
    assert found.freedom == pytest.approx(freedom)
    half = t.ppf(0.975, freedom) * math.sqrt(variance)
    assert (found.low, found.high) == pytest.approx((max(-1, cells.mean() - half), min(1, cells.mean() + half)))


def test_the_variance_is_not_below_either_part():
    """Cells that vary within both: rows and columns have equal means, so both parts are 0 and V would be negative."""
    cells = np.array([[0.5, -0.5], [-0.5, 0.5]])
    assert two_way(np.zeros((2, 2)), cells).error == 0.0
    lopsided = cells + np.array([[0.1], [-0.1]])
    by_seed = over_seeds(np.zeros((2, 2)), lopsided).error
    assert two_way(np.zeros((2, 2)), lopsided).error == pytest.approx(by_seed)
    assert two_way(np.zeros((2, 2)), lopsided.T).error == pytest.approx(by_seed), "the same by problem"


def test_verdicts_are_averaged_first_and_unscorable_ones_are_in_no_mean():
    nan = float("nan")
    before = np.array([[[0, 0], [1, 0], [0, 0]], [[0, 1], [1, nan], [1, 1]]], dtype=float)
    after = np.array([[[1, 1], [1, 1], [nan, nan]], [[1, 1], [1, 1], [1, 1]]], dtype=float)
    means = np.array([[0, 0.5], [0.5, 1]]), np.array([[1.0, 1.0], [1.0, 1.0]])
    assert two_way(before, after) == two_way(*means), "a problem that one seed could not score is left out"
    assert over_seeds(before, after) == over_seeds(*means)
    assert two_way(before, after).problems == 2


@pytest.mark.parametrize("interval", [over_seeds, two_way])
def test_laws(interval):
    rng = np.random.default_rng(0)
    before, after = rng.random((2, 4, 12))
    found, swapped = interval(before, after), interval(after, before)
    assert (swapped.value, swapped.low, swapped.high) == pytest.approx((-found.value, -found.high, -found.low))
    order = rng.permutation(4), rng.permutation(12)
    shuffled = interval(before[order[0]][:, order[1]], after[order[0]][:, order[1]])
    assert (shuffled.low, shuffled.high) == pytest.approx((found.low, found.high))
    halved = interval(before / 2, after / 2)
    assert (halved.value, halved.low, halved.high) == pytest.approx((found.value / 2, found.low / 2, found.high / 2))
    assert halved.freedom == pytest.approx(found.freedom)
    assert found.freedom >= 3


def test_the_mean_of_an_arm_by_hand():
    """Means by seed 1/2 and 1/2, by problem 1/8, 1/2, 7/8, residuals +-1/8 in four cells: parts 0, 3/64 and 1/192."""
    found = arm_mean(BEFORE)
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0), "cut at 0 and 1"
    assert found.error == pytest.approx(math.sqrt(3 / 64)), "not below the part by problem"
    assert found.freedom == pytest.approx(1 / (1 / 2 + (1 / 9) ** 2 / 5))
    assert (found.seeds, found.problems) == (2, 3)


def test_the_mean_of_an_arm_holds_its_truth():
    """Seeds and problems are drawn anew each time."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(500):
        chances = np.clip(0.5 + rng.normal(0, 0.2, 60) + rng.normal(0, 0.02, (4, 1)), 0, 1)
        found = arm_mean(rng.binomial(8, chances) / 8)
        held += found.low <= 0.5 <= found.high
    assert 0.93 <= held / 500 <= 0.97


def test_the_mean_of_an_arm_leaves_out_what_a_seed_could_not_score():
    nan = float("nan")
    verdicts = np.array([[[0, 1], [1, 1], [nan, nan]], [[0, 1], [1, nan], [1, 1]]])
    assert arm_mean(verdicts) == arm_mean(np.array([[0.5, 1.0], [0.5, 1.0]]))
    one = arm_mean(BEFORE[:1])
    assert (one.value, one.low, one.high) == (0.5, 0.0, 1.0)
    assert math.isnan(one.freedom)
    assert math.isnan(arm_mean(np.zeros((0, 0))).value)
    with pytest.raises(ValueError, match=r"got \(3,\)"):
        arm_mean(BEFORE[0])


def test_too_little_to_say_how_it_varies():
    assert (over_seeds(BEFORE[:1], AFTER[:1]).low, over_seeds(BEFORE[:1], AFTER[:1]).high) == (-1.0, 1.0)
    one = two_way(BEFORE[:, :1], AFTER[:, :1])
    assert (one.value, one.low, one.high) == (pytest.approx(0.375), -1.0, 1.0)
    assert math.isnan(two_way(np.full((2, 3), np.nan), AFTER).value)
    assert math.isnan(over_seeds(np.zeros((2, 0)), np.zeros((2, 0))).value)


def test_arms_have_one_shape():
    with pytest.raises(ValueError, match="two arms are both"):
        two_way(BEFORE, AFTER[:, :2])
    with pytest.raises(ValueError, match="two arms are both"):
        over_seeds(BEFORE[0], AFTER[0])


@pytest.mark.parametrize(
    ("seeds", "problems", "between_seeds", "reaction"), [(8, 100, 0.4, 0.0), (8, 100, 0.0, 0.5), (4, 30, 0.3, 0.5)]
)
def test_two_way_holds_no_effect_as_often_as_it_says(seeds, problems, between_seeds, reaction):
    """Neither arm is better; seeds differ, or problems react to the arms, by so many logits."""
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(300):
        shift = np.array([[-0.5], [0.5]]) * rng.normal(0, reaction, problems)  # (arms, problems)
        logits = rng.normal(1.4, 1.5, problems) + shift[:, None] + rng.normal(0, between_seeds, (2, seeds, 1))
        before, after = rng.binomial(8, 1 / (1 + np.exp(-logits))) / 8
        found = two_way(before, after)
        held += found.low <= 0 <= found.high
    assert 0.93 - 2 * math.sqrt(0.93 * 0.07 / 300) <= held / 300
