"""avg@k, pass@k and intervals: hand-computed values, a slow enumeration, peers' cases, and the laws of a bootstrap."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.shared_data import shared

from openklear.evaluation.statistics import avg_at_k, mean_interval, paired_difference, pass_at_k


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


def test_all_wrong_on_few_problems_is_not_certainty():
    estimate = avg_at_k(np.zeros((10, 4)))
    assert (estimate.value, estimate.low) == (0.0, 0.0)
    assert estimate.high == pytest.approx(1 - 0.025**0.1)


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
