"""avg@k, pass@k and intervals: hand-computed values, a slow enumeration, peers' cases, and measured coverage."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, t
from tests.shared_data import shared

from openklear.evaluation.statistics import (
    Estimate,
    avg_at_k,
    mean_interval,
    paired_difference,
    pass_at_k,
    sampling_error,
    student_quantile,
    student_tail,
)


def table(*rows):
    return np.array(rows, dtype=np.float64)


def test_avg_is_the_mean_of_problem_means():
    estimate = avg_at_k(table([1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0]))
    assert estimate.value == pytest.approx((0.25 + 1.0 + 0.5) / 3)
    assert estimate.problems == 3


def test_unscorable_completions_are_in_no_mean():
    nan = float("nan")
    assert avg_at_k(table([1, nan], [0, 0], [nan, nan])).value == pytest.approx(0.5)
    assert avg_at_k(table([1, nan], [0, 0], [nan, nan])).problems == 2


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.data())
def test_pass_at_k_is_the_share_of_k_subsets_with_a_correct_one(row, data):
    k = data.draw(st.integers(1, len(row)))
    subsets = list(itertools.combinations(row, k))
    expected = sum(any(s) for s in subsets) / len(subsets)
    assert pass_at_k(table([float(x) for x in row]), k).value == pytest.approx(expected, abs=1e-12)


def test_pass_at_k_refuses_more_than_was_sampled():
    with pytest.raises(ValueError, match="at least 3 samples"):
        pass_at_k(table([1, 0]), 3)


def test_peers_pass_at_k_cases():
    path = shared("metrics/pass_at_k.json")
    checked = 0
    for case in json.loads(path.read_text())["test_cases"]:
        params, doc = case["metric_params"], case["doc"]
        gold = doc["choices"][doc["gold_index"]] if isinstance(doc["gold_index"], int) else None
        texts = case["model_response"]["text"]
        if gold is None or len(texts) < params["n"]:
            continue
        row = [float(t.strip() == gold) for t in texts[: params["n"]]]
        (expected,) = case["expected_output"].values()
        assert pass_at_k(table(row), params["k"]).value == pytest.approx(expected, abs=case["tolerance"]), case["name"]
        checked += 1
    assert checked >= 1


def test_interval_agrees_with_the_normal_one_on_many_problems():
    values = np.linspace(0.0, 1.0, 400)
    estimate = mean_interval(values)
    half = 1.96 * values.std(ddof=1) / math.sqrt(400)
    assert estimate.low == pytest.approx(0.5 - half, abs=0.002)
    assert estimate.high == pytest.approx(0.5 + half, abs=0.002)


def test_interval_is_the_same_on_every_call():
    values = np.array([0.0, 0.25, 1.0, 0.5])
    assert mean_interval(values) == mean_interval(values.copy())


def score_interval(values, most):
    """The formula of the design, written apart from the package, with SciPy's t."""
    e, n = 0.25, len(values)
    n2 = n + 2 * e
    m = (sum(values) + e) / n2
    v = (sum(x * x for x in values) + e - n2 * m * m) / (n2 - 1)
    q = t.ppf(0.975, n2 - 1)
    trials = min(max(m * (1 - m) / (v / n2), 1), most)
    centre = (m + q * q / 2 / trials) / (1 + q * q / trials)
    half = q / (1 + q * q / trials) * math.sqrt(m * (1 - m) / trials + q * q / 4 / trials**2)
    return centre - half, centre + half


@pytest.mark.parametrize("shares", [[0, 0.25, 1, 0.5], [0.5] * 6, [1, 1, 1, 0.75, 1, 1, 1, 1], [0, 0, 0.25]])
def test_an_interval_is_that_of_the_formula(shares):
    rows = [[1.0] * round(4 * x) + [0.0] * (4 - round(4 * x)) for x in shares]
    found = avg_at_k(table(*rows))
    assert (found.low, found.high) == pytest.approx(score_interval(shares, 4 * len(shares)), abs=1e-9)


@pytest.mark.parametrize("freedom", [1, 1.5, 2, 9.5, 30, 199.5, 20000.5])
def test_students_t_is_that_of_scipy(freedom):
    assert student_quantile(freedom) == pytest.approx(t.ppf(0.975, freedom), rel=1e-9)


