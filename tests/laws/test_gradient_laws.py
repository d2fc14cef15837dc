"""The law of house rule 2: one optimizer step has one gradient, however its tokens are laid out.

Every check runs on the real model with ragged masks, unequal groups and the joint loss on, in float64 and in float32,
over micro-batches, packs, orders and paddings; ranks are in test_ranks.py. The released Klear aggregation must fail the
same check, or the check proves nothing.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.training.step_cases import (
    AGGREGATIONS,
    CONSTANT,
    OBJECTIVES,
    PAIRS,
    distance,
    flat_gradient,
    gradient,
    norms_in_their_own_type,
    rollouts,
    tiny_model,
)

from openklear.models.batching import plan_microbatches
from openklear.recipe.objectives import EntropyGate, Truncate
from openklear.training.step import reference_logprobs, supervised_gradient

TOLERANCES = {torch.float32: 1e-6, torch.float64: 1e-12}
TOLERANCE = TOLERANCES[torch.float32]
COUNT = 12
WHOLE = [list(range(COUNT))]
SPLITS = {
    "one by one": [[i] for i in range(COUNT)],
    "unequal": [[11], [0, 3, 5, 7, 9], [1, 2], [4, 6, 8, 10]],
    "backwards": [list(range(COUNT))[::-1][i : i + 5] for i in range(0, COUNT, 5)],
}
PACKS = {
    "one pack": [[tuple(range(COUNT))]],
    "packs beside rows": [[(3, 0, 7), 5], [(1, 2), (11, 4)], [6, 8, (10, 9)]],
}
LAYOUTS = {**SPLITS, **PACKS}

every_loss = pytest.mark.parametrize(
    ("objective", "aggregation"), [pytest.param(o, a, id=f"{o.type}-{a}") for o, a in PAIRS]
)
TYPES = (torch.float32, pytest.param(torch.float64, marks=pytest.mark.long))
both_types = pytest.mark.parametrize("dtype", TYPES, ids=["float32", "float64"])


@pytest.fixture(scope="module")
def models():
    return {dtype: tiny_model(dtype=dtype) for dtype in TOLERANCES}


@pytest.fixture(scope="module")
def model(models):
    return models[torch.float32]


@pytest.fixture(scope="module")
def sequences(model):
    return rollouts(model, COUNT)


@both_types
@every_loss
def test_layout_does_not_matter(models, sequences, objective, aggregation, dtype):
    """Micro-batches, packs, orders."""
    expected, metrics = gradient(models[dtype], sequences, WHOLE, objective, aggregation)
    for name, layout in LAYOUTS.items():
        found, same = gradient(models[dtype], sequences, layout, objective, aggregation)
        assert distance(expected, found) <= TOLERANCES[dtype], name
        assert same["loss"] == pytest.approx(metrics["loss"], rel=1e-5, abs=1e-6), name
        assert same["tokens"] == metrics["tokens"], name


@both_types
@every_loss
def test_padding(models, sequences, objective, aggregation, dtype):
    """Tokens to the right of a sequence that no loss looks at: what a longer neighbour in the micro-batch does to it."""
    expected, _ = gradient(models[dtype], sequences, WHOLE, objective, aggregation)
    padded = [pad(s, extra) for s, extra in zip(sequences, (0, 7, 1, 13, 0, 2, 5, 0, 20, 3, 1, 0), strict=True)]
    found, _ = gradient(models[dtype], padded, SPLITS["unequal"], objective, aggregation)
    assert distance(expected, found) <= TOLERANCES[dtype]


@both_types
@every_loss
def test_order_of_rollouts(models, sequences, objective, aggregation, dtype):
    expected, _ = gradient(models[dtype], sequences, WHOLE, objective, aggregation)
    order = np.random.default_rng(1).permutation(COUNT)
    shuffled = [sequences[i] for i in order]
    found, _ = gradient(models[dtype], shuffled, PACKS["packs beside rows"], objective, aggregation)
    assert distance(expected, found) <= TOLERANCES[dtype]


@both_types
@every_loss
def test_rollouts_of_one_prompt_share_it(sequences, objective, aggregation, dtype):
    """Common tokens are computed once in a pack: the gradient is that of rows that know nothing of each other."""
    model = norms_in_their_own_type(tiny_model(dtype=dtype))
    prompts = [np.arange(20, 27, dtype=np.int32), np.arange(60, 71, dtype=np.int32)]
    alike = [behind(prompts[s.group % 2], s) for s in sequences]
    expected, metrics = gradient(model, alike, WHOLE, objective, aggregation)
    for name, layout in PACKS.items():
        found, same = gradient(model, alike, layout, objective, aggregation)
        assert distance(expected, found) <= TOLERANCES[dtype], name
        assert same["loss"] == pytest.approx(metrics["loss"], rel=1e-5, abs=1e-6), name


@both_types
@pytest.mark.parametrize("more", [{"entropy_gate": EntropyGate()}, {"correction": Truncate(level="sequence", cap=1.2)}])
def test_gate_and_correction_obey_the_law(models, sequences, more, dtype):
    expected, _ = gradient(models[dtype], sequences, WHOLE, **more)
    assert distance(expected, gradient(models[dtype], sequences, WHOLE)[0]) > 0.01
    for name, layout in LAYOUTS.items():
        assert distance(expected, gradient(models[dtype], sequences, layout, **more)[0]) <= TOLERANCES[dtype], name


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    order=st.permutations(range(COUNT)),
    cuts=st.sets(st.integers(1, COUNT - 1)),
    packed=st.sets(st.integers(0, COUNT - 1)),
    which=st.integers(0, len(PAIRS) - 1),
)
def test_any_split_of_any_order(models, sequences, order, cuts, packed, which):
    """Cuts into micro-batches; those whose number is in `packed` are one pack."""
    objective, aggregation = PAIRS[which]
    split = [order[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), COUNT], strict=True)]
    layout = [[tuple(rows)] if number in packed else rows for number, rows in enumerate(split)]
    for dtype, tolerance in TOLERANCES.items():
        expected, _ = gradient(models[dtype], sequences, WHOLE, objective, aggregation)
        found, _ = gradient(models[dtype], sequences, layout, objective, aggregation)
        assert distance(expected, found) <= tolerance


def test_names_of_groups_do_not_matter(model, sequences):
    expected, _ = gradient(model, sequences, WHOLE, aggregation="group_token_mean")
    renamed = [replace(s, group=1000 - 7 * s.group) for s in sequences]
    assert torch.equal(gradient(model, renamed, WHOLE, aggregation="group_token_mean")[0], expected)


def test_no_two_aggregations_are_one(model, sequences):
    """Ragged data must tell them apart, or the laws above would hold for a mix-up too."""
    found = {a: gradient(model, sequences, WHOLE, aggregation=a, sft_loss_weight=0.0)[0] for a in AGGREGATIONS}
    for one, other in itertools.combinations(AGGREGATIONS, 2):
        assert distance(found[one] / found[one].norm(), found[other] / found[other].norm()) > (
            0.0 if {one, other} == {"token_mean", "constant"} else 0.05
        ), (one, other)
    scale = found["constant"].norm() / found["token_mean"].norm()  # these two differ by a factor: tokens / (N L)
    tokens = sum(int(s.loss_mask.sum()) for s in sequences)
    assert float(scale) == pytest.approx(tokens / (COUNT * CONSTANT), rel=1e-5)


@both_types
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_released_aggregation_breaks_the_law(models, sequences, layout, dtype):
    """A mean over each micro-batch, then over micro-batches: in one batch token_mean, in several another gradient."""
    model, released = models[dtype], {"aggregation": "klear_released"}
    expected, _ = gradient(model, sequences, WHOLE, **released)
    assert distance(gradient(model, sequences, WHOLE)[0], expected) <= TOLERANCES[dtype]
    off = distance(expected, gradient(model, sequences, LAYOUTS[layout], **released)[0])
    if layout == "one pack":
        assert off <= TOLERANCES[dtype]
    else:
        assert off > 1e4 * TOLERANCE


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
    """With one update per batch there is nothing to compare."""
    fresh = with_old(model, sequences, WHOLE, 1.0)
    found = [gradient(model, fresh, WHOLE, objective, "sequence_mean")[0] for objective in OBJECTIVES]
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
        after = reference_logprobs(trained, fresh, [[0]], 1.0)[0][0]
        assert sign * (after - fresh[0].old_logprobs).sum() > 0


def pad(sequence, extra):
    """`extra` untrained tokens on the right."""
    return replace(
        sequence,
        ids=np.concatenate([sequence.ids, np.full(extra, 11, np.int32)]),
        loss_mask=np.concatenate([sequence.loss_mask, np.zeros(extra, bool)]),
        old_logprobs=np.concatenate([sequence.old_logprobs, np.zeros(extra, np.float32)]),
    )


def behind(prompt, sequence):
    """The sequence after a prompt; its other arrays are 0 there."""
    arrays = {
        name: getattr(sequence, name) for name in ("loss_mask", "old_logprobs", "rollout_logprobs", "old_entropies")
    }
    longer = {name: np.concatenate([np.zeros(len(prompt), a.dtype), a]) for name, a in arrays.items()}
    return replace(sequence, ids=np.concatenate([prompt, sequence.ids]), **longer)


def with_old(model, sequences, microbatches, temperature):
    found, _ = reference_logprobs(model, sequences, microbatches, temperature)
    return [replace(s, old_logprobs=row) for s, row in zip(sequences, found, strict=True)]


def supervised(model, sequences, microbatches):
    model.zero_grad()
    metrics = supervised_gradient(model, sequences, microbatches)
    return flat_gradient(model), metrics["loss"]
