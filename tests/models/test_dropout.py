"""Dropout by hashes: the share that it says, no pattern, and nothing but the token, the step and the layer decide."""

import numpy as np
import pytest
import torch

from openklear.models.chat import EncodedDemonstration
from openklear.models.dropout import Draws, TokenDropout, dropping, next_step, token_keys
from openklear.models.lora import add_adapters
from openklear.models.tiny import make_tiny
from openklear.recipe.optimizers import Lora
from openklear.training.step import supervised_gradient

SETTINGS = Lora(rank=4, alpha=8.0, dropout=0.3)


def rows(count=6):
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        length = int(rng.integers(6, 30))
        ids = rng.integers(7, 100, length).astype(np.int32)
        ids[:4] = (8, 9, 10, 11) if len(found) % 2 else ids[:4]  # some begin alike, and share that in a pack
        found.append(EncodedDemonstration(ids, np.arange(length) >= 3))
    return found


def test_keys_go_by_what_precedes():
    one, other = (token_keys(np.array(ids, dtype=np.int32)) for ids in ((5, 6, 7, 8), (5, 6, 9, 8)))
    assert np.array_equal(one[:2], other[:2])
    assert (one[2:] != other[2:]).all()
    assert len({*one.tolist(), *other.tolist()}) == 6


def model(settings=SETTINGS):
    found = make_tiny(16, 2, 2, 64, seed=0).model.double()
    add_adapters(found, settings, 0, "sft")
    generator = torch.Generator().manual_seed(1)
    for name, parameter in found.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator).double() * 0.3
    return found


def gradient(one, batch, microbatches, step=0):
    one.zero_grad()
    next_step(one, step)
    supervised_gradient(one, batch, microbatches)
    return torch.cat([p.grad.flatten() for p in one.parameters() if p.requires_grad])


def masks(share, tokens=512, width=256, layer="a", step=0):
    holder = torch.nn.Module()
    layers = TokenDropout(share, layer, Draws(holder, "run"))
    next_step(holder, step)
    keys = torch.from_numpy(token_keys(np.arange(tokens, dtype=np.int32)))[None]
    ones = torch.ones(1, tokens, width, requires_grad=True)
    with dropping(holder, keys):
        return layers(ones)[0].detach()


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_the_share_is_dropped_and_the_mean_stays(share):
    found = masks(share)
    dropped = found == 0
    error = 5 * (share * (1 - share) / found.numel()) ** 0.5
    assert dropped.double().mean().item() == pytest.approx(share, abs=error)
    torch.testing.assert_close(found[~dropped], torch.full_like(found[~dropped], 1 / (1 - share)))
    for axis, size in ((0, found.shape[0]), (1, found.shape[1])):
        spread = dropped.double().mean(axis).std().item()
        assert spread == pytest.approx((share * (1 - share) / size) ** 0.5, rel=0.2), "as of independent draws"


def test_neighbours_layers_and_steps_are_independent():
    first = (masks(0.5) == 0).double() - 0.5
    others = {
        "next token": torch.roll(first, 1, 0),
        "next input": torch.roll(first, 1, 1),
        "other layer": (masks(0.5, layer="b") == 0).double() - 0.5,
        "other step": (masks(0.5, step=1) == 0).double() - 0.5,
    }
    for name, other in others.items():
        assert abs((first * other).mean().item()) < 5 * 0.25 / first.numel() ** 0.5, name
    assert torch.equal(masks(0.5), masks(0.5))


def test_the_gradient_does_not_depend_on_micro_batches_padding_packs_or_order():
    one, batch = model(), rows()
    whole = gradient(one, batch, [[0, 1, 2, 3, 4, 5]])
    for microbatches in ([[0], [1, 2], [3, 4, 5]], [[5, 0], [3], [1, 4, 2]]):
        torch.testing.assert_close(gradient(one, batch, microbatches), whole, rtol=0, atol=1e-12)
    for microbatches in ([[(0, 1, 2)], [(3, 4, 5)]], [[(5, 0)], [3], [(1, 4, 2)]], [[(1, 3)], [(0, 2, 4, 5)]]):
        # 2e-8 without dropout too: what sequences share in a row is attended to in fp32
        torch.testing.assert_close(gradient(one, batch, microbatches), whole, rtol=0, atol=1e-7)
    plain = gradient(model(Lora(rank=4, alpha=8.0)), batch, [[0, 1, 2, 3, 4, 5]])
    assert (whole - plain).norm() > 0.05 * plain.norm(), "it acts"
    assert not torch.equal(gradient(one, batch, [[0, 1, 2, 3, 4, 5]], step=1), whole)


def test_sequences_that_begin_alike_are_computed_apart():
    """What is dropped goes by the whole sequence, so a common beginning is not common."""
    one, batch = model(), rows()
    start = np.arange(10, 18, dtype=np.int32)
    alike = [EncodedDemonstration(np.r_[start, r.ids], np.r_[np.zeros(8, bool), r.loss_mask]) for r in batch]
    whole = gradient(one, alike, [[0], [1], [2], [3], [4], [5]])
    torch.testing.assert_close(gradient(one, alike, [[(0, 1, 2)], [(3, 4, 5)]]), whole, rtol=0, atol=1e-12)


def test_the_gradient_of_activations_computed_again_is_the_same():
    one, batch = model(), rows()
    whole = gradient(one, batch, [[0, 1, 2], [3, 4, 5]])
    one.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    one.train()
    assert torch.equal(gradient(one, batch, [[0, 1, 2], [3, 4, 5]]), whole)


def test_the_mean_gradient_over_steps_is_near_that_without():
    """In the first layers' B, which are linear in what is dropped, to the first order."""
    one, batch = model(Lora(rank=4, alpha=0.01, dropout=0.3)), rows(3)
    plain = gradient(model(Lora(rank=4, alpha=0.01)), batch, [[0, 1, 2]])
    mean = torch.stack([gradient(one, batch, [[0, 1, 2]], step) for step in range(30)]).mean(0)
    assert (mean - plain).norm() < 0.25 * plain.norm()


def test_nothing_is_dropped_outside_of_a_step_of_sft():
    one = model()
    ids = torch.randint(7, 100, (2, 9), generator=torch.Generator().manual_seed(0))
    plain = model(Lora(rank=4, alpha=8.0))
    assert torch.equal(one(ids).logits, plain(ids).logits)
    with dropping(one, torch.zeros(2, 9)), torch.no_grad():
        assert torch.equal(one(ids).logits, plain(ids).logits)
