"""The law of house rule 2 and losses.md: one optimizer step has one gradient, however its tokens are laid out.

Every check runs on the real model with ragged masks, unequal groups and the joint loss on. A per-micro-batch mean,
written below, must fail the same check, or the check proves nothing.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.training.step_cases import AGGREGATIONS, OBJECTIVES, distance, flat_gradient, gradient, rollouts, tiny_model

from openklear.models.batching import plan_microbatches
from openklear.objectives.policy import gppo
from openklear.training.step import reference_logprobs, supervised_gradient

TOLERANCE = 1e-6
COUNT = 12
WHOLE = [list(range(COUNT))]
SPLITS = {
    "one by one": [[i] for i in range(COUNT)],
    "unequal": [[11], [0, 3, 5, 7, 9], [1, 2], [4, 6, 8, 10]],
    "backwards": [list(range(COUNT))[::-1][i : i + 5] for i in range(0, COUNT, 5)],
}

every_loss = pytest.mark.parametrize(
    ("objective", "aggregation"),
    [pytest.param(o, a, id=f"{o.type}-{a}") for o in OBJECTIVES for a in AGGREGATIONS],
)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def sequences(model):
    return rollouts(model, COUNT)


@every_loss
def test_split_into_microbatches(model, sequences, objective, aggregation):
    expected, metrics = gradient(model, sequences, WHOLE, objective, aggregation)
    for name, split in SPLITS.items():
        found, same = gradient(model, sequences, split, objective, aggregation)
        assert distance(expected, found) <= TOLERANCE, name
        assert same["loss"] == pytest.approx(metrics["loss"], rel=1e-5, abs=1e-6), name


@every_loss
def test_padding(model, sequences, objective, aggregation):
    """Tokens to the right of a sequence that no loss looks at: what a longer neighbour in the micro-batch does to it."""
    expected, _ = gradient(model, sequences, WHOLE, objective, aggregation)
    padded = [pad(s, extra) for s, extra in zip(sequences, (0, 7, 1, 13, 0, 2, 5, 0, 20, 3, 1, 0), strict=True)]
    found, _ = gradient(model, padded, SPLITS["unequal"], objective, aggregation)
    assert distance(expected, found) <= TOLERANCE


@every_loss
def test_order_of_rollouts(model, sequences, objective, aggregation):
    expected, _ = gradient(model, sequences, WHOLE, objective, aggregation)
    order = np.random.default_rng(1).permutation(COUNT)
    found, _ = gradient(model, [sequences[i] for i in order], SPLITS["unequal"], objective, aggregation)
    assert distance(expected, found) <= TOLERANCE


@settings(max_examples=25, deadline=None, derandomize=True)
@given(order=st.permutations(range(COUNT)), cuts=st.sets(st.integers(1, COUNT - 1)), which=st.integers(0, 11))
def test_any_split_of_any_order(model, sequences, order, cuts, which):
    objective, aggregation = OBJECTIVES[which % 4], AGGREGATIONS[which % 3]
    split = [order[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), COUNT], strict=True)]
    expected, _ = gradient(model, sequences, WHOLE, objective, aggregation)
    assert distance(expected, gradient(model, sequences, split, objective, aggregation)[0]) <= TOLERANCE


def test_names_of_groups_do_not_matter(model, sequences):
    expected, _ = gradient(model, sequences, WHOLE, aggregation="group_token_mean")
    renamed = [replace(s, group=1000 - 7 * s.group) for s in sequences]
    assert torch.equal(gradient(model, renamed, WHOLE, aggregation="group_token_mean")[0], expected)


def test_the_three_aggregations_are_three(model, sequences):
    """Ragged data must tell them apart, or the laws above would hold for a mix-up too."""
    found = [gradient(model, sequences, WHOLE, aggregation=a, sft_loss_weight=0.0)[0] for a in AGGREGATIONS]
    assert min(distance(found[0], found[1]), distance(found[0], found[2]), distance(found[1], found[2])) > 0.05


@pytest.mark.parametrize("split", SPLITS)
def test_a_local_mean_breaks_the_law(model, sequences, split):
    """What many trainers do: a mean over each micro-batch, then over micro-batches. The check above must see it."""
    expected = local_mean_gradient(model, sequences, WHOLE)
    assert (
        distance(gradient(model, sequences, WHOLE, sft_loss_weight=0.0)[0], expected) <= TOLERANCE
    )  # one batch: equal
    assert distance(expected, local_mean_gradient(model, sequences, SPLITS[split])) > 1e4 * TOLERANCE


@pytest.mark.parametrize("split", SPLITS)
def test_supervised_split(model, sequences, split):
    expected, loss = supervised(model, sequences, WHOLE)
    found, same = supervised(model, sequences, SPLITS[split])
    assert distance(expected, found) <= TOLERANCE
    assert same == pytest.approx(loss, rel=1e-6)


def test_supervised_padding_and_order(model, sequences):
    expected, _ = supervised(model, sequences, WHOLE)
    shuffled = [pad(sequences[i], int(i)) for i in np.random.default_rng(2).permutation(COUNT)]
    assert distance(expected, supervised(model, shuffled, SPLITS["unequal"])[0]) <= TOLERANCE


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("budget", [40, 100, 1000])
def test_first_update_sees_ratios_of_exactly_one(model, sequences, budget, temperature):
    """old_logprobs from a pass of their own, without gradients: bit for bit those of the update that shares its split."""
    microbatches = plan_microbatches([len(s.ids) for s in sequences], budget)
    fresh = with_old(model, sequences, microbatches, temperature)
    _, metrics = gradient(model, fresh, microbatches, temperature=temperature)
    assert (metrics["kl_k1"], metrics["kl_k3"], metrics["ratio_mean"], metrics["ess"]) == (0.0, 0.0, 1.0, 1.0)
    assert sum(metrics[key] for key in metrics if key.startswith("clip_fraction")) == 0


def test_another_split_is_near_and_other_weights_are_not(sequences):
    model = tiny_model(seed=3)
    microbatches = plan_microbatches([len(s.ids) for s in sequences], 100)
    fresh = with_old(model, sequences, microbatches, 1.0)
    _, other_split = gradient(model, fresh, SPLITS["one by one"])
    assert other_split["kl_k3"] < 1e-9
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator) * parameter.abs())
    _, moved = gradient(model, fresh, microbatches)
    assert moved["kl_k3"] > 1e-5
    assert moved["ess"] < 1.0


def test_while_ratios_are_one_all_objectives_coincide(model, sequences):
    """paper.md, section 2: with one update a batch there is nothing to compare."""
    fresh = with_old(model, sequences, WHOLE, 1.0)
    found = [gradient(model, fresh, WHOLE, objective)[0] for objective in OBJECTIVES]
    for other in found[1:]:
        assert distance(found[0], other) <= TOLERANCE


def test_a_step_along_the_gradient_does_what_the_advantage_says(model, sequences):
    """The sign of everything at once: one step down the loss makes a praised rollout likelier, a blamed one less so."""
    for sign in (1.0, -1.0):
        trained = tiny_model()
        one = [replace(sequences[0], advantage=sign, correct=False)]
        fresh = with_old(trained, one, [[0]], 1.0)
        gradient(trained, fresh, [[0]])
        with torch.no_grad():
            for parameter in trained.parameters():
                parameter -= 0.01 * parameter.grad
        after = reference_logprobs(trained, fresh, [[0]], 1.0)[0]
        assert sign * (after - fresh[0].old_logprobs).sum() > 0


def pad(sequence, extra):
    """`extra` untrained tokens on the right."""
    return replace(
        sequence,
        ids=np.concatenate([sequence.ids, np.full(extra, 11, np.int32)]),
        loss_mask=np.concatenate([sequence.loss_mask, np.zeros(extra, bool)]),
        old_logprobs=np.concatenate([sequence.old_logprobs, np.zeros(extra, np.float32)]),
    )


def with_old(model, sequences, microbatches, temperature):
    found = reference_logprobs(model, sequences, microbatches, temperature)
    return [replace(s, old_logprobs=row) for s, row in zip(sequences, found, strict=True)]


def supervised(model, sequences, microbatches):
    model.zero_grad()
    metrics = supervised_gradient(model, sequences, microbatches)
    return flat_gradient(model), metrics["loss"]


def local_mean_gradient(model, sequences, microbatches):
    """Deliberately wrong: the denominator is the micro-batch's own count."""
    model.zero_grad()
    for rows in microbatches:
        terms = []
        for s in (sequences[i] for i in rows):
            ids, mask = torch.from_numpy(s.ids.astype(np.int64)), torch.from_numpy(s.loss_mask)
            logits = model(input_ids=ids[None]).logits[0, :-1].log_softmax(-1)
            logprobs = torch.cat([torch.zeros(1), logits[torch.arange(len(ids) - 1), ids[1:]]])[None]
            old, advantages = torch.from_numpy(s.old_logprobs)[None], torch.full((1, len(ids)), s.advantage)
            terms.append(gppo(logprobs, old, advantages, clip_low=0.2, clip_high=0.28, loss_mask=mask[None])[0][mask])
        (torch.cat(terms).mean() / len(microbatches)).backward()
    return flat_gradient(model)
