"""From judged groups to updates: which rollouts are in a loss, with what advantage, in which mini-batch."""

import math

import numpy as np
import pytest

from openklear.recipe.schema import Phase
from openklear.training.rl import _updates, _with_old_logprobs
from openklear.types import Completion, Outcome, Problem, Reward, Rollout, RolloutGroup, StopReason, Verdict


def problem(name):
    return Problem(name, ({"role": "user", "content": name},), "math", answer="1")


def group(name, *cells):
    """A group from (reward or None for unscorable, completion length, stopped by length)."""
    rollouts = []
    for index, (reward, length, cut) in enumerate(cells):
        outcome = Outcome.UNSCORABLE if reward is None else Outcome.CORRECT if reward == 1 else Outcome.INCORRECT
        completion = Completion(
            np.arange(length, dtype=np.int32),
            np.full(length, -0.5, np.float32),
            StopReason.LENGTH if cut else StopReason.STOP,
        )
        value = math.nan if reward is None else reward
        rollouts.append(
            Rollout(
                problem(name), index, np.array([7, 8], np.int32), completion, "", Verdict(outcome), Reward(value), 0
            )
        )
    return RolloutGroup(problem(name), tuple(rollouts))


def phase(**keys):
    return Phase(name="math", domains=("math",), **keys)


def short(*rewards):
    return [(r, 3, False) for r in rewards]


def test_advantages_are_those_of_eq_4():
    ((a, b, c, d),) = _updates(phase(), [group("p", *short(1.0, 0.0, 0.0, 0.0))])
    assert a.advantage == pytest.approx(0.75 / math.sqrt(0.1875))
    assert [b.advantage, c.advantage, d.advantage] == pytest.approx([-0.25 / math.sqrt(0.1875)] * 3)
    assert [s.correct for s in (a, b, c, d)] == [True, False, False, False]
    assert a.ids.tolist() == [7, 8, 0, 1, 2]
    assert a.loss_mask.tolist() == [False, False, True, True, True]


def test_groups_without_advantage_leave_unless_told_otherwise():
    groups = [group("a", *short(1.0, 1.0)), group("b", *short(1.0, 0.0)), group("c", *short(0.0, 0.0))]
    (update,) = _updates(phase(), groups)
    assert {s.group for s in update} == {1}
    (everything,) = _updates(phase(filter_zero_advantage=False), groups)
    assert {s.group for s in everything} == {0, 1, 2}
    assert all(s.advantage == 0 for s in everything if s.group != 1)


def test_unscorable_rollouts_leave_before_the_mean_is_taken():
    ((a, b),) = _updates(phase(), [group("p", *short(1.0, None, 0.0))])
    assert [a.advantage, b.advantage] == [1.0, -1.0]
    assert [a.sample, b.sample] == [0, 2]
    assert _updates(phase(), [group("p", *short(1.0, None))]) == []


def test_masked_overlong_rollouts_are_in_no_mean_and_no_loss():
    cells = [(1.0, 3, False), (0.0, 3, False), (0.0, 3, True), (0.0, 3, True)]
    ((a, b),) = _updates(phase(overlong="mask"), [group("p", *cells)])
    assert [a.advantage, b.advantage] == [1.0, -1.0]
    ((first, *rest),) = _updates(phase(overlong="incorrect"), [group("p", *cells)])
    assert len(rest) == 3
    assert first.advantage == pytest.approx(0.75 / math.sqrt(0.1875))


@pytest.mark.parametrize(("kept", "size", "expected"), [(5, 2, [2, 2, 1]), (4, 2, [2, 2]), (1, 2, [1]), (0, 2, [])])
def test_kept_groups_make_ceil_updates_and_no_group_is_split(kept, size, expected):
    groups = [group(f"p{i}", *short(1.0, 0.0)) for i in range(kept)] + [group("same", *short(1.0, 1.0))]
    updates = _updates(phase(problems_per_update=size), groups)
    assert [len({s.group for s in update}) for update in updates] == expected
    assert all(len(update) == 2 * n for update, n in zip(updates, expected, strict=True))


def test_old_logprobs_are_taken_a_mini_batch_at_a_time_before_any_update():
    calls = []

    class Learner:
        def old_logprobs(self, sequences):
            calls.append(len(sequences))
            return [np.full(len(s.ids), -1.0, np.float32) for s in sequences]

    updates = _updates(phase(problems_per_update=1), [group(f"p{i}", *short(1.0, 0.0)) for i in range(3)])
    found = _with_old_logprobs(Learner(), updates)
    assert calls == [2, 2, 2]
    assert all((s.old_logprobs == -1.0).all() for update in found for s in update)
