"""Muon with the matrices of a shape moved together, beside torch's own, one matrix after another."""

import pytest
import torch

from openklear.training.muon import BatchedMuon, orthogonal

SHAPES = [(8, 8), (24, 8), (8, 24), (8, 8), (24, 8), (5, 7), (64, 64), (64, 64)]
SETTINGS = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.9}


def matrices(seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=draw)) for shape in SHAPES]


def gradients(step):
    draw = torch.Generator().manual_seed(100 + step)
    return [torch.randn(shape, generator=draw) for shape in SHAPES]


def stepped(make, steps, *, skip=(), state=None, start=0):
    """The matrices after steps, and the optimizer; `skip`: places that get no gradient."""
    ours = matrices()
    optimizer = make(ours, **SETTINGS)
    if state is not None:
        weights, moments = state
        for matrix, weight in zip(ours, weights, strict=True):
            matrix.data.copy_(weight)
        optimizer.load_state_dict(moments)
    for step in range(start, start + steps):
        for place, (matrix, gradient) in enumerate(zip(ours, gradients(step), strict=True)):
            matrix.grad = None if place in skip else gradient
        optimizer.step()
    return [matrix.detach().clone() for matrix in ours], optimizer


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("skip", [(), (0, 4), (5,)])
def test_it_moves_as_torch_moves(nesterov, skip):
    """Within what one rounding to bfloat16 moves in a step: 2^-8 of the largest entry of an orthogonal matrix, times
    the rate and the scale; the sign of an update flipped, or a matrix mixed with its neighbour, is far beyond."""
    theirs, _ = stepped(lambda *m, **s: torch.optim.Muon(*m, **s, nesterov=nesterov), 4, skip=skip)
    ours, _ = stepped(lambda *m, **s: BatchedMuon(*m, **s, nesterov=nesterov), 4, skip=skip)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=4 * 0.02 * 3**0.5 * 2**-7)
        assert (one - other).abs().mean() < 1e-5


def test_its_state_is_torchs():
    weights, torchs = stepped(torch.optim.Muon, 2)
    whole, _ = stepped(torch.optim.Muon, 4)
    ours, _ = stepped(BatchedMuon, 2, state=(weights, torchs.state_dict()), start=2)
    for one, other in zip(ours, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=4 * 0.02 * 3**0.5 * 2**-7)


def test_singular_values_come_near_to_one_and_directions_stay():
    """The quintic iteration leaves them between about 0.7 and 1.2; U and V of the SVD are those of before."""
    draw = torch.Generator().manual_seed(1)
    batch = torch.randn(3, 12, 20, generator=draw)
    found = orthogonal(batch, (3.4445, -4.7750, 2.0315), 5, 1e-7).float()
    assert found.shape == batch.shape
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.6
    assert values.max() < 1.3
    left, _, right = torch.linalg.svd(batch, full_matrices=False)
    between = left.mT @ found @ right.mT
    off = between - torch.diag_embed(torch.diagonal(between, dim1=-2, dim2=-1))
    assert off.abs().max() < 0.05
    tall = orthogonal(batch.mT, (3.4445, -4.7750, 2.0315), 5, 1e-7).float()
    torch.testing.assert_close(tall, found.mT, rtol=0, atol=2**-6)


def test_a_closure_is_refused():
    with pytest.raises(ValueError, match="computes no loss"):
        BatchedMuon(matrices()).step(lambda: 0.0)
