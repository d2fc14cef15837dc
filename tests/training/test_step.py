"""The step against a slow version of itself: whole logits, one sequence at a time, loops over tokens, Python's sums."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.objectives.test_published_formulas import PRINTED, slow_gmpo, slow_gspo
from tests.training.step_cases import (
    AGGREGATIONS,
    CONSTANT,
    OBJECTIVES,
    PAIRS,
    distance,
    flat_gradient,
    gradient,
    rollouts,
    settings,
    tiny_model,
)

from openklear.errors import NonFinite, UsageError
from openklear.models.chat import EncodedDemonstration
from openklear.objectives.policy import CATALOG
from openklear.recipe.objectives import (
    CustomObjective,
    DppoTv,
    EntropyGate,
    Gppo,
    Gspo,
    Mask,
    PpoClip,
    Reinforce,
    Topr,
    Truncate,
    band_of,
)
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


def slow_losses(objective, logprobs, s):
    """The policy loss of each token of one sequence, by the formula as its source prints it."""
    mask = torch.from_numpy(s.loss_mask)
    logp, old = logprobs[mask][None], torch.from_numpy(s.old_logprobs)[mask][None]
    advantages = torch.full_like(old, s.advantage)
    numbers = {k: v for k, v in objective.model_dump(exclude={"type"}).items() if v is not None}
    if CATALOG[objective.type].sequence:
        slow = {"gspo": slow_gspo, "gmpo": slow_gmpo}[objective.type]
        whole = slow(logp, old, advantages, torch.ones_like(old, dtype=torch.bool), torch.zeros_like(old), **numbers)
        return [whole] * old.shape[1]
    if objective.type == "topr":
        numbers["correct"] = torch.full(old.shape, s.correct)
    return list(PRINTED[objective.type](logp, old, advantages, **numbers)[0])


def slow_step(model, sequences, objective, aggregation, alpha, temperature):
    """Loss, policy loss and sft loss as tensors, and the ratio of every token with its advantage."""
    token_losses, imitated, tokens = [], [], []
    for s in sequences:
        logprobs = slow_logprobs(model, s, temperature)
        places = [t for t in range(len(s.ids)) if s.loss_mask[t]]
        token_losses.append(slow_losses(objective, logprobs, s))
        imitated += [-logprobs[t] for t in places if s.correct]
        tokens += [(math.exp(logprobs[t].item() - s.old_logprobs[t]), s.advantage) for t in places]
    if aggregation == "constant":
        policy = sum(x for losses in token_losses for x in losses) / CONSTANT / len(sequences)
    else:
        units = slow_units(sequences, token_losses, aggregation)
        policy = sum(sum(unit) / len(unit) for unit in units) / len(units)
    imitation = sum(imitated) / len(imitated)
    return policy + alpha * imitation, policy, imitation, tokens


def slow_units(sequences, token_losses, aggregation):
    """Which tokens share a mean."""
    if aggregation == "token_mean":
        return [[x for losses in token_losses for x in losses]]
    if aggregation == "sequence_mean":
        return token_losses
    pairs = list(zip(sequences, token_losses, strict=True))
    return [[x for s, losses in pairs if s.group == g for x in losses] for g in {s.group for s in sequences}]


@pytest.mark.parametrize(("objective", "aggregation"), PAIRS, ids=[f"{o.type}-{a}" for o, a in PAIRS])
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
    band = band_of(objective)
    if band is not None and objective.type != "gspo":
        high = sum(r > 1 + band[1] and a > 0 for r, a in tokens) / len(tokens)
        assert high == metrics["clip_fraction_high_positive"]
        assert high > 0 or objective.type == "cispo_trl"


def test_no_two_objectives_are_one(model, sequences):
    """Of DPPO with a narrow band, for the tiny model's tokens are all rare."""
    chosen = [DppoTv(divergence=1e-3) if o.type == "dppo_tv" else o for o in OBJECTIVES]
    found = {o.type: gradient(model, sequences, THREE, o, "sequence_mean", sft_loss_weight=0.0)[0] for o in chosen}
    for one, other in itertools.combinations(found, 2):
        assert distance(found[one], found[other]) > 1e-3, (one, other)


