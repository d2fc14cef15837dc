"""Eq. 4 by hand and its invariants."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from openklear.objectives.advantages import group_advantages


def test_by_hand():
    # mean 1/4, variance (9/16 + 3 * 1/16) / 4 = 3/16: one right answer of four gets sqrt 3, the wrong ones -1/sqrt 3.
    np.testing.assert_allclose(group_advantages([1, 0, 0, 0]), [3**0.5, *[-(3**-0.5)] * 3], rtol=1e-15)
    # Population, not sample, deviation: two rewards lie exactly one deviation from their mean.
    np.testing.assert_allclose(group_advantages([0.2, 0.7]), [-1, 1], rtol=1e-12)


@pytest.mark.parametrize("rewards", [[0.1] * 3, [0.1] * 8, [1 / 3] * 7, [-0.5], [1.0], []])
def test_alike_or_alone_is_exactly_zero(rewards):
    found = group_advantages(rewards)
    assert found.shape == (len(rewards),)
    assert not found.any()


def test_floor_holds_near_ties_back():
    near = [0.99, 1.0]
    np.testing.assert_allclose(group_advantages(near), [-1, 1], rtol=1e-9)  # as published: one sigma each
    np.testing.assert_allclose(group_advantages(near, std_floor=0.05), [-0.1, 0.1], rtol=1e-9)
    np.testing.assert_array_equal(group_advantages([0, 1], std_floor=0.05), group_advantages([0, 1]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_unscorable_rewards_are_refused(bad):
    with pytest.raises(ValueError, match="unscorable rollouts leave their group first"):
        group_advantages([1.0, bad])


def test_two_groups_at_once_are_refused():
    with pytest.raises(ValueError, match="one group"):
        group_advantages([[1.0, 0.0], [0.0, 1.0]])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(-8, 8).map(lambda n: n / 8), min_size=2, max_size=16),
    st.floats(0.1, 10),
    st.floats(-5, 5),
    st.randoms(use_true_random=False),
)
def test_invariants(rewards, scale, shift, random):
    assume(len(set(rewards)) > 1)
    found = group_advantages(rewards)
    assert found.mean() == pytest.approx(0, abs=1e-12)
    assert found.std() == pytest.approx(1, rel=1e-12)
    assert (np.argsort(found, kind="stable") == np.argsort(rewards, kind="stable")).all()
    np.testing.assert_allclose(group_advantages(np.array(rewards) * scale + shift), found, rtol=1e-9, atol=1e-9)
    order = list(range(len(rewards)))
    random.shuffle(order)
    np.testing.assert_allclose(group_advantages([rewards[i] for i in order]), found[order], rtol=1e-12, atol=1e-12)
