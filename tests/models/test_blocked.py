"""Attention in blocks: the formula, written out."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from openklear.models.blocked import BLOCK, LONGEST, attend_in_blocks, fits_blocks


def plain(query, key, value, scale):
    """The definition: softmax over the tokens up to one's own, with key heads repeated."""
    shared = query.shape[2] // key.shape[2]
    key, value = (x.repeat_interleave(shared, 2) for x in (key, value))
    scores = torch.einsum("bqhd,bkhd->bhqk", query, key) * scale
    ahead = torch.ones(query.shape[1], query.shape[1]).triu(1).bool()
    return torch.einsum("bhqk,bkhd->bqhd", scores.masked_fill(ahead, -torch.inf).softmax(-1), value)


def inputs(length, heads, shared, dtype=torch.float64):
    generator = torch.Generator().manual_seed(length)
    shapes = (heads, 6), (heads // shared, 6), (heads // shared, 4)
    made = [torch.randn(3, length, *shape, generator=generator, dtype=dtype) for shape in shapes]
    return [x.requires_grad_() for x in made]


@pytest.mark.parametrize("length", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 5])
@pytest.mark.parametrize(("heads", "shared"), [(4, 2), (3, 1), (3, 3)])
def test_it_is_the_definition_forwards_and_backwards(length, heads, shared):
    tensors = inputs(length, heads, shared)
    found, expected = attend_in_blocks(*tensors, 0.3), plain(*tensors, 0.3)
    torch.testing.assert_close(found, expected, atol=1e-13, rtol=1e-12)
    upstream = torch.randn(found.shape, dtype=found.dtype, generator=torch.Generator().manual_seed(1))
    gradients = [torch.autograd.grad(out, tensors, upstream) for out in (found, expected)]
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-13, rtol=1e-11)


def test_the_usual_scale_is_torchs():
    query, key, value = inputs(70, 4, 2, torch.float32)
    by_torch = scaled_dot_product_attention(
        *(x.transpose(1, 2) for x in (query, key, value)), is_causal=True, enable_gqa=True
    )
    torch.testing.assert_close(attend_in_blocks(query, key, value, None), by_torch.transpose(1, 2))


def test_what_is_done_here():
    """Long sequences would keep too much, dropout is torch's to draw, a narrow type loses digits in between."""
    one = torch.zeros(1)
    assert fits_blocks(one, LONGEST, 0.0)
    assert not fits_blocks(one, LONGEST + 1, 0.0)
    assert not fits_blocks(one, 5, 0.1)
    assert not fits_blocks(one.bfloat16(), 5, 0.0)
    assert not fits_blocks(one.double(), 5, 0.0)
    assert not fits_blocks(one.to("meta"), 5, 0.0)