def test_keys(model, sequences):
    _, metrics = gradient(model, sequences, THREE)
    cells = {f"{side}_{sign}" for side in ("high", "low") for sign in ("positive", "negative")}
    clip = {f"{what}_{cell}" for what, cell in itertools.product(("clip_fraction", "gradient_share"), cells)}
    always = {
        "loss",
        "policy_loss",
        "tokens",
        "entropy",
        "ratio_mean",
        "kl_k1",
        "kl_k2",
        "kl_k3",
        "ess",
        "bounded_tokens",
    }
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


@pytest.mark.parametrize("aggregation", ["token_mean", "group_token_mean", "sequence_mean", "constant"])
def test_uncounted_rollouts_leave_the_gradient_as_if_they_were_not_there(model, sequences, aggregation):
    """Their groups have no advantage; counted, they would dilute the others'."""
    groups = sorted({s.group for s in sequences})
    idle = [replace(s, advantage=0.0, counted=False) if s.group == groups[0] else s for s in sequences]
    left = [s for s in idle if s.counted]
    mixed, metrics = gradient(model, idle, THREE, Gppo(), aggregation, sft_loss_weight=0.0)
    alone, apart = gradient(model, left, [list(range(len(left)))], Gppo(), aggregation, sft_loss_weight=0.0)
    assert distance(mixed, alone) < 1e-6
    assert metrics["policy_loss"] == pytest.approx(apart["policy_loss"], rel=1e-5)
    diluted, _ = gradient(model, [replace(s, counted=True) for s in idle], THREE, Gppo(), aggregation)
    assert distance(diluted, alone) > 0.01


def test_a_micro_batch_of_uncounted_rollouts_is_none_in_the_mean_over_micro_batches(model, sequences):
    """`klear_released` divides by their number: one more would halve the loss of the other."""
    last = sequences[-1].group
    counted = [s for s in sequences if s.group != last]
    idle = [replace(s, advantage=0.0, counted=False) for s in sequences if s.group == last]
    split = [list(range(len(counted))), list(range(len(counted), len(sequences)))]
    mixed, _ = gradient(model, [*counted, *idle], split, Gppo(), "klear_released", sft_loss_weight=0.0)
    alone, _ = gradient(model, counted, split[:1], Gppo(), "klear_released", sft_loss_weight=0.0)
    assert distance(mixed, alone) < 1e-6


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
    found, entropies = reference_logprobs(model, sequences, THREE, 0.7)
    assert all(np.isnan(h[s.loss_mask]).all() for h, s in zip(entropies, sequences, strict=True))  # not asked for
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
    policy_gradient(model, sequences, THREE, settings())
    assert distance(2 * once, flat_gradient(model)) < 1e-6


def test_the_gate_closes_tokens_and_keeps_their_denominator(model, sequences):
    """Wide open it changes nothing, shut it leaves no policy gradient; in between the open tokens alone."""
    plain, _ = gradient(model, sequences, THREE, sft_loss_weight=0.0)
    wide, _ = gradient(model, sequences, THREE, sft_loss_weight=0.0, entropy_gate=EntropyGate(low=0.0, high=1e9))
    assert torch.equal(plain, wide)
    shut, metrics = gradient(model, sequences, THREE, sft_loss_weight=0.0, entropy_gate=EntropyGate(low=7.0, high=8.0))
    assert not shut.any()
    assert metrics["policy_loss"] == 0.0
    # By hand: the tokens whose entropy moved are masked in the old way, and the denominator is that of all tokens.
    _, now = reference_logprobs(model, sequences, THREE, 1.0, entropy=True)
    kept = []
    for s, h in zip(sequences, now, strict=True):
        ratio = (h + 1e-8) / (s.old_entropies + 1e-8)
        kept.append(replace(s, loss_mask=s.loss_mask & (ratio > 0.95) & (ratio < 1.05)))
    share = sum(s.loss_mask.sum() for s in kept) / sum(s.loss_mask.sum() for s in sequences)
    assert 0.3 < share < 0.7
    gated, metrics = gradient(model, sequences, THREE, sft_loss_weight=0.0, entropy_gate=EntropyGate())
    assert metrics["gate_closed"] == pytest.approx(1 - float(share), abs=2e-3)
    alone, _ = gradient(model, kept, THREE, sft_loss_weight=0.0)
    assert distance(gated, float(share) * alone) < 3e-6


