"""From judged groups to updates: which rollouts are in a loss, with what advantage, in which mini-batch."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from openklear.errors import RunError
from openklear.models.loading import LoadedModel
from openklear.models.tiny import make_tiny
from openklear.recipe.objectives import BatchStd, EntropyGate, Grpo, LengthWeighted, MeanOnly, NoGate, Truncate
from openklear.recipe.schema import AdamW, Phase
from openklear.training.learner import LocalLearner, takes_sampled
from openklear.training.metrics import gap_alarms, gap_metrics, refuse_gap
from openklear.training.optimizer import build_optimizer
from openklear.training.step import policy_gradient, reference_logprobs
from openklear.training.updates import recorded, restored, updates_of
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
    ((a, b, c, d),) = updates_of([group("p", *short(1.0, 0.0, 0.0, 0.0))], phase())
    assert a.advantage == pytest.approx(0.75 / math.sqrt(0.1875))
    assert [b.advantage, c.advantage, d.advantage] == pytest.approx([-0.25 / math.sqrt(0.1875)] * 3)
    assert [s.correct for s in (a, b, c, d)] == [True, False, False, False]
    assert a.ids.tolist() == [7, 8, 0, 1, 2]
    assert a.loss_mask.tolist() == [False, False, True, True, True]


def test_groups_without_advantage_leave_unless_told_otherwise():
    groups = [group("a", *short(1.0, 1.0)), group("b", *short(1.0, 0.0)), group("c", *short(0.0, 0.0))]
    (update,) = updates_of(groups, phase())
    assert {s.group for s in update} == {1}
    (everything,) = updates_of(groups, phase(filter_zero_advantage=False))
    assert {s.group for s in everything} == {0, 1, 2}
    assert all(s.advantage == 0 for s in everything if s.group != 1)


def test_uncounted_groups_stay_in_their_mini_batch():
    groups = [group("a", *short(1.0, 1.0)), group("b", *short(1.0, 0.0)), group("c", *short(0.0, 0.0))]
    (update,) = updates_of(groups, phase(filter_zero_advantage="uncounted"))
    assert {s.group: s.counted for s in update} == {0: False, 1: True, 2: False}


def test_unscorable_rollouts_leave_before_the_mean_is_taken():
    ((a, b),) = updates_of([group("p", *short(1.0, None, 0.0))], phase())
    assert [a.advantage, b.advantage] == [1.0, -1.0]
    assert [a.sample, b.sample] == [0, 2]
    assert updates_of([group("p", *short(1.0, None))], phase()) == []


def test_masked_overlong_rollouts_are_in_no_mean_and_no_loss():
    cells = [(1.0, 3, False), (0.0, 3, False), (0.0, 3, True), (0.0, 3, True)]
    ((a, b),) = updates_of([group("p", *cells)], phase(overlong="mask"))
    assert [a.advantage, b.advantage] == [1.0, -1.0]
    ((first, *rest),) = updates_of([group("p", *cells)], phase(overlong="incorrect"))
    assert len(rest) == 3
    assert first.advantage == pytest.approx(0.75 / math.sqrt(0.1875))


@pytest.mark.parametrize(("kept", "size", "expected"), [(5, 2, [2, 2, 1]), (4, 2, [2, 2]), (1, 2, [1]), (0, 2, [])])
def test_kept_groups_make_ceil_updates_and_no_group_is_split(kept, size, expected):
    groups = [group(f"p{i}", *short(1.0, 0.0)) for i in range(kept)] + [group("same", *short(1.0, 1.0))]
    updates = updates_of(groups, phase(problems_per_update=size))
    assert [len({s.group for s in update}) for update in updates] == expected
    assert all(len(update) == 2 * n for update, n in zip(updates, expected, strict=True))


@pytest.mark.parametrize(
    ("advantage", "expected"),
    [
        (MeanOnly(), [[0.75, -0.25, -0.25, -0.25], [0.5, -0.5]]),
        (LengthWeighted(), [[0.5, -0.5, -0.5, -0.5], [0.5, -0.5]]),  # 3 of 6 tokens are the right answer's
        # The batch's six rewards hold two 1s: variance 1/3 * 2/3.
        (BatchStd(), [[x / math.sqrt(2 / 9) for x in (0.75, -0.25, -0.25, -0.25)], [x / math.sqrt(2 / 9) for x in (0.5, -0.5)]]),
        (Grpo(std_floor=2.0), [[0.375, -0.125, -0.125, -0.125], [0.25, -0.25]]),
    ],
)  # fmt: skip
def test_the_phase_chooses_the_estimator(advantage, expected):
    cells = [(1.0, 3, False), (0.0, 1, False), (0.0, 1, False), (0.0, 1, False)]
    (update,) = updates_of([group("p", *cells), group("q", *short(1.0, 0.0))], phase(advantage=advantage))
    for number, wanted in enumerate(expected):
        assert [s.advantage for s in update if s.group == number] == pytest.approx(wanted)


def test_the_learner_takes_old_logprobs_and_entropies_before_any_update():
    """From a pass of its own; entropies only where a gate will look at them."""
    tiny = make_tiny(16, 1, 2, 64, seed=1)
    loaded = LoadedModel(tiny.model, tiny.tokenizer, frozenset())
    (update,) = updates_of([group("p", *short(1.0, 0.0))], phase())
    logprobs, entropies = reference_logprobs(tiny.model, update, [[(0, 1)]], 1.0, entropy=True)
    for gate in (NoGate(), EntropyGate()):
        learner = LocalLearner(loaded, None, phase(entropy_gate=gate), 1000)
        found = learner.with_old(update)
        for one, old, entropy in zip(found, logprobs, entropies, strict=True):
            np.testing.assert_array_equal(one.old_logprobs, old)
            assert (one.old_entropies is None) is isinstance(gate, NoGate)
            if isinstance(gate, EntropyGate):
                np.testing.assert_array_equal(one.old_entropies, entropy)
                assert one.old_entropies.max() > 1


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_first_update_needs_no_pass_of_its_own(temperature):
    """The same weights and figures, bit for bit, as with old log-probabilities taken before."""
    settings = phase(entropy_gate=EntropyGate(), temperature=temperature)
    (update,) = updates_of([group("p", *short(1.0, 0.0)), group("q", *short(0.0, 1.0, 1.0))], settings)
    found = []
    for before in (True, False):
        tiny = make_tiny(16, 1, 2, 64, seed=1)
        loaded = LoadedModel(tiny.model, tiny.tokenizer, frozenset())
        learner = LocalLearner(loaded, build_optimizer(tiny.model, AdamW()), settings, 12)
        metrics, done = learner.update(learner.with_old(update) if before else update, 0.01)
        weights = torch.cat([p.detach().ravel() for p in tiny.model.parameters()])
        found.append((metrics, weights, [(s.old_logprobs, s.old_entropies) for s in done]))
    (metrics, weights, old), (same, moved, own) = found
    assert same == metrics
    assert torch.equal(moved, weights)
    for one, other in zip(old, own, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_a_check_that_fails_leaves_the_weights():
    (update,) = updates_of([group("p", *short(1.0, 0.0))], phase())  # sampled at -0.5 a token, which is far off
    tiny = make_tiny(16, 1, 2, 64, seed=1)
    before = [p.detach().clone() for p in tiny.model.parameters()]
    loaded = LoadedModel(tiny.model, tiny.tokenizer, frozenset())
    learner = LocalLearner(loaded, build_optimizer(tiny.model, AdamW()), phase(), 1000)
    with pytest.raises(RunError, match="do not compute the same model"):
        learner.update(update, 0.01, lambda made: refuse_gap(gap_metrics([made])))
    assert all(torch.equal(a, b) for a, b in zip(before, tiny.model.parameters(), strict=True))


def test_the_samplers_logprobs_stand_for_the_old_ones_where_they_serve():
    (update,) = updates_of([group("p", *short(1.0, 0.0))], phase())
    learner = LocalLearner(None, None, phase(), 1000, takes_sampled=True)
    for before, after in zip(update, learner.with_old(update), strict=True):
        np.testing.assert_array_equal(after.old_logprobs, before.rollout_logprobs)


@pytest.mark.parametrize(
    ("more", "exact", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"old_logprobs": "trainer"}, True, False),
        ({"old_logprobs": "sampler"}, False, True),
        ({"entropy_gate": EntropyGate()}, True, False),
        ({"correction": Truncate()}, True, False),
    ],
)
def test_whose_old_logprobs(more, exact, expected):
    assert takes_sampled(phase(**more), exact=exact) is expected


def test_groups_without_advantage_come_in_micro_batches_of_their_own():
    """So that they need no backward pass; and the gradient is the same."""
    groups = [group("a", *short(1.0, 1.0)), group("b", (1.0, 3, False), (0.0, 2, False)), group("c", *short(0.0, 0.0))]
    settings = phase(filter_zero_advantage=False, sft_loss_weight=0.0)
    (update,) = updates_of(groups, settings)
    tiny = make_tiny(16, 1, 2, 64, seed=1)
    learner = LocalLearner(
        LoadedModel(tiny.model, tiny.tokenizer, frozenset()), build_optimizer(tiny.model, AdamW()), settings, 1000
    )
    went = []
    tiny.model.model.norm.weight.register_hook(lambda _: went.append(1))
    found, _ = learner.update(update, 0.0)
    assert len(went) == 1
    tiny.model.zero_grad()
    expected = policy_gradient(tiny.model, update, [list(range(6))], settings)
    assert len(went) == 2
    assert found["entropy"] == pytest.approx(expected["entropy"])
    assert found["grad_norm"] == pytest.approx(
        float(sum(p.grad.square().sum() for p in tiny.model.parameters())) ** 0.5
    )


def test_the_gap_is_between_the_trainer_and_the_sampler():
    (update,) = updates_of([group("p", *short(1.0, 0.0))], phase())  # sampled at -0.5 a token
    near = [replace(s, old_logprobs=np.where(s.loss_mask, -0.4, 0).astype(np.float32)) for s in update]
    found = gap_metrics([near])
    assert found == pytest.approx(
        {"gap_ratio": math.exp(0.1), "gap_k3": math.expm1(0.1) - 0.1, "gap_ess": 1.0, "gap_max": 0.1}, rel=1e-5
    )
    assert gap_metrics([]) == {}
    assert [text.split(":")[0] for text in gap_alarms(found)] == ["sampler and trainer differ"] * 2
    assert gap_alarms({"gap_ratio": 1.01, "gap_k3": 1e-4, "gap_ess": 0.9}) == []
    assert gap_alarms({"gap_max": 2e-4}) == gap_alarms({"gap_max": 9e-5}, float32=True) == []
    assert "by up to 0.0002 nats" in gap_alarms({"gap_max": 2e-4}, float32=True)[0]
    assert "29%" in gap_alarms({"gap_ess": 0.29})[0]
    refuse_gap(found)
    with pytest.raises(RunError, match="do not compute the same model"):
        refuse_gap({"gap_k3": 0.011})


def test_recorded_updates_are_restored():
    """What is written beside the rollouts gives the update back, by group and sample, holes and entropies included."""
    ((a, b),) = updates_of([group("p", (1.0, 3, False), (None, 3, False), (0.0, 2, False))], phase())
    old = [np.where(s.loss_mask, -np.arange(len(s.ids)), 0).astype(np.float32) for s in (a, b)]
    trained = [replace(a, old_logprobs=old[0], old_entropies=-old[0]), replace(b, old_logprobs=old[1])]
    kept = recorded([trained])
    assert {key: one.old_logprobs.tolist() for key, one in kept.items()} == {(0, 0): [-2, -3, -4], (0, 2): [-2, -3]}
    again = restored([a, b], kept)
    for before, after in zip(trained, again, strict=True):
        np.testing.assert_array_equal(after.old_logprobs, before.old_logprobs)
        assert after.advantage == before.advantage
    np.testing.assert_array_equal(again[0].old_entropies, -old[0])
    assert again[1].old_entropies is None
