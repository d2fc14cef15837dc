"""Packed rows against each sequence alone, by the model's own attention, over architectures."""

import copy

import pytest
import torch
from tests.models.architectures import ARCHITECTURES, make
from tests.training.step_cases import distance

from openklear.errors import ModelError
from openklear.models.attention import Segments, can_pack, packed_states

LENGTHS = (19, 17, 16, 9, 8, 8, 3, 1)
PADDED = {"gemma2", "gptj", "stablelm"}
"""Soft caps, and attention of its own."""
SINGLE = {"gemma", "gemma3", "cohere", "mixtral", "qwen3 moe"}
"""Norms that are float32 whatever the model is, and experts that are not to be had in float64."""


def row(model, lengths=LENGTHS):
    generator = torch.Generator().manual_seed(1)
    vocabulary = model.get_input_embeddings().weight.shape[0]
    return torch.randint(0, vocabulary, (1, sum(lengths)), generator=generator), Segments(lengths, torch.device("cpu"))


def alone(model, ids, lengths=LENGTHS):
    """States of each sequence by itself, as the library computes them."""
    parts = ids.split(lengths, dim=1)
    return torch.cat([model.get_decoder()(input_ids=p, use_cache=False).last_hidden_state for p in parts], dim=1)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_packed_row_is_its_sequences(name):
    """States and gradients; what cannot be packed is known, and said to be so."""
    model = make(name).model.to(torch.float32 if name in SINGLE else torch.float64)
    ids, segments = row(model)
    expected = alone(copy.deepcopy(model), ids)  # a copy: asking whether it can be packed has not touched it
    if name in PADDED:
        assert not can_pack(model)
        assert model.config._attn_implementation != "openklear"
        with pytest.raises(ModelError, match="cannot share a row"):
            packed_states(model, ids, segments)
        return
    assert can_pack(model)
    found = packed_states(model, ids, segments)
    accurate = 1e-5 if name in SINGLE else 1e-12
    assert distance(expected.detach(), found.detach()) <= accurate
    weigh = torch.randn(found.shape, generator=torch.Generator().manual_seed(2), dtype=found.dtype)
    gradients = []
    for states in (found, alone(model, ids)):
        model.zero_grad()
        (states * weigh).sum().backward()
        found = [p.new_zeros(p.shape) if p.grad is None else p.grad for p in model.parameters()]
        gradients.append(torch.cat([g.ravel() for g in found]))
    assert distance(*gradients) <= accurate


@pytest.mark.parametrize("window", [1, 2, 5, 16, 17, 18, 64])
def test_windows(window):
    """Sequences shorter, as long, and longer than a window: the library's own mask says what is seen."""
    model = make("mistral", sliding_window=window).model.double()
    ids, segments = row(model)
    expected = alone(copy.deepcopy(model), ids)
    assert can_pack(model)
    torch.testing.assert_close(packed_states(model, ids, segments), expected, atol=1e-9, rtol=1e-9)


def test_layers_with_and_without_windows():
    """Gemma 3 alternates; a window of 4 bites."""
    model = make("gemma3", sliding_window=4, num_hidden_layers=6).model.double()
    ids, segments = row(model)
    expected = alone(copy.deepcopy(model), ids)
    assert can_pack(model)
    found = packed_states(model, ids, segments)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)
    wide = make("gemma3", sliding_window=400, num_hidden_layers=6).model.double()
    assert not torch.allclose(alone(wide, ids), expected, atol=1e-3)


def test_the_order_of_lengths_does_not_matter():
    model = make("qwen3").model.double()
    lengths = (3, 19, 1, 8, 17, 8, 2, 40, 39)
    ids, segments = row(model, lengths)
    expected = alone(copy.deepcopy(model), ids, lengths)
    torch.testing.assert_close(packed_states(model, ids, segments), expected, atol=1e-9, rtol=1e-9)


def test_without_segments_nothing_changes():
    """A model that was packed once computes padded batches, masks and caches as before, bit for bit."""
    model = make("qwen3").model
    plain = copy.deepcopy(model)
    assert can_pack(model)
    ids = torch.randint(0, 200, (3, 12), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids)
    mask[0, :5] = mask[2, :9] = 0
    for inputs in ({"input_ids": ids}, {"input_ids": ids, "attention_mask": mask}):
        assert torch.equal(model(**inputs).logits, plain(**inputs).logits)
    whole, more = {}, {}
    for each, kept in ((model, whole), (plain, more)):
        kept["ids"] = each.generate(ids, attention_mask=mask, max_new_tokens=5, do_sample=False)
    assert torch.equal(whole["ids"], more["ids"])


def test_another_attention_is_found_out():
    """Somebody changed it after it was tried: the row must not come out wrong in silence."""
    model = make("qwen3").model
    ids, segments = row(model)
    assert can_pack(model)
    model.set_attn_implementation("eager")
    with pytest.raises(ModelError, match="cannot share a row"):
        packed_states(model, ids, segments)
    model.set_attn_implementation("sdpa")
    expected = alone(model, ids)
    torch.testing.assert_close(packed_states(model, ids, segments), expected, atol=1e-4, rtol=1e-4)
