import copy
import math

import pytest
import torch

from openklear.errors import ModelError
from openklear.models import logprobs as module
from openklear.models.attention import Segments
from openklear.models.logprobs import sequence_logprobs
from openklear.models.tiny import make_tiny


@pytest.fixture(scope="module")
def model():
    return make_tiny(32, 2, 2, 64, seed=3).model


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 278, (3, 12), generator=generator)
    mask = torch.rand(3, 12, generator=generator) < 0.6
    mask[:, 0] = False
    return ids, mask


def naive(model, ids, mask, temperature=1.0):
    """One position at a time, from the model's own logits in float64."""
    logits = model(input_ids=ids).logits.double() / temperature
    values = torch.zeros(ids.shape, dtype=torch.float64)
    entropies = torch.zeros(ids.shape, dtype=torch.float64)
    for b, t in mask.nonzero().tolist():
        row = logits[b, t - 1]
        values[b, t] = row[ids[b, t]] - torch.logsumexp(row, 0)
        p = torch.exp(row - torch.logsumexp(row, 0))
        entropies[b, t] = -(p * torch.log(p)).sum().detach()
    return values, entropies


class Counting(torch.nn.Module):
    """Stands in for a decoder: the state after token i is the i-th unit vector."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, input_ids, use_cache):
        states = torch.nn.functional.one_hot(input_ids, self.size).float()
        return type("Output", (), {"last_hidden_state": states})


def test_alignment_by_hand(monkeypatch):
    """Three tokens, a head written by hand: the log-probability of token t stands at t and comes from t - 1."""
    model = make_tiny(4, 1, 1, 8, seed=0).model
    head = torch.nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        # After token 0: p = (1, 1, 2) / 4; after 1: p = (1, 8, 1) / 10; after 2: uniform.
        head.weight.copy_(torch.tensor([[1.0, 1.0, 1.0], [1.0, 8.0, 1.0], [2.0, 1.0, 1.0]]).log())
    model.get_decoder = lambda: Counting(3)
    model.get_output_embeddings = lambda: head
    monkeypatch.setattr(module, "verify_head", lambda model: None)  # the model's own logits come from its own decoder
    ids = torch.tensor([[0, 2, 1]])
    logprobs, entropies = sequence_logprobs(model, ids, torch.tensor([[False, True, True]]))
    assert logprobs.tolist() == [pytest.approx([0.0, math.log(1 / 2), math.log(1 / 3)], abs=1e-6)]
    assert entropies.tolist() == [pytest.approx([0.0, 1.5 * math.log(2), math.log(3)], abs=1e-6)]


@pytest.mark.parametrize("temperature", [1.0, 0.6, 2.0])
def test_equals_full_logits(model, batch, temperature):
    ids, mask = batch
    logprobs, entropies = sequence_logprobs(model, ids, mask, temperature=temperature)
    expected, expected_entropies = naive(model, ids, mask, temperature)
    assert logprobs.dtype == entropies.dtype == torch.float32
    torch.testing.assert_close(logprobs.double(), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(entropies.double(), expected_entropies, atol=1e-5, rtol=0)
    assert not entropies.requires_grad
    assert bool((logprobs[~mask] == 0).all())
    assert bool((entropies[~mask] == 0).all())


@pytest.mark.parametrize("chunk_tokens", [1024, 4, 1])
def test_gradient_equals_naive(model, batch, chunk_tokens):
    ids, mask = batch
    weights = torch.randn(ids.shape, generator=torch.Generator().manual_seed(1))
    gradients = []
    for values in (
        sequence_logprobs(model, ids, mask, chunk_tokens=chunk_tokens)[0],
        naive(model, ids, mask)[0].float(),
    ):
        model.zero_grad()
        (values * weights).sum().backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    assert any(bool(g.abs().max() > 1e-3) for g in gradients[0].values())
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("chunk_tokens", [1, 5, 13])
def test_chunk_size_does_not_matter(model, batch, chunk_tokens):
    ids, mask = batch
    whole = sequence_logprobs(model, ids, mask)
    chunked = sequence_logprobs(model, ids, mask, chunk_tokens=chunk_tokens)
    for a, b in zip(whole, chunked, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


@pytest.mark.parametrize("fill", [0, 5, 277])
def test_right_padding_does_not_matter(model, fill):
    """Rows of three lengths, padded with anything, give what each gives alone, forward and backward."""
    generator = torch.Generator().manual_seed(2)
    rows = [torch.randint(0, 278, (n,), generator=generator) for n in (4, 9, 15)]
    padded = torch.full((3, 15), fill)
    mask = torch.zeros(3, 15, dtype=torch.bool)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
        mask[i, 2 : len(row)] = True
    together, together_entropy = sequence_logprobs(model, padded, mask)
    model.zero_grad()
    together.sum().backward()
    gradient = model.model.embed_tokens.weight.grad.clone()
    model.zero_grad()
    for i, row in enumerate(rows):
        alone, alone_entropy = sequence_logprobs(model, row[None], mask[i : i + 1, : len(row)])
        alone.sum().backward()
        torch.testing.assert_close(together[i, : len(row)], alone[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(together_entropy[i, : len(row)], alone_entropy[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(gradient, model.model.embed_tokens.weight.grad, atol=1e-4, rtol=1e-4)


LENGTHS = (9, 7, 7, 5, 14, 3, 21, 2, 1)
"""Sequences packed in one row: some of like length beside each other, some not, one of a single token."""


def pack():
    """The sequences, and (ids, segments, mask) of the row that holds them."""
    generator = torch.Generator().manual_seed(4)
    parts = [torch.randint(0, 278, (n,), generator=generator) for n in LENGTHS]
    segments = Segments(LENGTHS, torch.device("cpu"))
    return parts, torch.cat(parts)[None], segments, segments.positions > 0


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_a_packed_segment_gives_what_it_gives_alone(model, dtype, tolerance):
    """Each value and the summed gradient as if no sequence had neighbours."""
    model = copy.deepcopy(model).to(dtype)
    parts, ids, segments, mask = pack()
    packed = sequence_logprobs(model, ids, mask, segments=segments, temperature=0.8)
    assert packed[0].dtype == packed[1].dtype == dtype
    together = torch.autograd.grad(packed[0].mean(), list(model.parameters()))
    alone_sum, at = 0, 0
    for part in parts:
        own_mask = torch.arange(len(part))[None] > 0
        alone = sequence_logprobs(model, part[None], own_mask, temperature=0.8)
        alone_sum = alone_sum + alone[0].sum()
        for a, b in zip(packed, alone, strict=True):
            torch.testing.assert_close(a[0, at : at + len(part)], b[0], atol=tolerance, rtol=0)
        at += len(part)
    apart = torch.autograd.grad(alone_sum / mask.numel(), list(model.parameters()))
    for a, b in zip(together, apart, strict=True):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=0)


def test_packing_without_segments_lets_sequences_see_each_other(model):
    """The check above can fail: neighbours matter where nothing parts them."""
    _, ids, segments, mask = pack()
    parted, _ = sequence_logprobs(model, ids, mask, segments=segments)
    joined, _ = sequence_logprobs(model, ids, mask)
    differs = (parted - joined).abs() > 1e-3
    assert not bool(differs[:, : LENGTHS[0]].any())
    assert bool(differs[:, LENGTHS[0] :].any())


def test_one_segment_changes_no_bit(model, batch):
    """The same kernel on the same numbers: a row of one sequence is that sequence."""
    ids, mask = batch[0][:1], batch[1][:1]
    alone = Segments((ids.shape[1],), torch.device("cpu"))
    assert torch.equal(sequence_logprobs(model, ids, mask, segments=alone)[0], sequence_logprobs(model, ids, mask)[0])


def test_segments_that_are_not_the_row_are_refused(model):
    _, ids, segments, mask = pack()
    with pytest.raises(ValueError, match="are not a row"):
        sequence_logprobs(model, ids[:, :-1], mask[:, :-1], segments=segments)
    mask = mask.clone()
    mask[0, LENGTHS[0]] = True
    with pytest.raises(ValueError, match="first token of each"):
        sequence_logprobs(model, ids, mask, segments=segments)


def test_float64_model_gives_float64(model, batch):
    ids, mask = batch
    high = copy.deepcopy(model).double()
    logprobs, entropies = sequence_logprobs(high, ids, mask, temperature=0.6)
    expected, expected_entropies = naive(high, ids, mask, 0.6)
    assert logprobs.dtype == entropies.dtype == torch.float64
    torch.testing.assert_close(logprobs, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(entropies, expected_entropies, atol=1e-12, rtol=0)


def test_bits_do_not_depend_on_gradients(model, batch):
    ids, mask = batch
    with torch.no_grad():
        without, _ = sequence_logprobs(model, ids, mask, entropy=False, chunk_tokens=4)
    assert torch.equal(without, sequence_logprobs(model, ids, mask, chunk_tokens=4)[0])


def test_bf16_model_gives_fp32(model, batch):
    """The head's product is taken in fp32, so the result is finer than bf16 logits could be."""
    ids, mask = batch
    low = copy.deepcopy(model).to(torch.bfloat16)
    logprobs, entropies = sequence_logprobs(low, ids, mask)
    assert logprobs.dtype == entropies.dtype == torch.float32
    states = low.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state.double()
    expected = torch.log_softmax(states @ low.lm_head.weight.double().T, -1)
    expected = expected[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
    torch.testing.assert_close(logprobs[:, 1:][mask[:, 1:]].double(), expected[mask[:, 1:]], atol=1e-5, rtol=0)
    logprobs.sum().backward()
    assert low.lm_head.weight.grad is not None


def test_no_masked_token_gives_zeros_with_a_gradient(model):
    ids = torch.ones(2, 4, dtype=torch.long)
    logprobs, entropies = sequence_logprobs(model, ids, torch.zeros(2, 4, dtype=torch.bool))
    assert bool((logprobs == 0).all())
    assert bool((entropies == 0).all())
    model.zero_grad()
    logprobs.sum().backward()


def test_no_grad_and_no_entropy(model, batch):
    ids, mask = batch
    with torch.no_grad():
        logprobs, entropies = sequence_logprobs(model, ids, mask, entropy=False, chunk_tokens=4)
    assert not logprobs.requires_grad
    assert torch.equal(entropies.isnan(), mask)
    torch.testing.assert_close(logprobs, sequence_logprobs(model, ids, mask)[0].detach(), atol=1e-5, rtol=0)


def test_first_column_and_shapes_are_refused(model):
    with pytest.raises(ValueError, match="first"):
        sequence_logprobs(model, torch.ones(1, 3, dtype=torch.long), torch.tensor([[True, True, True]]))
    with pytest.raises(ValueError, match="must both be"):
        sequence_logprobs(model, torch.ones(2, 3, dtype=torch.long), torch.zeros(2, 1, dtype=torch.bool))


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("gemma2", {"final_logit_softcapping": 0.5, "attn_logit_softcapping": None}),
        ("granite", {"logits_scaling": 3.0}),
        ("cohere", {"logit_scale": 0.25}),
    ],
)
def test_known_scales_and_caps(family, settings, batch):
    model = _other_family(family, **settings)
    module.verify_head(copy.deepcopy(model).to(torch.bfloat16))  # its own logits are rounded, and still pass
    ids, mask = batch
    values, _ = sequence_logprobs(model, ids % 32, mask)
    torch.testing.assert_close(values.double(), naive(model, ids % 32, mask)[0], atol=1e-5, rtol=0)


def test_a_head_with_a_bias(batch):
    model = _other_family("phi")
    with torch.no_grad():
        model.lm_head.bias.copy_(torch.linspace(-2, 2, 32))
    ids, mask = batch
    values, _ = sequence_logprobs(model, ids % 32, mask, temperature=0.7)
    torch.testing.assert_close(values.double(), naive(model, ids % 32, mask, 0.7)[0], atol=1e-5, rtol=0)
    values.sum().backward()
    assert bool(model.lm_head.bias.grad.any())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_unknown_scale_is_refused(model, batch, monkeypatch, dtype):
    strange = copy.deepcopy(model).to(dtype)
    forward = strange.forward

    def doubled(**arguments):
        output = forward(**arguments)
        output.logits = output.logits * 2
        return output

    monkeypatch.setattr(strange, "forward", doubled)
    with pytest.raises(ModelError, match="in a way that OpenKlear does not know"):
        sequence_logprobs(strange, *batch)


def _other_family(family, **settings):
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        family,
        vocab_size=32,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=32,
        pad_token_id=0,
        initializer_range=0.5,
        **settings,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config).eval()