@pytest.mark.parametrize(
    "correction", [Truncate(cap=1.3), Mask(low=0.8, high=1.4), Truncate(level="sequence", cap=1.3)]
)
def test_corrections_weigh_the_policy_loss_alone(model, sequences, correction):
    """With a linear loss (REINFORCE) a weight a sequence is the same as another advantage."""
    found, metrics = gradient(model, sequences, THREE, Reinforce(), correction=correction)
    plain, _ = gradient(model, sequences, THREE, Reinforce())
    assert distance(plain, found) > 0.01
    total, kept = torch.zeros_like(found), []
    tokens = sum(s.loss_mask.sum() for s in sequences)
    for s in sequences:  # token by token, each with its weight in its advantage
        gap = np.where(s.loss_mask, s.old_logprobs - s.rollout_logprobs, 0.0)
        ratio = np.exp(np.full(len(gap), gap.sum()) if correction.level == "sequence" else gap)
        if correction.type == "truncate":
            weight = np.minimum(ratio, correction.cap)
        else:
            weight = np.where((ratio >= correction.low) & (ratio <= correction.high), ratio, 0.0)
        kept += weight[s.loss_mask].tolist()
        logprobs = slow_logprobs(model, s, 1.0)
        model.zero_grad()
        loss = -(logprobs * torch.from_numpy(np.where(s.loss_mask, weight, 0.0))).sum() * s.advantage / tokens
        loss.backward()
        total += flat_gradient(model)
    imitation, _ = gradient(model, [replace(s, advantage=0.0) for s in sequences], THREE, Reinforce())
    assert distance(found, total + imitation) < 1e-5
    assert metrics["correction_weight"] == pytest.approx(sum(kept) / tokens, rel=1e-5)
    assert metrics["correction_dropped"] == pytest.approx(sum(w == 0 for w in kept) / tokens)


def test_a_rare_objective_sees_what_it_needs(model, sequences):
    """TOPR reads verdicts, GSPO whole rollouts: their cells follow."""
    flipped = [replace(s, correct=not s.correct) for s in sequences]
    topr = next(o for o in OBJECTIVES if o.type == "topr")
    one, other = (gradient(model, q, THREE, topr, sft_loss_weight=0.0)[0] for q in (sequences, flipped))
    assert distance(one, other) > 0.01
    _, metrics = gradient(model, sequences, THREE, Gspo(clip_low=0.01, clip_high=0.02), "sequence_mean")
    cells = {"high_positive": 0, "low_positive": 0, "high_negative": 0, "low_negative": 0}
    for s in sequences:
        mean = math.exp(np.mean((slow_logprobs(model, s, 1.0).detach().numpy() - s.old_logprobs)[s.loss_mask]))
        side = "high" if mean > 1.02 else "low" if mean < 0.99 else None
        if side:
            cells[f"{side}_{'positive' if s.advantage > 0 else 'negative'}"] += s.loss_mask.sum()
    for cell, count in cells.items():
        assert metrics[f"clip_fraction_{cell}"] == pytest.approx(count / metrics["tokens"])


@pytest.mark.parametrize("objective", [Gppo(clip_low=0.1), Gspo(), Topr()], ids=lambda o: o.type)
def test_a_function_of_the_users_own_gets_what_it_asks_for(model, sequences, objective):
    """One of ours by its import path: the same gradient, bit for bit; only what needs a band is not shown."""
    numbers = objective.model_dump(exclude={"type"}, exclude_none=True)
    own = CustomObjective(function=f"openklear.objectives.policy:{objective.type}", arguments=numbers)
    expected, ours = gradient(model, sequences, THREE, objective, "sequence_mean")
    found, metrics = gradient(model, sequences, THREE, own, "sequence_mean")
    assert torch.equal(found, expected)
    assert metrics == {name: value for name, value in ours.items() if name in metrics}
    assert not any(name.startswith("clip_fraction") for name in metrics)


def test_a_function_of_the_users_own_that_fails_is_named(model, sequences):
    own = CustomObjective(function="openklear.objectives.policy:gate_open", arguments={"low": 0.9})
    with pytest.raises(
        UsageError, match=r'rl.objective.function = "openklear.objectives.policy:gate_open" raised Type'
    ):
        gradient(model, sequences, THREE, own)


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


