"""What an iteration shows: hand-counted groups, and alarms that ring and stay silent."""

import math

import numpy as np
import pytest

from openklear.training.metrics import alarms, group_shares, mean_over_updates, rollout_metrics
from openklear.types import (
    Completion,
    FormatFault,
    Outcome,
    Problem,
    Reward,
    Rollout,
    RolloutGroup,
    StopReason,
    Verdict,
)

PROBLEM = Problem("p", ({"role": "user", "content": "1+1"},), "math", answer="2")


def rollout(outcome, reward, length=4, stop=StopReason.STOP, formed=True):
    completion = Completion(np.zeros(length, np.int32), np.zeros(length, np.float32), stop)
    verdict = Verdict(outcome, format_fault=FormatFault.NONE if formed else FormatFault.NOT_CLOSED)
    return Rollout(PROBLEM, 0, np.zeros(2, np.int32), completion, "", verdict, Reward(reward), 0)


def group(*rollouts):
    return RolloutGroup(PROBLEM, rollouts)


RIGHT = rollout(Outcome.CORRECT, 1.0, length=6)
WRONG = rollout(Outcome.INCORRECT, 0.0, length=2)
LOST = rollout(Outcome.UNSCORABLE, math.nan)


def test_rewards_of_unscorable_rollouts_are_in_no_mean():
    row = rollout_metrics([group(RIGHT, WRONG, LOST)])
    assert row["reward"] == 0.5
    assert row["accuracy"] == 0.5
    assert row["unscorable"] == pytest.approx(1 / 3)
    assert (row["length_correct"], row["length_wrong"]) == (6.0, 2.0)
    assert all(math.isfinite(v) for v in row.values())


def test_groups_without_advantage_are_split_by_cause():
    half = rollout(Outcome.INCORRECT, 0.5)
    shares = group_shares([group(RIGHT, RIGHT), group(WRONG, LOST, WRONG), group(half, half), group(RIGHT, WRONG)])
    assert shares == {
        "zero_advantage_all_right": 0.25,
        "zero_advantage_all_wrong": 0.25,
        "zero_advantage_all_alike": 0.25,
        "zero_advantage": 0.75,
    }


def test_updates_of_an_iteration_become_one_row():
    merged = mean_over_updates([{"loss": 1.0, "bins": [1.0, 2.0]}, {"loss": 3.0, "bins": [10.0, 20.0]}])
    assert merged == {"loss": 2.0, "bins": [11.0, 22.0]}
    assert mean_over_updates([]) == {}


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ({"no_eos": 0.06}, "stopped by length"),
        ({"zero_advantage": 0.61}, "without advantage"),
        ({"unscorable": 0.06}, "could not be graded"),
        ({"gap_ratio": 1.03}, "sampler and trainer"),
        ({"entropy": 0.29}, "entropy"),
        ({"entropy": 2.1}, "entropy"),
        ({"grad_norm": 5.1}, "gradient norm"),
    ],
)
def test_an_alarm_rings_above_its_limit_and_not_at_it(row, word):
    history = [{"entropy": 1.0, "grad_norm": 1.0}] * 6
    assert [word in text for text in alarms(row, history)] == [True]
    quiet = {
        "no_eos": 0.05,
        "zero_advantage": 0.6,
        "unscorable": 0.05,
        "gap_ratio": 1.02,
        "entropy": 1.0,
        "grad_norm": 5,
    }
    assert alarms(quiet, history) == []
