import itertools

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from openklear.models import head as module
from openklear.models.head import Finish, head_logits, head_logprobs

TOKENS, VOCABULARY, WIDTH = 13, 17, 5
FINISHES = [Finish(), Finish(scale=0.25), Finish(cap=0.8), Finish(scale=3.0, cap=1.5)]
every_finish = pytest.mark.parametrize("finish", FINISHES, ids=str)


def case(dtype=torch.float64, tokens=TOKENS, vocabulary=VOCABULARY, width=WIDTH):
    """(hidden, weight, bias) with gradients on, targets."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((tokens, width), (vocabulary, width), (vocabulary,))
    floats = [torch.randn(s, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]
    return *floats, torch.randint(0, vocabulary, (tokens,), generator=generator)


def slow(hidden, weight, targets, bias=None, temperature=1.0, finish=Finish()):  # noqa: B008
    """Token by token from the definitions, in float64."""
    values, entropies = [], []
    for state, target in zip(hidden.double(), targets, strict=True):
        logits = (weight.double() * state).sum(-1) + (0 if bias is None else bias.double())
        logits = finish.scale * logits
        if finish.cap is not None:
            logits = finish.cap * torch.tanh(logits / finish.cap)
        powers = torch.exp(logits / temperature)
        p = powers / powers.sum()
        values.append(p[target].log())
        entropies.append(-(p * p.log()).sum().detach())
    return torch.stack(values), torch.stack(entropies)


def gradients(values, *inputs):
    """Gradients of a weighted sum in which every token has its own weight and sign."""
    weights = torch.linspace(-1, 2, len(values), dtype=values.dtype)
    return torch.autograd.grad((values * weights).sum(), inputs)


def same(found, expected, tolerance=1e-12):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


@every_finish
@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("with_bias", [True, False])
def test_values_and_gradients_equal_the_slow_version(finish, temperature, with_bias):
    hidden, weight, bias, targets = case()
    inputs = (hidden, weight, bias) if with_bias else (hidden, weight)
    options = {"bias": bias if with_bias else None, "temperature": temperature, "finish": finish}
    found = head_logprobs(hidden, weight, targets, chunk_tokens=4, **options)
    expected = slow(hidden, weight, targets, **options)
    assert found[0].dtype == found[1].dtype == torch.float64
    same(found, expected)
    same(gradients(found[0], *inputs), gradients(expected[0], *inputs))


@every_finish
def test_gradcheck(finish):
    hidden, weight, bias, targets = case(tokens=3, vocabulary=4, width=2)

    def values(hidden, weight, bias):
        return head_logprobs(
            hidden, weight, targets, bias=bias, temperature=0.7, finish=finish, entropy=False, chunk_tokens=2
        )[0]

    assert torch.autograd.gradcheck(values, (hidden, weight, bias))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_chunks_do_not_matter(dtype):
    hidden, weight, bias, targets = case(dtype)
    tolerance = 1e-12 if dtype == torch.float64 else 2e-5

    def results(chunk_tokens):
        values, entropies = head_logprobs(hidden, weight, targets, bias=bias, chunk_tokens=chunk_tokens)
        assert values.dtype == entropies.dtype == dtype
        return values, entropies, *gradients(values, hidden, weight, bias)

    whole = results(None)
    for chunk_tokens in (1, 2, 5, 12, 13, 14, 1000):
        same(results(chunk_tokens), whole, tolerance)


def test_chunks_follow_the_budget(monkeypatch):
    monkeypatch.setattr(module, "CHUNK_BYTES", 2 * 4 * VOCABULARY * 5)
    assert module.chunk_rows(13, VOCABULARY, torch.float32) == 5  # 13 = 5 + 5 + 3
    monkeypatch.setattr(module, "CHUNK_BYTES", 2 * 4 * VOCABULARY * 12)
    assert module.chunk_rows(13, VOCABULARY, torch.float32) == 7  # 13 = 7 + 6, not 12 + 1
    monkeypatch.setattr(module, "CHUNK_BYTES", 1)
    assert module.chunk_rows(13, VOCABULARY, torch.float32) == 1


def test_bits_depend_neither_on_gradients_nor_on_entropy():
    hidden, weight, bias, targets = case(torch.float32)
    with_all, _ = head_logprobs(hidden, weight, targets, bias=bias, chunk_tokens=5)
    with torch.no_grad():
        with_none, nothing = head_logprobs(hidden, weight, targets, bias=bias, chunk_tokens=5, entropy=False)
    assert with_all.requires_grad
    assert not with_none.requires_grad
    assert torch.equal(with_all, with_none)
    assert bool(nothing.isnan().all())


def test_entropy_has_no_gradient_and_adds_none():
    hidden, weight, _, targets = case()
    values, entropies = head_logprobs(hidden, weight, targets)
    assert not entropies.requires_grad
    same(gradients(values + entropies, hidden, weight), gradients(slow(hidden, weight, targets)[0], hidden, weight))


def test_entropy_where_probabilities_vanish():
    """One logit far above the rest: p underflows to 0 in fp32 and the entropy is 0, not NaN."""
    hidden = torch.tensor([[1.0], [0.0]])
    weight = torch.tensor([[1000.0], [0.0], [0.0], [0.0]])
    values, entropies = head_logprobs(hidden, weight, torch.tensor([1, 1]))
    assert entropies.tolist() == [0.0, pytest.approx(1.3862944)]
    assert values.tolist() == [-1000.0, pytest.approx(-1.3862944)]


@pytest.mark.parametrize("needed", list(itertools.product([True, False], repeat=3))[:-1])
def test_only_needed_gradients(needed):
    *floats, targets = case()
    floats = [x.detach().requires_grad_(wanted) for x, wanted in zip(floats, needed, strict=True)]
    hidden, weight, bias = floats
    values, _ = head_logprobs(hidden, weight, targets, bias=bias, chunk_tokens=4)
    with Created() as created:
        found = gradients(values, *(x for x in floats if x.requires_grad))
    expected = slow(hidden, weight, targets, bias)[0]
    same(found, gradients(expected, *(x for x in floats if x.requires_grad)))
    assert ((VOCABULARY, WIDTH) in created.shapes) == needed[1]
    assert ((TOKENS, WIDTH) in created.shapes) == needed[0]


def test_bf16_is_computed_in_fp32():
    hidden, weight, bias, targets = case(torch.bfloat16, width=64)
    values, entropies = head_logprobs(hidden, weight, targets, bias=bias, temperature=2.0, chunk_tokens=4)
    exact = [x.detach().double().requires_grad_() for x in (hidden, weight, bias)]
    expected = slow(exact[0], exact[1], targets, exact[2], temperature=2.0)
    assert values.dtype == entropies.dtype == torch.float32
    same((values.double(), entropies.double()), expected, 1e-5)
    # Chunks are summed before the one rounding to bf16, so a gradient is off by half a unit in its last place.
    for found, wanted in zip(gradients(values, hidden, weight, bias), gradients(expected[0], *exact), strict=True):
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=2**-8)


def test_mixed_types_end_in_their_own():
    hidden, weight, bias, targets = case(torch.bfloat16)
    weight = weight.detach().double().requires_grad_()
    values, _ = head_logprobs(hidden, weight, targets, bias=bias)
    assert values.dtype == torch.float64
    assert [g.dtype for g in gradients(values, hidden, weight, bias)] == [torch.bfloat16, torch.float64, torch.bfloat16]


def test_no_tokens():
    hidden, weight, bias, targets = case(tokens=0)
    values, entropies = head_logprobs(hidden, weight, targets, bias=bias)
    assert values.shape == entropies.shape == (0,)
    found = torch.autograd.grad(values.sum(), (hidden, weight, bias))
    assert [tuple(g.shape) for g in found] == [(0, WIDTH), (VOCABULARY, WIDTH), (VOCABULARY,)]
    assert not any(bool(g.any()) for g in found)
    assert head_logits(hidden, weight).shape == (0, VOCABULARY)


@every_finish
def test_head_logits(finish):
    hidden, weight, bias, _ = case()
    logits = head_logits(hidden, weight, bias=bias, finish=finish)
    expected = finish.scale * (hidden @ weight.T + bias).detach()
    if finish.cap is not None:
        expected = finish.cap * torch.tanh(expected / finish.cap)
    assert not logits.requires_grad
    same((logits,), (expected,))


class Created(TorchDispatchMode):
    """Notes what every operation inside makes: the largest number of elements, all shapes, all allocations."""

    def __init__(self):
        super().__init__()
        self.shapes, self.largest, self.allocated = set(), 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        made = function(*args, **kwargs)
        known = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() not in known:
                self.shapes.add(tuple(tensor.shape))
                self.largest = max(self.largest, tensor.numel())
                self.allocated += tensor.numel()
        return made


def test_logits_never_exist_whole():
    """The largest tensor of both passes is a pair of chunk buffers, and all chunks share it."""
    tokens, vocabulary, width, rows = 400, 1000, 3, 20
    hidden, weight, bias, targets = case(torch.float32, tokens, vocabulary, width)
    options = {"bias": bias, "temperature": 0.7, "finish": Finish(2.0, 30.0), "chunk_tokens": rows}
    with Created() as created:
        values, _ = head_logprobs(hidden, weight, targets, **options)
        values.sum().backward()
    assert created.largest == 2 * rows * vocabulary
    # Forward and backward one pair each; the rest is of the size of inputs and outputs, together below one more pair.
    assert created.allocated < 3 * created.largest
    with Created() as created:
        torch.log_softmax(hidden @ weight.T, -1)
    assert created.largest == tokens * vocabulary  # the same count sees the whole logits where they exist


def test_the_gradient_of_the_weight_is_the_accumulator():
    """No copy of (V, H) beside it: one tensor of that size is made in backward, and it ends as `weight.grad`."""
    hidden, weight, _, targets = case(torch.float32, tokens=8, vocabulary=500, width=50)
    values, _ = head_logprobs(hidden, weight, targets, chunk_tokens=2)
    with Created() as created:
        values.sum().backward()
    assert created.largest == 500 * 50
    assert created.allocated < 2 * 500 * 50
    assert weight.grad is not None


def test_what_does_not_fit_is_refused():
    hidden, weight, bias, targets = case()
    with pytest.raises(ValueError, match=r"\(N, H\)"):
        head_logprobs(hidden, weight[:, :2], targets)
    with pytest.raises(ValueError, match=r"\(N,\)"):
        head_logprobs(hidden, weight, targets[:-1])
    with pytest.raises(ValueError, match=r"\(V,\)"):
        head_logprobs(hidden, weight, targets, bias=bias[:-1])
    for options in ({"temperature": 0.0}, {"chunk_tokens": 0}):
        with pytest.raises(ValueError, match="positive"):
            head_logprobs(hidden, weight, targets, **options)
