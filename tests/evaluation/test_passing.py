"""pass@k, G-Pass@k and maj@k: each against all subsets, hand-computed values, laws, and peers' cases."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom
from tests.shared_data import shared

from openklear.evaluation.statistics import (
    avg_at_k,
    g_pass_at_k,
    g_pass_share,
    majority_share,
    mean_interval,
    mg_pass_at_k,
    mg_pass_share,
    pass_at_k,
    pass_share,
)

NAN = float("nan")
VERDICTS = st.lists(st.sampled_from([0.0, 1.0, NAN]), min_size=7, max_size=7)
CLASSES = st.lists(st.sampled_from([None, 0, 0, 1, 2, 3]), min_size=1, max_size=8)


def subsets(items, k):
    return list(itertools.combinations(items, k))


def share(found):
    return sum(map(Fraction, found), Fraction(0)) / len(found)


@given(st.lists(VERDICTS, min_size=1, max_size=4), st.integers(1, 7))
def test_each_problem_counts_with_its_own_number_of_samples(rows, k):
    """Over all k-subsets of its scorable samples; those with fewer than k are left out."""
    scorable = [[one for one in row if one == one] for row in rows]
    expected = [float(share([any(s) for s in subsets(row, k)])) for row in scorable if len(row) >= k]
    found = pass_at_k(np.array(rows), k)
    assert found.problems == len(expected)
    if expected:
        wanted = mean_interval(np.array(expected), 7)
        assert (found.value, found.low, found.high) == pytest.approx((wanted.value, wanted.low, wanted.high))


@given(st.integers(1, 9), st.data())
def test_g_pass_is_the_share_of_subsets_with_so_many_correct(n, data):
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    tau = data.draw(st.sampled_from([0.01, 0.25, 0.5, 0.55, 0.75, 1.0]))
    row = [1] * c + [0] * (n - c)
    least = math.ceil(Fraction(str(tau)) * k)
    expected = share([sum(s) >= least for s in subsets(row, k)])
    assert g_pass_share(n, c, k, tau) == float(expected)
    assert g_pass_share(n, c, k, tau) == pytest.approx(hypergeom(n, c, k).sf(least - 1), abs=1e-12)


@given(st.integers(2, 9), st.data())
def test_mg_pass_is_its_sum_over_subsets(n, data):
    """2/k times how far the number of correct ones is above ceil(k/2), on average."""
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(2, n))
    row = [1] * c + [0] * (n - c)
    above = share([max(0, sum(s) - math.ceil(k / 2)) for s in subsets(row, k)])
    assert mg_pass_share(n, c, k) == float(Fraction(2, k) * above)


@given(st.integers(1, 64), st.data())
def test_g_pass_between_its_ends(n, data):
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    assert g_pass_share(n, c, k, 1 / k) == pytest.approx(pass_share(n, c, k), abs=1e-12), "one of k: pass@k"
    assert g_pass_share(n, c, k, 1.0) == pytest.approx(math.comb(c, k) / math.comb(n, k), abs=1e-12), "all of k"
    falling = [g_pass_share(n, c, k, tau) for tau in (0.1, 0.4, 0.7, 1.0)]
    assert falling == sorted(falling, reverse=True)


def test_tau_times_k_is_not_rounded_up_by_floating_point():
    assert 0.56 * 25 > 14
    assert g_pass_share(25, 14, 25, 0.56) == 1.0


def test_mg_pass_of_certain_problems():
    assert mg_pass_share(64, 64, 16) == 1.0
    assert mg_pass_share(9, 9, 3) == pytest.approx(2 / 3), "as published: for odd k it lacks half a term"
    assert mg_pass_share(64, 0, 16) == 0.0


def test_g_pass_over_problems():
    table = np.array([[1, 1, 0, 0], [1, 1, 1, NAN], [0, NAN, NAN, NAN]])
    assert g_pass_at_k(table, 2, 1.0).value == pytest.approx((1 / 6 + 1) / 2)
    assert mg_pass_at_k(table, 2).value == pytest.approx((1 / 6 + 1) / 2)
    assert g_pass_at_k(table, 2, 0.5).value == pytest.approx(pass_at_k(table, 2).value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda table: g_pass_at_k(table, 3, 0.5), "at least 3 samples"),
        (lambda table: g_pass_at_k(table, 2, 0.0), "tau above 0"),
        (lambda table: mg_pass_at_k(table, 1), "k = 1 has none"),
        (lambda table: majority_share([0, 1], 0, 3), "at least 3 samples"),
        (lambda table: majority_share([0, 1], 0, 0), "at least 0 samples"),
    ],
)
def test_what_cannot_be_asked_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong(np.array([[1.0, 0.0]]))


def vote(chosen, correct):
    """The slow way: count, and share a tie."""
    counts = Counter(one for one in chosen if one is not None)
    most = max(counts.values(), default=0)
    winners = [one for one, votes in counts.items() if votes == most]
    return Fraction(correct in winners, max(1, len(winners)))


@given(CLASSES, st.data())
def test_a_vote_is_that_of_all_subsets(classes, data):
    k = data.draw(st.integers(1, len(classes)))
    assert majority_share(classes, 0, k) == float(share([vote(chosen, 0) for chosen in subsets(classes, k)]))


def test_votes_by_hand():
    assert majority_share([0, 0, 1], 0, 3) == 1.0
    assert majority_share([0, 1, 2], 0, 3) == pytest.approx(1 / 3), "three tie"
    assert majority_share([0, 1], 0, 2) == 0.5
    assert majority_share([0, None, None], 0, 3) == 1.0, "no answer outvotes none"
    assert majority_share([None] * 4, 0, 4) == 0.0
    assert majority_share([1, 1, 2], 0, 2) == 0.0
    assert majority_share([0, 1, 1], 0, 2) == pytest.approx((0.5 + 0.5 + 0) / 3)


@given(CLASSES, st.data())
def test_laws_of_a_vote(classes, data):
    k = data.draw(st.integers(1, len(classes)))
    found = majority_share(classes, 0, k)
    assert majority_share(data.draw(st.permutations(classes)), 0, k) == found, "the order of samples is nothing"
    renamed = [None if one is None else 10 * one + 3 for one in classes]
    assert majority_share(renamed, 3, k) == found
    assert majority_share(classes, 0, 1) == classes.count(0) / len(classes), "one vote: avg@1"
    right = [classes.count(0), sum(one is not None for one in classes)]
    everyone = sum(majority_share(classes, other, k) for other in set(classes) - {None})
    someone = pass_share(len(classes), right[1], k)
    assert everyone == pytest.approx(someone), "some class wins wherever anybody answered"


@pytest.mark.parametrize("k", [8, 32, 64])
def test_64_samples_of_64_classes_are_quick(k):
    start = time.process_time()
    assert majority_share(list(range(64)), 0, k) == pytest.approx(1 / 64)
    mixed = [0] * 20 + [1 + i // 2 for i in range(44)]
    assert 0.0 < majority_share(mixed, 0, k) <= 1.0
    assert time.process_time() - start < 5.0


def cases(metric):
    """lighteval's cases of a metric: (name, texts, gold texts, k, expected, tolerance)."""
    for case in json.loads(shared(f"metrics/{metric}.json").read_text())["test_cases"]:
        doc, (expected,) = case["doc"], case["expected_output"].values()
        gold = doc["gold_index"] if isinstance(doc["gold_index"], list) else [doc["gold_index"]]
        right = [doc["choices"][i] for i in gold if i < len(doc["choices"])]
        yield case["name"], case["model_response"]["text"], right, case["metric_params"], expected, case["tolerance"]


