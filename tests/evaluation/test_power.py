"""What an evaluation needs: closed forms, SciPy's noncentral t, laws, and simulated evaluations of the size it names."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import nct, norm, t

from openklear.errors import UsageError
from openklear.evaluation.power import (
    MOST,
    Pair,
    TwoArms,
    counts_of,
    exceeds,
    half_width,
    least,
    least_effect,
    needed_for_pair,
    needed_for_score,
    needed_for_study,
    pair,
    pair_of,
    seen_in_pairs,
    seen_in_study,
    variation,
    variation_of,
)
from openklear.evaluation.results import ProblemResult, write_results
from openklear.evaluation.statistics import avg_at_k, difference_interval, over_seeds, two_way
from openklear.evaluation.stored import Sample, write_samples
from openklear.types import Outcome

CONTEST = variation_of(0.8, 0.4)


def counts(right, of=8):
    return {str(i): (int(one), of) for i, one in enumerate(right)}


@pytest.mark.parametrize(("quantile", "freedom", "shift"), [(12.7, 1, 5), (2.5, 3, 2), (2, 30.5, 3), (1.97, 900, -1)])
def test_the_tail_is_scipys_noncentral_t(quantile, freedom, shift):
    assert exceeds(quantile, freedom, shift) == pytest.approx(nct.sf(quantile, freedom, shift), abs=1e-9)


@pytest.mark.parametrize(("freedom", "tests"), [(1, 1), (3, 1), (7, 5), (30.5, 15), (900, 2)])
def test_the_least_effect_is_seen_as_often_as_said(freedom, tests):
    found = least_effect(0.02, freedom, tests)
    assert nct.sf(t.ppf(1 - 0.025 / tests, freedom), freedom, found / 0.02) == pytest.approx(0.8, abs=1e-6)
    assert least_effect(0.04, freedom, tests) == pytest.approx(2 * found)
    assert least_effect(0.02, freedom, tests, power=0.9) > found


def test_the_least_effect_of_many_seeds_and_problems_is_the_normal_one():
    assert least_effect(1.0, 1e6) == pytest.approx(norm.ppf(0.975) + norm.ppf(0.8), rel=1e-4)


def test_a_study_sees_its_least_effect_as_often_as_it_says():
    """The corrected test too: power falls with the number of tests."""
    study = TwoArms(Pair(0.0, 0.2), 0.02)
    error = math.sqrt((2 * 0.02**2 + 0.2 / 8 / 200) / 8)
    difference = least_effect(error, 7.0, 3)
    assert seen_in_study(study, difference, 8, 200, 8, these=True, tests=3) == pytest.approx(0.8, abs=1e-9)
    assert seen_in_study(study, difference, 8, 200, 8, these=True) > 0.9


def test_for_many_problems_it_is_millers_formula():
    """n = (1.96 + .84)^2 V_1 / difference^2."""
    two = Pair(0.026, 0.19)
    for difference, samples in ((0.01, 8), (0.02, 1), (0.01, 64)):
        wanted = (norm.ppf(0.975) + norm.ppf(0.8)) ** 2 * (two.moved + two.within / samples) / difference**2
        assert needed_for_pair(two, difference, 30, samples).problems == pytest.approx(wanted, rel=0.01)
    wanted = norm.ppf(0.975) ** 2 * (CONTEST.between + CONTEST.within / 8) / 0.01**2
    assert needed_for_score(CONTEST, 0.01, 30, 8).problems == pytest.approx(wanted, rel=0.01)


@given(st.lists(st.integers(0, 8), min_size=3, max_size=30).filter(lambda right: len(set(right)) > 1))
def test_a_half_width_is_that_of_the_data_it_was_learnt_from(right):
    """Where anything lies between problems, the parts add up to the variance of the observed shares."""
    one = variation(counts(right))
    table = (np.arange(8) < np.array(right)[:, None]).astype(float)
    found = avg_at_k(table)
    if one.between > 0 and 0 < one.mean < 1:
        assert half_width(one, len(right), 8) == pytest.approx((found.high - found.low) / 2)


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=2, max_size=20))
def test_the_parts_of_a_pair_add_up(right):
    before, after = np.array(right).T
    two = pair(counts(before), counts(after))
    whole = float(((after - before) / 8).var(ddof=1))
    assert two.moved + two.within / 8 == pytest.approx(max(whole, two.within / 8))


def test_parts_are_estimated_without_bias():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        chances = rng.beta(1.2, 0.3, 40)
        one = variation(counts(rng.binomial(4, chances), 4))
        found.append((one.mean, one.between, one.within))
    between = 0.8 * 0.2 / 2.5  # of a Beta distribution: m (1 - m) / (a + b + 1)
    assert np.mean(found, axis=0) == pytest.approx([0.8, between, 0.16 - between], rel=0.05)


def test_a_problem_with_one_scorable_sample_is_left_out():
    some, single = counts([3, 8, 5]), {"single": (1, 1)}
    assert variation({**some, **single}) == variation(some)
    assert pair({**some, "single": (5, 8)}, {**some, **single}) == pair(some, some)


def test_the_guess_of_a_beta_distribution():
    """Beta(1.2, .3) has .4 of its variance between problems."""
    assert (CONTEST.mean, CONTEST.between, CONTEST.within) == pytest.approx((0.8, 0.064, 0.096))
    assert pair_of(CONTEST, 1.0) == Pair(0.0, pytest.approx(0.192)), "a gain that is the same everywhere"
    assert pair_of(CONTEST, 0.75).moved == pytest.approx(0.032)


def test_thirty_problems_are_thirty_problems():
    """AIME: 64 samples or endless ones, the interval is +-9.6; only more problems help."""
    found = needed_for_score(CONTEST, 0.05, 30, 64)
    assert found.now == pytest.approx(0.096, abs=0.001)
    assert found.samples is None
    assert 90 < found.least_problems <= found.problems < 110
    assert half_width(CONTEST, 30, MOST) > 0.09
    assert needed_for_score(CONTEST, 0.10, 30, 1).samples <= 64


def test_only_more_seeds_help_where_seeds_differ():
    study = TwoArms(Pair(0.02, 0.2), 0.02)
    these = needed_for_study(study, 0.03, 4, 200, 8, these=True)
    assert (these.problems, these.samples) == (None, None)
    assert these.seeds > 4
    alike = needed_for_study(TwoArms(Pair(0.02, 0.2), 0.0), 0.03, 4, 200, 8)
    assert alike.problems is not None
    no_reaction = needed_for_study(TwoArms(Pair(0.0, 0.2), 0.02), 0.03, 4, 200, 8)
    assert no_reaction.seeds is not None
    both = needed_for_study(TwoArms(Pair(0.03, 0.2), 0.02), 0.03, 4, 100, 8)
    assert (both.seeds, both.problems, both.samples) == (None, None, None)
    assert both.least_problems > 100
    assert both.least_seeds > 4


@given(st.floats(0.001, 0.1), st.floats(0.001, 0.4), st.floats(0.01, 0.2), st.integers(2, 60), st.integers(1, 64))
def test_more_is_never_worse(moved, within, difference, problems, samples):
    """Where half are seen: of a handful of problems on which little is, the pseudo-pair is the larger part."""
    two = Pair(moved, within)
    now = seen_in_pairs(two, difference, problems, samples)
    assert 0 <= now <= 1
    if now >= 0.5:
        assert seen_in_pairs(two, difference, problems, 2 * samples) >= now - 1e-9
        assert seen_in_pairs(two, difference, 2 * problems, samples) >= now - 1e-9
        assert seen_in_pairs(two, 1.1 * difference, problems, samples) >= now - 1e-9


@given(st.integers(2, 5000))
def test_the_least_number_that_reaches(threshold):
    assert least(lambda n: n >= threshold, 2) == threshold
    assert least(lambda n: n > MOST, 2) is None


def test_what_is_said_to_be_enough_is_for_pairs():
    rng = np.random.default_rng(1)
    gain, reaction = 0.06, 0.12
    two = Pair(reaction**2, 2 * 0.24)  # differences of two points at +-.12 around the gain, chances near 1/2
    problems = needed_for_pair(two, gain, 30, 8).problems
    seen = 0
    for _ in range(400):
        difference = gain + reaction * rng.choice([-1, 1], problems)
        before, after = rng.binomial(8, [0.5 - difference / 2, 0.5 + difference / 2]) / 8
        seen += difference_interval(after - before).low > 0
    assert seen / 400 == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("these", [True, False])
def test_what_is_said_to_be_enough_is_for_studies(these):
    rng = np.random.default_rng(2)
    gain, spread, reaction, problems = 0.04, 0.02, 0.1, 150
    study = TwoArms(Pair(reaction**2, 2 * 0.25), spread)
    seeds = needed_for_study(study, gain, 4, problems, 8, these=these).seeds
    computed = seen_in_study(study, gain, seeds, problems, 8, these=these)
    assert computed >= 0.8
    interval, seen = over_seeds if these else two_way, 0
    for _ in range(300):
        react = rng.choice([-1, 1], problems) * reaction
        react -= these * react.mean()  # on these problems the gain is what it is
        chances = 0.5 + np.array([[-0.5], [0.5]]) * (gain + react)  # (arms, problems)
        found = rng.binomial(8, chances[:, None] + rng.normal(0, spread, (2, seeds, 1))) / 8
        seen += interval(*found).low > 0
    assert seen / 300 == pytest.approx(computed, abs=0.06)


def test_counts_come_from_either_file(tmp_path):
    rows = [
        Sample("aime", "a", "math", 0, Outcome.CORRECT),
        Sample("aime", "a", "math", 1, Outcome.INCORRECT),
        Sample("aime", "a", "math", 2, Outcome.UNSCORABLE),
        Sample("aime", "b", "math", 0, Outcome.UNSCORABLE),
    ]
    whole, older = tmp_path / "whole", tmp_path / "older"
    whole.mkdir()
    older.mkdir()
    write_samples(whole / "samples.jsonl", rows)
    write_results(older / "problems.jsonl", [ProblemResult("a", "aime", "math", None, 3, 2, 1, 0, 9)])
    assert counts_of(whole) == counts_of(older) == {("aime", "math"): {"a": (1, 2)}}
    with pytest.raises(UsageError, match="no finished evaluation"):
        counts_of(tmp_path / "whole" / "..")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: variation(counts([1, 0], 1)), "0 problems with 2 scorable samples"),
        (lambda: variation({}), "0 problems"),
        (lambda: variation(counts([1])), "1 problems"),
        (lambda: pair(counts([1, 2]), {"other": (1, 2)}), "0 problems"),
        (lambda: pair(counts([1, 2]), counts([1, 0], 1)), "0 problems"),
        (lambda: variation_of(1.0, 0.5), "below 1"),
        (lambda: variation_of(0.5, 1.5), "from 0 to 1"),
        (lambda: pair_of(CONTEST, 2.0), "from -1 to 1"),
    ],
)
def test_what_says_nothing_is_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        wrong()


def test_nothing_moves_and_nothing_varies():
    assert seen_in_pairs(Pair(0.0, 0.0), 0.1, 30, 8) == 1.0
    assert seen_in_pairs(Pair(0.0, 0.0), 0.001, 5, 8) == 0.0, "the pseudo-pair has a width"
    assert seen_in_study(TwoArms(Pair(0.0, 0.0), 0.0), 0.1, 2, 30, math.inf) == 1.0
