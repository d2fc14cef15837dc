"""Five estimators by hand, and their invariants."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from openklear.objectives.advantages import ADVANTAGES, batch_std, grpo, leave_one_out, length_weighted, mean_only

every = pytest.mark.parametrize("name", ADVANTAGES)


def vectors(*groups):
    return [torch.tensor(group, dtype=torch.float64) for group in groups]


def lengths_of(rewards):
    return [torch.arange(1, len(group) + 1) for group in rewards]


def one(estimate, rewards, **numbers):
    """Of a single group."""
    groups = vectors(rewards)
    (found,) = estimate(groups, lengths_of(groups), **numbers)
    return found


def close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=tolerance, atol=1e-15)


def test_grpo_by_hand():
    # mean 1/4, variance (9/16 + 3 * 1/16) / 4 = 3/16: one right answer of four gets sqrt 3, the wrong ones -1/sqrt 3.
    close(one(grpo, [1, 0, 0, 0]), [3**0.5, *[-(3**-0.5)] * 3])
    # Population, not sample, deviation: two rewards lie exactly one deviation from their mean.
    close(one(grpo, [0.2, 0.7]), [-1, 1])


def test_mean_only_by_hand():
    close(one(mean_only, [1, 0, 0, 0]), [0.75, -0.25, -0.25, -0.25])


def test_leave_one_out_by_hand():
    close(one(leave_one_out, [1, 0, 0, 0]), [1, -1 / 3, -1 / 3, -1 / 3])
    close(one(leave_one_out, [0.5, 1.0, 0.0]), [0, 0.75, -0.75])


def test_batch_std_by_hand():
    rewards = vectors([1, 0], [1, 1], [0, 0, 1, 0])
    # Eight rewards, four of them 1: mean 1/2, population deviation 1/2.
    found = batch_std(rewards, lengths_of(rewards))
    for values, expected in zip(found, ([1, -1], [0, 0], [-0.5, -0.5, 1.5, -0.5]), strict=True):
        close(values, expected)
    close(batch_std(rewards, lengths_of(rewards), std_floor=2.0)[0], [0.25, -0.25])
    assert not any(values.any() for values in batch_std(vectors([1, 1], [1]), [torch.ones(2), torch.ones(1)]))


def test_length_weighted_by_hand():
    (found,) = length_weighted(vectors([1, 0, 1]), [torch.tensor([10, 60, 30])])
    close(found, [0.6, -0.4, 0.6])  # baseline (10 + 30) / 100
    with pytest.raises(ValueError, match="lengths must be positive"):
        length_weighted(vectors([1, 0]), [torch.tensor([3, 0])])


@every
@pytest.mark.parametrize("rewards", [[0.1] * 3, [0.1] * 8, [1 / 3] * 7, [-0.5], [1.0], []])
def test_alike_or_alone_is_exactly_zero(name, rewards):
    found = one(ADVANTAGES[name], rewards)
    assert found.shape == (len(rewards),)
    assert not found.any()
    mixed = vectors(rewards, [0.0, 1.0])  # beside a group that differs
    assert not ADVANTAGES[name](mixed, lengths_of(mixed))[0].any()


@every
def test_no_groups_no_advantages(name):
    assert ADVANTAGES[name]([], []) == []


def test_floor_holds_near_ties_back():
    close(one(grpo, [0.99, 1.0]), [-1, 1], 1e-9)  # as published: one sigma each
    close(one(grpo, [0.99, 1.0], std_floor=0.05), [-0.1, 0.1], 1e-9)
    assert torch.equal(one(grpo, [0, 1], std_floor=0.05), one(grpo, [0, 1]))


@every
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_unscorable_rewards_are_refused(name, bad):
    with pytest.raises(ValueError, match="unscorable rollouts leave their group first"):
        one(ADVANTAGES[name], [1.0, bad])


@every
def test_matrices_are_refused(name):
    with pytest.raises(ValueError, match="one group"):
        ADVANTAGES[name]([torch.ones(2, 2)], [torch.ones(2, 2)])


@every
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    rewards=st.lists(st.integers(-8, 8).map(lambda n: n / 8), min_size=2, max_size=16),
    shift=st.floats(-5, 5),
    random=st.randoms(use_true_random=False),
)
def test_invariants(name, rewards, shift, random):
    """The order of rewards is kept, a shift of all changes nothing, a permutation permutes."""
    assume(len(set(rewards)) > 1)
    estimate = ADVANTAGES[name]
    found = one(estimate, rewards)
    ranks = torch.tensor(rewards, dtype=torch.float64)
    assert ((ranks[:, None] < ranks) == (found[:, None] < found)).all()
    torch.testing.assert_close(one(estimate, [r + shift for r in rewards]), found, rtol=1e-9, atol=1e-9)
    order = list(range(len(rewards)))
    random.shuffle(order)
    (shuffled,) = estimate(vectors([rewards[i] for i in order]), [torch.tensor([i + 1 for i in order])])
    torch.testing.assert_close(shuffled, found[order], rtol=1e-12, atol=1e-12)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(-8, 8).map(lambda n: n / 8), min_size=2, max_size=16), st.floats(0.1, 10))
def test_means_and_scales(rewards, scale):
    assume(len(set(rewards)) > 1)
    found = one(grpo, rewards)
    assert float(found.mean()) == pytest.approx(0, abs=1e-12)
    assert float(found.std(correction=0)) == pytest.approx(1, rel=1e-12)
    torch.testing.assert_close(one(grpo, [r * scale for r in rewards]), found, rtol=1e-9, atol=1e-9)
    for estimate in (mean_only, leave_one_out):
        assert float(one(estimate, rewards).mean()) == pytest.approx(0, abs=1e-12)
    count = len(rewards)
    slow = [r - (sum(rewards) - r) / (count - 1) for r in rewards]
    close(one(leave_one_out, rewards), slow, 1e-9)
