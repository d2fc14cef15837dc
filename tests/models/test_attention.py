"""Packed rows against each sequence alone, by the model's own attention, over architectures."""

import copy

import numpy as np
import pytest
import torch
from tests.models.architectures import ARCHITECTURES, make
from tests.training.step_cases import distance, norms_in_their_own_type

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


def test_common_beginnings_are_in_the_row_once():
    """By hand: 1 2 6 6 3, 1 2 6 6 4 5, 9, 1 2 6 6, 1 2 6 6 3 is a row of 1 2 6 6 3, 4 5, 9; three tokens are too few."""
    begin = [1, 2, 6, 6]
    rows = [np.array(row, np.int32) for row in ([*begin, 3], [*begin, 4, 5], [9], begin, [*begin, 3])]
    segments = Segments.sharing(rows, torch.device("cpu"))
    assert segments.lengths == (5, 6, 1, 4, 5)
    assert segments.where.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 5, 6, 7, 0, 1, 2, 3, 0, 1, 2, 3, 4]
    assert segments.first.tolist() == [0, 1, 2, 3, 4, 9, 10, 11]
    assert segments.positions.tolist() == [[0, 1, 2, 3, 4, 4, 5, 0]]
    assert Segments.sharing([row[1:] for row in rows[:2]], torch.device("cpu")).where is None
    assert Segments.sharing(rows[1:3], torch.device("cpu")).where is None


@pytest.mark.parametrize("name", ["qwen3", "llama", "gemma3", "mistral"])
def test_sequences_that_share_a_beginning(name):
    """States at every token of every sequence, and gradients, are those of each alone."""
    more = {"sliding_window": 6} if name in ("gemma3", "mistral") else {}
    model = make(name, **more).model.to(torch.float32 if name in SINGLE else torch.float64)
    model = model if name in SINGLE else norms_in_their_own_type(model)
    generator = torch.Generator().manual_seed(5)
    prompts = [torch.randint(0, 200, (n,), generator=generator) for n in (7, 9)]
    ends = [torch.randint(0, 200, (n,), generator=generator) for n in (12, 1, 5, 5, 3, 9)]
    parts = [torch.cat([prompts[i % 2], end]) for i, end in enumerate(ends)]
    parts += [parts[0], parts[2][:4], torch.randint(0, 200, (6,), generator=generator)]
    lengths = tuple(map(len, parts))
    ids = torch.cat(parts)[None]
    expected = alone(model, ids, lengths)
    segments = Segments.sharing([part.numpy().astype(np.int32) for part in parts], ids.device)
    assert len(segments.first) == 7 + 9 + sum(map(len, ends)) + 6
    accurate = 1e-5 if name in SINGLE else 1e-12
    found = packed_states(model, ids, segments)[:, segments.places]
    assert distance(expected.detach(), found.detach()) <= accurate
    weigh = torch.randn(found.shape, generator=generator, dtype=found.dtype)
    gradients = []
    for states in (found, alone(model, ids, lengths)):
        model.zero_grad()
        (states * weigh).sum().backward()
        gradients.append(torch.cat([p.grad.ravel() for p in model.parameters() if p.grad is not None]))
    assert distance(*gradients) <= accurate
