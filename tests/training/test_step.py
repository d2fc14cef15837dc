"""The step against a slow version of itself: whole logits, one sequence at a time, loops over tokens, Python's sums."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.training.step_cases import AGGREGATIONS, OBJECTIVES, distance, flat_gradient, gradient, rollouts, tiny_model

from openklear.errors import NonFinite
from openklear.models.chat import EncodedDemonstration
from openklear.recipe.schema import Cispo, Gppo, PpoClip, Reinforce
from openklear.training.step import policy_gradient, reference_logprobs, supervised_gradient

THREE = [[3, 0, 7], [1, 2, 4, 5], [6, 8, 9, 10, 11]]


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def sequences(model):
    return rollouts(model)


def slow_logprobs(model, sequence, temperature):
    """(T,) of one sequence from the model's own logits, nothing padded; position 0 is 0."""
    ids = torch.from_numpy(sequence.ids.astype(np.int64))
    logits = model(input_ids=ids[None]).logits[0, :-1] / temperature
    return torch.cat([torch.zeros(1), logits.log_softmax(-1)[torch.arange(len(ids) - 1), ids[1:]]])


def slow_token_loss(objective, logp, old, advantage):
    """One token, through torch's own autograd; GPPO by Eq. 12 as a surrogate with its value left out."""
    ratio = (logp - old).exp()
    if isinstance(objective, Reinforce):
        return -advantage * logp
    low, high = 1 - objective.clip_low, 1 + objective.clip_high
    if isinstance(objective, Cispo):
        return -advantage * ratio.clamp(low, high).detach() * logp
    value = -torch.min(ratio * advantage, ratio.clamp(low, high) * advantage)
    if isinstance(objective, PpoClip):
        return value
    factor = low if ratio < low and advantage < 0 else high if ratio > high and advantage > 0 else ratio.detach()
    return value.detach() - advantage * factor * (logp - logp.detach())


def slow_step(model, sequences, objective, aggregation, alpha, temperature):
    """Loss, policy loss and sft loss as tensors, and the ratio of every token with its advantage."""
    token_losses, imitated, tokens = [], [], []
    for s in sequences:
        logprobs = slow_logprobs(model, s, temperature)
        places = [t for t in range(len(s.ids)) if s.loss_mask[t]]
        old = torch.from_numpy(s.old_logprobs)
        token_losses.append([slow_token_loss(objective, logprobs[t], old[t], s.advantage) for t in places])
        imitated += [-logprobs[t] for t in places if s.correct]
        tokens += [(math.exp(logprobs[t].item() - old[t].item()), s.advantage) for t in places]
    if aggregation == "token_mean":
        units = [[x for losses in token_losses for x in losses]]
    elif aggregation == "sequence_mean":
        units = token_losses
    else:
        names = {s.group for s in sequences}
        units = [
            [x for s, losses in zip(sequences, token_losses, strict=True) if s.group == g for x in losses]
            for g in names
        ]
    policy = sum(sum(unit) / len(unit) for unit in units) / len(units)
    imitation = sum(imitated) / len(imitated)
    return policy + alpha * imitation, policy, imitation, tokens


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.type)
def test_against_the_slow_version(model, sequences, objective, aggregation):
    found, metrics = gradient(model, sequences, THREE, objective, aggregation, sft_loss_weight=0.3, temperature=0.8)
    model.zero_grad()
    loss, policy, imitation, tokens = slow_step(model, sequences, objective, aggregation, 0.3, 0.8)
    loss.backward()
    assert distance(flat_gradient(model), found) < 3e-6
    assert metrics["loss"] == pytest.approx(loss.item(), rel=1e-4, abs=1e-6)
    assert metrics["policy_loss"] == pytest.approx(policy.item(), rel=1e-4, abs=1e-6)
    assert metrics["sft_loss"] == pytest.approx(imitation.item(), rel=1e-5)
    assert metrics["tokens"] == len(tokens)
    assert metrics["ratio_mean"] == pytest.approx(sum(r for r, _ in tokens) / len(tokens), rel=1e-5)
    if objective.type != "reinforce":
        high = sum(r > 1.28 and a > 0 for r, a in tokens) / len(tokens)
        assert 0 < high == metrics["clip_fraction_high_positive"]


def test_keys(model, sequences):
    _, metrics = gradient(model, sequences, THREE)
    clip = {f"clip_fraction_{side}_{sign}" for side in ("high", "low") for sign in ("positive", "negative")}
    always = {"loss", "policy_loss", "tokens", "entropy", "ratio_mean", "kl_k1", "kl_k3", "ess", "bounded_tokens"}
    always |= {"ratio_histogram_positive", "ratio_histogram_negative"}
    assert set(metrics) == always | clip | {"sft_loss", "preserved_gradient_share"}
    assert set(gradient(model, sequences, THREE, Reinforce())[1]) == always | {"sft_loss"}
    assert set(gradient(model, sequences, THREE, sft_loss_weight=0.0)[1]) == always | clip | {
        "preserved_gradient_share"
    }
    assert all(isinstance(v, float) for k, v in metrics.items() if "histogram" not in k)


def test_preserved_gradient_is_gppos_alone(model, sequences):
    assert gradient(model, sequences, THREE, Gppo())[1]["preserved_gradient_share"] > 0.05
    assert gradient(model, sequences, THREE, PpoClip())[1]["preserved_gradient_share"] == 0.0