@pytest.mark.parametrize("freedom", [1, 1.5, 7, 199.5])
@pytest.mark.parametrize("level", [0.95, 0.99, 1 - 0.05 / 15])
def test_students_t_at_other_levels(freedom, level):
    assert student_quantile(freedom, level) == pytest.approx(t.ppf((1 + level) / 2, freedom), rel=1e-8)
    assert student_tail(student_quantile(freedom, level), freedom) == pytest.approx(1 - level, abs=1e-7)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0, 4.0, 50.0])
def test_the_tail_of_students_t_in_closed_form(value):
    """1 degree of freedom is Cauchy's distribution; 2 have an algebraic one."""
    assert student_tail(value, 1) == student_tail(-value, 1) == pytest.approx(1 - 2 / math.pi * math.atan(value))
    assert student_tail(value, 2) == pytest.approx(1 - value / math.sqrt(2 + value**2))


@pytest.mark.parametrize(
    ("value", "freedom", "p"),
    [(2.365, 7, 0.05), (3.499, 7, 0.01), (2.228, 10, 0.05), (3.182, 3, 0.05), (1.96, 1e6, 0.05)],
)
def test_the_tail_of_students_t_in_the_table(value, freedom, p):
    assert student_tail(value, freedom) == pytest.approx(p, rel=1e-3)


@pytest.mark.parametrize("freedom", [1.2, 1.9, 3, 9.5, 150, 1e5, 1e7])
def test_the_tail_is_scipys_however_far(freedom):
    for value in (0.1, 2, 12.7, 300, 1e4):
        assert student_tail(value, freedom) == pytest.approx(
            2 * t.sf(value, freedom), abs=1e-8 if freedom > 2 else 1e-5
        )


def test_all_wrong_on_few_problems_is_not_certainty():
    wrong, right = avg_at_k(np.zeros((10, 4))), avg_at_k(np.ones((10, 4)))
    assert (wrong.value, wrong.low) == (0.0, 0.0)
    assert wrong.high == pytest.approx(score_interval([0] * 10, 40)[1])
    assert wrong.high > 1 - 0.025**0.1, "no narrower than the exact binomial interval"
    assert (right.value, right.high) == (1.0, 1.0)
    assert right.low == pytest.approx(1 - wrong.high)


def test_one_wrong_sample_of_240_moves_the_interval_little():
    """The percentile bootstrap jumped: [.884, 1] for 30 of 30, [.9875, 1] with one sample wrong."""
    samples = np.ones((30, 8))
    before = avg_at_k(samples)
    samples[0, 0] = 0.0
    after = avg_at_k(samples)
    assert 0 < before.low - 0.8 < 0.1
    assert abs(after.low - before.low) < 0.03


def test_one_problem_says_nothing_of_problems_like_it():
    assert avg_at_k(table([1, 1, 0, 1])) == Estimate(0.75, 0.0, 1.0, 1)


@pytest.mark.parametrize(
    ("shares", "bound"),
    [([0.0] * 11 + [1.0] * 9, 0.93), ([0.95] * 9 + [0.2], 0.93), ([0.99], 0.93), ([0.1, 0.3, 0.5, 0.7], 0.93)],
)
def test_intervals_hold_the_true_mean_as_often_as_they_say(shares, bound):
    """Problems are drawn anew each time from those of such difficulties, 30 at a time, each asked 8 times."""
    rng = np.random.default_rng(0)
    truth, held = float(np.mean(shares)), 0
    for _ in range(400):
        difficulty = rng.choice(shares, size=30)
        found = avg_at_k((rng.random((30, 8)) < difficulty[:, None]).astype(float))
        held += found.low <= truth <= found.high
    assert held / 400 >= bound - 2 * math.sqrt(bound * (1 - bound) / 400)


def test_sampling_error_by_hand():
    """Shares 1/4, 1/2 and 1 of 4, 2 and 3 samples: (3/16 / 3 + 1/4 / 1 + 0 / 2) / 9."""
    nan = float("nan")
    found = sampling_error(table([1, 0, 0, 0], [1, 0, nan, nan], [1, 1, 1, nan], [nan] * 4))
    assert found.error == pytest.approx(math.sqrt((1 / 16 + 1 / 4) / 9))
    half = norm.ppf(0.975) * found.error
    assert (found.low, found.high) == pytest.approx((max(0, 7 / 12 - half), min(1, 7 / 12 + half)))


