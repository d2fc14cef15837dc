"""How old tokens are, and which of them say whether sampler and trainer agree: by hand."""

import math

import numpy as np
import pytest

from openklear.training.staleness import carried_metrics, fresh, staleness
from openklear.training.step import PolicySequence
from openklear.types import Completion, Outcome, Problem, Reward, Rollout, RolloutGroup, StopReason, Verdict

PROBLEM = Problem("p", ({"role": "user", "content": "p"},), "math", answer="1")


def rollout(sample, versions, policy_version):
    tokens = len(versions) if versions is not None else 2
    drawn = Completion(
        np.arange(tokens, dtype=np.int32),
        np.full(tokens, -1.0, np.float32),
        StopReason.STOP,
        None if versions is None else np.array(versions, np.int32),
    )
    prompt = np.array([7], np.int32)
    return Rollout(PROBLEM, sample, prompt, drawn, "", Verdict(Outcome.CORRECT), Reward(1.0), policy_version)


GROUPS = [
    RolloutGroup(PROBLEM, (rollout(0, [2, 2, 4, 5], 5), rollout(1, None, 5))),
    RolloutGroup(PROBLEM, (rollout(4, None, 3),)),
]


def sequence(group, sample, old):
    """One prompt token, then those whose old log-probabilities are given; the sampler's were -1."""
    mask = np.array([False, *[True] * len(old)])
    sampled = np.where(mask, -1.0, 0.0).astype(np.float32)
    values = np.array([0.0, *old], np.float32)
    return PolicySequence(
        np.zeros(len(mask), np.int32), mask, values, 1.0, True, group, sample, rollout_logprobs=sampled
    )


def test_staleness_counts_iterations_since_the_weights_of_a_token():
    found = staleness(GROUPS, 5)
    assert {key: ages.tolist() for key, ages in found.items()} == {(0, 0): [3, 3, 1, 0], (0, 1): [0, 0], (1, 4): [2, 2]}


def test_fresh_tokens_are_compared_and_carried_ones_apart():
    stale = staleness(GROUPS, 5)
    updates = [[sequence(0, 0, [-1.5, -1.5, -1.5, -1.0])], [sequence(0, 1, [-1.0, -1.0]), sequence(1, 4, [-0.5, -1.0])]]
    (kept,) = fresh(updates, stale)
    assert [one.loss_mask.tolist() for one in kept] == [[False] * 4 + [True], [False, True, True]]
    assert updates[0][0].loss_mask.sum() == 4, "what is trained on stays whole"
    row = carried_metrics(updates, stale)
    assert (row["carried_tokens"], row["staleness_mean"], row["staleness_max"]) == (5 / 8, 11 / 8, 3)
    moves = [-0.5, -0.5, -0.5, 0.5, 0.0]  # of the five carried tokens
    assert row["carried_k3"] == pytest.approx(sum(math.expm1(m) - m for m in moves) / 5, rel=1e-6)
    weights = [math.exp(m) for m in moves]
    assert row["carried_ess"] == pytest.approx(sum(weights) ** 2 / (5 * sum(w * w for w in weights)), rel=1e-6)


def test_where_nothing_is_carried_nothing_is_compared():
    stale = staleness(GROUPS[:1], 5) | {(0, 0): np.zeros(4, np.int32)}
    row = carried_metrics([[sequence(0, 1, [-1.0, -1.0])]], stale)
    assert row == {"carried_tokens": 0.0, "staleness_mean": 0.0, "staleness_max": 0.0}
    assert fresh([[sequence(0, 0, [-1.0] * 4)]], {(0, 0): np.ones(4, np.int32)}) == []
    assert carried_metrics([], {}) == row