def test_the_first_update_takes_its_own_pass_for_the_old_one(model, sequences):
    """Without old log-probabilities: the gradient and the figures, bit for bit, of a pass made before; and they are kept."""
    own, _ = reference_logprobs(model, sequences, THREE, 0.8)
    given = [replace(s, old_logprobs=row) for s, row in zip(sequences, own, strict=True)]
    expected, metrics = gradient(model, given, THREE, temperature=0.8)
    found = {}
    model.zero_grad()
    none = [replace(s, old_logprobs=None) for s in sequences]
    same = policy_gradient(model, none, THREE, settings(temperature=0.8), found=found)
    assert same == metrics
    assert same["ratio_mean"] == 1.0
    assert torch.equal(flat_gradient(model), expected)
    for number, row in enumerate(own):
        np.testing.assert_array_equal(found[number][0], row)


def test_with_a_gate_the_first_update_closes_nothing(model, sequences):
    none = [replace(s, old_logprobs=None, old_entropies=None) for s in sequences]
    _, metrics = gradient(model, none, THREE, entropy_gate=EntropyGate())
    assert metrics["gate_closed"] == 0.0


def test_old_values_of_some_sequences_alone_are_refused(model, sequences):
    some = [replace(sequences[0], old_logprobs=None), *sequences[1:]]
    with pytest.raises(ValueError, match="some have old values"):
        gradient(model, some, THREE)


@pytest.mark.parametrize(("objective", "aggregation"), PAIRS, ids=[f"{o.type}-{a}" for o, a in PAIRS])
def test_without_advantages_there_is_no_gradient(model, sequences, objective, aggregation):
    """What lets a micro-batch go without its backward pass: each loss is 0 where A is, and so is its slope."""
    flat = [replace(s, advantage=0.0, correct=False) for s in sequences]
    one = [replace(flat[0], advantage=1e-30), *flat[1:]]  # keeps the backward pass
    for some in (flat, one):
        found, metrics = gradient(model, some, [list(range(12))], objective, aggregation, sft_loss_weight=0.0)
        assert float(found.abs().max()) <= 1e-24
        assert metrics["entropy"] > 0
    assert not gradient(model, flat, THREE, objective, aggregation, sft_loss_weight=0.0)[0].any()


@pytest.mark.parametrize("sft_loss_weight", [0.0, 0.1])
def test_only_micro_batches_with_a_gradient_go_backwards(model, sequences, sft_loss_weight):
    """Counted at the last norm; the gradient is that of the same step in micro-batches that all have one."""
    apart = [replace(s, advantage=0.0) if i in THREE[1] else s for i, s in enumerate(sequences)]
    apart = [replace(s, correct=i == 3) for i, s in enumerate(apart)]
    mixed = [[i, j] for i, j in zip(THREE[1], (0, 3, 6, 7), strict=True)] + [[8, 9, 10, 11]]
    went = []
    handle = model.model.norm.weight.register_hook(lambda _: went.append(1))
    try:
        found, metrics = gradient(model, apart, THREE, sft_loss_weight=sft_loss_weight)
        assert len(went) == 2
        expected, same = gradient(model, apart, mixed, sft_loss_weight=sft_loss_weight)
        assert len(went) == 2 + len(mixed)
        gradient(model, [replace(s, correct=True) for s in apart], THREE, sft_loss_weight=sft_loss_weight)
        assert len(went) == 2 + len(mixed) + (3 if sft_loss_weight else 2)
    finally:
        handle.remove()
    assert distance(expected, found) <= 1e-6
    assert metrics.keys() == same.keys()
    assert metrics["entropy"] == pytest.approx(same["entropy"])


def test_a_function_of_the_users_own_may_have_a_gradient_without_advantages(model, sequences):
    """Its value at A = 0 is not known, so its backward pass is made."""
    own = CustomObjective(function="openklear.objectives.policy:reinforce")
    went = []
    handle = model.model.norm.weight.register_hook(lambda _: went.append(1))
    gradient(model, [replace(s, advantage=0.0) for s in sequences], THREE, own, sft_loss_weight=0.0)
    handle.remove()
    assert len(went) == 3