def test_sampling_error_is_unknown_from_single_samples():
    nan = float("nan")
    assert math.isnan(sampling_error(table([1], [0])).error)
    assert math.isnan(sampling_error(table([1, 0], [1, nan])).low), "also where one problem has but one left"
    assert math.isnan(sampling_error(np.zeros((0, 0))).error)
    assert sampling_error(table([1, 1], [0, 0])).error == 0.0


def test_sampling_error_holds_the_mean_of_these_problems():
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(400):
        difficulty = rng.beta(2, 0.5, size=30)
        found = sampling_error((rng.random((30, 8)) < difficulty[:, None]).astype(float))
        held += found.low <= difficulty.mean() <= found.high
    assert held / 400 >= 0.93 - 2 * math.sqrt(0.93 * 0.07 / 400)


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=2, max_size=8), st.randoms())
def test_neither_order_nor_which_is_right_changes_an_interval(rows, random):
    samples = table(*rows)
    shuffled = table(*random.sample(rows, len(rows)))[:, [2, 0, 3, 1]]
    for found, other in (
        (avg_at_k(samples), avg_at_k(shuffled)),
        (sampling_error(samples), sampling_error(shuffled)),
    ):
        assert (other.low, other.high) == pytest.approx((found.low, found.high))
    mirrored = avg_at_k(1 - samples)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((avg_at_k(samples).low, avg_at_k(samples).high))


def test_a_paired_interval_is_students_t_with_half_a_pseudo_pair_at_each_side():
    """d = (1/2, 0, 1/4): n 4, mean 3/16, variance (5/16 + 1/16 - 4 * 9/256) / 3 = 5/64; t(3) = 3.182."""
    found = paired_difference(
        table([0, 0, 1, 1], [1, 0, 0, 0], [0] * 4), table([1, 1, 1, 1], [0, 1, 0, 0], [1, 0, 0, 0])
    )
    half = t.ppf(0.975, 3) * math.sqrt(5 / 64 / 4)
    assert (found.value, found.problems) == (pytest.approx(0.25), 3)
    assert (found.low, found.high) == pytest.approx((3 / 16 - half, 3 / 16 + half))


def test_no_difference_on_any_problem_is_not_certainty():
    found = paired_difference(np.ones((30, 8)), np.ones((30, 8)))
    assert found.value == 0.0
    assert found.high == -found.low == pytest.approx(t.ppf(0.975, 30) * math.sqrt(0.0625 / 30 / 31))


def test_a_problem_that_one_side_could_not_score_is_in_no_pair():
    nan = float("nan")
    found = paired_difference(table([0, 0], [nan, nan], [1, 0]), table([1, 1], [1, 1], [1, nan]))
    assert (found.value, found.problems) == (pytest.approx((1 + 0.5) / 2), 2)


def test_without_an_effect_zero_is_outside_no_more_often_than_promised():
    rng = np.random.default_rng(1)
    outside = 0
    for _ in range(400):
        difficulty = rng.beta(0.5, 0.5, size=(30, 1))
        one, two = ((rng.random((30, 8)) < difficulty).astype(float) for _ in range(2))
        found = paired_difference(one, two)
        outside += not found.low <= 0 <= found.high
    assert outside / 400 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)


def test_paired_difference_uses_the_pairs():
    rng = np.random.default_rng(0)
    before = (rng.random((200, 8)) < rng.random((200, 1))).astype(float)
    after = before.copy()
    after[:, 0] = 1.0
    paired = paired_difference(before, after)
    assert paired.value == pytest.approx((after - before).mean())
    assert paired.low > 0.0
    unpaired_width = avg_at_k(after).high - avg_at_k(after).low
    assert paired.high - paired.low < unpaired_width / 2


def test_paired_difference_wants_the_same_problems():
    with pytest.raises(ValueError, match="same problems"):
        paired_difference(np.zeros((2, 1)), np.zeros((3, 1)))