OTHER_AVERAGES = {"Avg at K - Multiple Correct": 1.0}
"""lighteval holds each answer against the first of several right ones, Paris alone; all three are right."""


def test_peers_averages():
    checked = 0
    for name, texts, gold, params, expected, tolerance in cases("avg_at_k"):
        row = [float(text in gold) for text in texts[: params["k"]]]
        wanted = OTHER_AVERAGES.get(name, expected)
        assert avg_at_k(np.array([row])).value == pytest.approx(wanted, abs=tolerance), name
        checked += 1
    assert checked == 3


OTHER_VOTES = {"Maj at K - No Majority": 1 / 3}
"""Paris, London and Berlin have a vote each. lighteval gives a tie to the answer that came first, which was the right
one; in another order it would have given 0. Ours shares it: 1/3, whatever the order."""


def test_peers_votes():
    checked = 0
    for name, texts, gold, params, expected, tolerance in cases("maj_at_k"):
        places = {text: number for number, text in enumerate(dict.fromkeys([*gold, *texts]))}
        classes = [places[text] for text in texts]
        wanted = OTHER_VOTES.get(name, expected)
        assert majority_share(classes, places[gold[0]], params["k"]) == pytest.approx(wanted, abs=tolerance), name
        checked += 1
    assert checked == 4
