"""The entropy gate and the importance weights, by hand and as laws."""

import math

import pytest
import torch
from tests.objectives.loss_cases import gradient, loss_of, tokens

from openklear.objectives.correction import CORRECTIONS, importance_ratio, mask, truncate
from openklear.objectives.policy import OBJECTIVES, entropy_gate
from openklear.objectives.segments import segment_mean, segment_sum


def test_gate_by_hand():
    old = torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.0, 0.0]])
    new = torch.tensor([[0.94, 0.96, 1.04, 1.06, 0.0, 1e-3]])
    losses = torch.full((1, 6), 3.0)
    found = entropy_gate(losses, entropy=new, old_entropy=old)
    assert found.tolist() == [[0.0, 3.0, 3.0, 0.0, 3.0, 0.0]]  # entropies of 0 have a ratio of 1, by the epsilon
    wide = entropy_gate(losses, entropy=new, old_entropy=old, low=0.5, high=1.05)
    assert wide.tolist() == [[3.0, 3.0, 3.0, 0.0, 3.0, 0.0]]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_gate_lies_on_top_of_any_loss(name):
    logprobs, old, advantages = tokens(4, 50, seed=1)
    generator = torch.Generator().manual_seed(2)
    before = torch.rand(4, 50, generator=generator, dtype=torch.float64)
    after = (before * (1 + 0.1 * torch.randn(4, 50, generator=generator, dtype=torch.float64))).requires_grad_()
    gated = entropy_gate(loss_of(name, logprobs, old, advantages), entropy=after, old_entropy=before)
    (found,) = torch.autograd.grad(gated.sum(), logprobs)
    ratio = (after.detach() + 1e-8) / (before + 1e-8)
    open_ = (ratio > 0.95) & (ratio < 1.05)
    assert 0.2 < open_.double().mean() < 0.8
    assert torch.equal(gated, torch.where(open_, loss_of(name, logprobs, old, advantages), 0.0))
    assert torch.equal(found, torch.where(open_, gradient(name, logprobs, old, advantages), 0.0))


def test_the_gate_does_not_look_outside_the_mask_and_checks_shapes():
    losses, keep = torch.ones(1, 3), torch.tensor([[True, True, False]])
    entropy = torch.tensor([[1.0, 2.0, math.nan]], requires_grad=True)
    found = entropy_gate(losses, entropy=entropy, old_entropy=torch.ones(1, 3), loss_mask=keep)
    assert found[0, :2].tolist() == [1.0, 0.0]
    assert not found.requires_grad
    with pytest.raises(ValueError, match="one shape"):
        entropy_gate(torch.ones(3, 3), entropy=torch.ones(3), old_entropy=torch.ones(3, 3))


OLD = torch.tensor([[0.4, 0.2, 0.9, 0.5], [0.1, 0.5, 0.5, 0.5]]).log().double()
SAMPLED = torch.tensor([[0.1, 0.2, 0.3, math.nan], [0.4, 0.25, 0.5, 0.1]]).log().double()
KEEP = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 0]], dtype=torch.bool)
# q: 4, 1, 3 | 1/4, 2, 1; of the rows: 12 and 1/2.


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (lambda: truncate(OLD, SAMPLED, loss_mask=KEEP), [[2, 1, 2, 0], [0.25, 2, 1, 0]]),
        (lambda: truncate(OLD, SAMPLED, loss_mask=KEEP, cap=3.5), [[3.5, 1, 3, 0], [0.25, 2, 1, 0]]),
        (lambda: truncate(OLD, SAMPLED, loss_mask=KEEP, level="sequence"), [[2, 2, 2, 0], [0.5, 0.5, 0.5, 0]]),
        (lambda: mask(OLD, SAMPLED, loss_mask=KEEP), [[4, 1, 3, 0], [0, 2, 1, 0]]),
        (lambda: mask(OLD, SAMPLED, loss_mask=KEEP, low=0.2, high=2.5), [[0, 1, 0, 0], [0.25, 2, 1, 0]]),
        (lambda: mask(OLD, SAMPLED, loss_mask=KEEP, level="sequence", low=0.45), [[0, 0, 0, 0], [0.5, 0.5, 0.5, 0]]),
        (
            lambda: truncate(
                OLD,
                SAMPLED,
                loss_mask=KEEP,
                level="sequence",
                segment_ids=torch.tensor([[5, 5, 0, 9], [1, 0, 1, 0]]),
                cap=99.0,
            ),
            [[4, 4, 3, 0], [0.25, 2, 0.25, 0]],
        ),
    ],
)
def test_corrections_by_hand(found, expected):
    torch.testing.assert_close(found(), torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", CORRECTIONS)
@pytest.mark.parametrize("level", ["token", "sequence"])
def test_equal_policies_have_weights_of_exactly_one(name, level):
    weights = CORRECTIONS[name](OLD, OLD, loss_mask=KEEP, level=level)
    assert torch.equal(weights, KEEP.double())


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_importance_ratios_are_finite_and_outside_the_graph(level):
    old = torch.tensor([[-math.inf, -1.0, -200.0]], requires_grad=True)
    sampled = torch.tensor([[-1.0, -300.0, -1.0]])
    found = importance_ratio(old, sampled, torch.ones(1, 3, dtype=torch.bool), level, None)
    assert torch.isfinite(found).all()
    assert not found.requires_grad


def test_importance_weights_make_the_expectation_right():
    """Over all tokens of a small vocabulary, drawn from the sampler: E[q f] = E_old[f]."""
    generator = torch.Generator().manual_seed(3)
    old, sampled = (torch.randn(1, 12, generator=generator, dtype=torch.float64).log_softmax(-1) for _ in range(2))
    values = torch.randn(1, 12, generator=generator, dtype=torch.float64)
    weights = truncate(old, sampled, loss_mask=torch.ones(1, 12, dtype=torch.bool), cap=math.inf)
    expected = (old.exp() * values).sum()
    torch.testing.assert_close((sampled.exp() * weights * values).sum(), expected, rtol=1e-12, atol=0)


def test_segments_by_hand():
    values = torch.tensor([[1.0, 2.0, 4.0, math.nan], [1.0, 1.0, 8.0, 9.0]])
    keep = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]], dtype=torch.bool)
    ids = torch.tensor([[10**12, 3, 10**12, -1], [0, 0, 0, 3]])
    assert segment_sum(values, keep, ids)[keep].tolist() == [5, 2, 5, 10, 10, 10, 9]
    assert segment_mean(values, keep, ids)[keep].tolist() == pytest.approx([2.5, 2, 2.5, *[10 / 3] * 3, 9])
    assert segment_sum(values, keep, None)[keep].tolist() == [7, 7, 7, 19, 19, 19, 19]
    with pytest.raises(ValueError, match="one shape"):
        segment_sum(values, keep, ids[0])