def test_entropy_of_a_uniform_policy():
    model = tiny_model()
    with torch.no_grad():
        model.get_input_embeddings().weight.zero_()  # tied: every logit is 0
    _, metrics = gradient(model, rollouts(model), THREE)
    assert metrics["entropy"] == pytest.approx(math.log(model.config.vocab_size), rel=1e-6)


def test_without_weight_the_imitation_term_is_not_computed(model, sequences):
    joint, _ = gradient(model, sequences, THREE, sft_loss_weight=0.1)
    alone, _ = gradient(model, sequences, THREE, sft_loss_weight=0.0)
    wrong = [replace(s, correct=False) for s in sequences]
    nothing, metrics = gradient(model, wrong, THREE, sft_loss_weight=0.1)
    assert metrics["sft_loss"] == 0.0
    assert metrics["loss"] == metrics["policy_loss"]
    assert torch.equal(alone, nothing)
    assert distance(joint, alone) > 0.01


def test_correct_is_the_verdict_not_the_advantage(model, sequences):
    """The imitation term takes correct rollouts, also those with a negative advantage, and no others."""
    flat = [replace(s, advantage=0.0, correct=i == 5) for i, s in enumerate(sequences)]
    found, metrics = gradient(model, flat, THREE, sft_loss_weight=2.0)
    model.zero_grad()
    alone = supervised_gradient(model, [sequences[5]], [[0]])
    assert distance(2 * flat_gradient(model), found) < 3e-6
    assert metrics["sft_loss"] == pytest.approx(alone["loss"], rel=1e-6)
    assert metrics["policy_loss"] == 0.0


def test_supervised_against_the_slow_version(model, sequences):
    rows = [EncodedDemonstration(s.ids, s.loss_mask) for s in sequences]
    model.zero_grad()
    metrics = supervised_gradient(model, rows, THREE)
    found = flat_gradient(model)
    model.zero_grad()
    terms = [-slow_logprobs(model, s, 1.0)[torch.from_numpy(s.loss_mask)] for s in sequences]
    loss = torch.cat(terms).mean()
    loss.backward()
    assert distance(flat_gradient(model), found) < 3e-6
    assert metrics == {"loss": pytest.approx(loss.item(), rel=1e-5), "tokens": sum(len(t) for t in terms)}


def test_reference_logprobs_against_the_slow_version(model, sequences):
    found = reference_logprobs(model, sequences, THREE, 0.7)
    for s, row in zip(sequences, found, strict=True):
        with torch.no_grad():
            expected = np.where(s.loss_mask, slow_logprobs(model, s, 0.7).numpy(), 0)
        assert row.dtype == np.float32
        assert row.shape == s.ids.shape
        np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-5)


def test_reference_logprobs_leave_no_trace(model, sequences):
    model.zero_grad()
    reference_logprobs(model, sequences, THREE, 1.0)
    assert all(p.grad is None for p in model.parameters())


def test_gradients_are_added_to_those_that_stand(model, sequences):
    once, _ = gradient(model, sequences, THREE)
    options = {"objective": Gppo(), "aggregation": "token_mean", "sft_loss_weight": 0.1, "temperature": 1.0}
    policy_gradient(model, sequences, THREE, **options)
    assert distance(2 * once, flat_gradient(model)) < 1e-6


@pytest.mark.parametrize("poison", ["old_logprobs", "advantage"])
def test_a_loss_that_is_not_finite_names_its_microbatch(model, sequences, poison):
    spoilt = list(sequences)
    value = np.full_like(sequences[4].old_logprobs, np.nan) if poison == "old_logprobs" else math.inf
    spoilt[4] = replace(sequences[4], **{poison: value})
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(NonFinite, match=r"micro-batch 2 of 3 is .*sequences \[1, 2, 4, 5\]"):
        gradient(model, spoilt, THREE)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert torch.isfinite(flat_gradient(model)).all()


def test_a_supervised_loss_that_is_not_finite(sequences):
    model = tiny_model()
    with torch.no_grad():
        model.model.norm.weight.fill_(math.nan)
    with pytest.raises(NonFinite, match="micro-batch 1 of 3 is nan"):
        supervised_gradient(model, sequences, THREE)


def test_what_stands_outside_the_mask_is_not_looked_at(model, sequences):
    clean, metrics = gradient(model, sequences, THREE)
    dirty = [replace(s, old_logprobs=np.where(s.loss_mask, s.old_logprobs, np.nan)) for s in sequences]
    found, same = gradient(model, dirty, THREE)
    assert torch.equal(found, clean)
    assert same == metrics


@pytest.mark.parametrize("bad", [[[0, 1]], [list(range(12)), [3]], [list(range(11))], []])
def test_every_sequence_is_in_one_microbatch(model, sequences, bad):
    for call in (
        lambda: gradient(model, sequences, bad),
        lambda: supervised_gradient(model, sequences, bad),
        lambda: reference_logprobs(model, sequences, bad, 1.0),
    ):
        with pytest.raises(ValueError, match="exactly once"):
            call()


def test_a_microbatch_without_tokens_changes_nothing(model, sequences):
    empty = replace(sequences[0], loss_mask=np.zeros(len(sequences[0].ids), dtype=bool), group=99)
    for aggregation in AGGREGATIONS:
        expected, metrics = gradient(model, sequences, THREE, aggregation=aggregation)
        found, same = gradient(model, [*sequences, empty], [*THREE, [12]], aggregation=aggregation)
        assert torch.equal(found, expected)
        assert same == metrics
    with pytest.raises(ValueError, match="at least one token"):
        gradient(model, [empty], [[0]])
