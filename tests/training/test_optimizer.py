"""Optimizers, schedules and clipping: steps by hand, bits after a restart, and what must not move."""

import copy
import io
import math

import pytest
import torch
from tests.training.step_cases import tiny_model
from torch import nn

from openklear.errors import NonFinite
from openklear.recipe.optimizers import AdamW, AdamW8bit, Muon
from openklear.training.optimizer import build_optimizer, clip_gradients, warmup_constant, warmup_cosine

SETTINGS = [AdamW(), AdamW8bit(), Muon()]


def fill_gradients(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def is_matrix_of_a_block(name, parameter):
    return parameter.ndim == 2 and "layers" in name


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: s.type)
def test_decay_alone_moves_only_the_matrices_of_the_blocks(settings):
    """With gradients of zero only weight decay is left: p (1 - lr * decay) on matrices, and not a bit elsewhere."""
    model = tiny_model()
    before = weights(model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer = build_optimizer(model, settings.model_copy(update={"weight_decay": 0.25}))
    optimizer.set_learning_rate(0.1)
    optimizer.step()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name, p in before.items() if is_matrix_of_a_block(name, p)}
    assert len(moved) == 14  # 2 layers x (q, k, v, o, gate, up, down)
    assert {n for n in before if "norm" in n or "embed" in n}.isdisjoint(moved)
    for name in moved:
        torch.testing.assert_close(model.get_parameter(name), before[name] * (1 - 0.1 * 0.25))


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: s.type)
def test_an_untied_head_does_not_decay(settings):
    model = tiny_model()
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())
    before = model.lm_head.weight.detach().clone()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer = build_optimizer(model, settings)
    optimizer.set_learning_rate(0.1)
    optimizer.step()
    assert torch.equal(model.lm_head.weight, before)


def test_adamw_by_hand():
    """Two steps of one weight: m, v, bias correction, decay, in plain numbers."""
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.5)
    optimizer = build_optimizer(model, AdamW(beta1=0.8, beta2=0.9, weight_decay=0.1))
    p, m, v = 0.5, 0.0, 0.0
    for step, (rate, gradient) in enumerate([(0.01, 2.0), (0.02, -1.0)], start=1):
        model.weight.grad = torch.tensor([[gradient]])
        optimizer.set_learning_rate(rate)
        optimizer.step()
        m, v = 0.8 * m + 0.2 * gradient, 0.9 * v + 0.1 * gradient**2
        p -= rate * 0.1 * p
        p -= rate * (m / (1 - 0.8**step)) / (math.sqrt(v / (1 - 0.9**step)) + 1e-8)
        assert model.weight.item() == pytest.approx(p, rel=1e-6)


def test_moments_of_8_bits_take_a_quarter_and_steps_stay_close():
    """Of a matrix of 64 x 256: two bytes a number and two scales for 256; its steps are AdamW's but for the rounding."""
    found = []
    for settings in (AdamW(), AdamW8bit()):
        torch.manual_seed(0)
        model = nn.Linear(256, 64, bias=False)
        optimizer = build_optimizer(model, settings)
        before = model.weight.detach().clone()
        for seed in range(5):
            fill_gradients(model, seed)
            optimizer.set_learning_rate(0.01)
            optimizer.step()
        found.append((model.weight.detach() - before, optimizer.state_dict()["parts"][0]["state"][0]))
    (wide, whole), (narrow, quantised) = found
    assert torch.linalg.vector_norm(wide - narrow) < 0.05 * torch.linalg.vector_norm(wide)
    assert not torch.equal(wide, narrow)
    held = [
        sum(t.nbytes for n, t in quantised[m].items() if n in ("codes", "scale")) for m in ("exp_avg", "exp_avg_sq")
    ]
    assert held == [64 * 256 * (1 + 4 / 256)] * 2
    assert whole["exp_avg"].nbytes == 64 * 256 * 4


def test_quantised_moments_come_back_with_their_bits():
    """Through a file that torch reads without torchao; another optimizer's moments begin anew."""
    models = [nn.Sequential(nn.Linear(256, 32), nn.Linear(32, 64)) for _ in range(3)]
    for model in models[1:]:
        model.load_state_dict(models[0].state_dict())
    first = build_optimizer(models[0], AdamW8bit())

    def step(model, optimizer, seed):
        fill_gradients(model, seed)
        optimizer.set_learning_rate(0.01)
        optimizer.step()

    step(models[0], first, 0)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    assert set(saved["parts"][0]["state"][0]["exp_avg"]) == {"codes", "scale", "qmap", "signed"}
    models[1].load_state_dict(models[0].state_dict())
    again = build_optimizer(models[1], AdamW8bit(beta1=0.5))
    assert again.take_over(saved) is None
    assert equal(again.state_dict()["parts"][0]["state"], first.state_dict()["parts"][0]["state"])
    again = build_optimizer(models[1], AdamW8bit())
    again.take_over(saved)
    for seed in (1, 2):
        step(models[0], first, seed)
        step(models[1], again, seed)
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))
    assert "AdamW8bit" in build_optimizer(models[2], AdamW()).take_over(saved)


def test_muon_moves_matrices_by_orthogonal_steps():
    """The first step of a matrix is -lr sqrt(max(1, rows / columns)) times nearly U V^T of its gradient."""
    model = tiny_model()
    before = weights(model)
    fill_gradients(model, 0)
    gradients = {n: p.grad.clone() for n, p in model.named_parameters()}
    optimizer = build_optimizer(model, Muon(weight_decay=0.0, adam_ratio=0.5))
    optimizer.set_learning_rate(0.02)
    optimizer.step()
    for name, parameter in model.named_parameters():
        step = (parameter - before[name]).detach()
        if is_matrix_of_a_block(name, parameter):
            scaled = step / (0.02 * max(1, step.shape[0] / step.shape[1]) ** 0.5)
            values = torch.linalg.svdvals(scaled)
            assert 0.6 < values.min() <= values.max() < 1.3, name  # five Newton-Schulz steps get this near to 1
            u, _, vt = torch.linalg.svd(gradients[name], full_matrices=False)
            assert torch.linalg.matrix_norm(scaled + u @ vt) < 0.35 * len(values) ** 0.5, name
        else:  # Adam's first step is the sign of the gradient
            torch.testing.assert_close(step, -0.02 * 0.5 * gradients[name].sign(), rtol=1e-3, atol=1e-6)


def test_muon_momentum_is_nesterovs():
    """Beside AdamW with betas .9 and .95 on the bias, against a loop of our own: B = m B + (1 - m) g, direction (1 - m) g + m B, orthogonalised by the quintic."""
    torch.manual_seed(0)
    model = nn.Linear(6, 4, bias=True)
    optimizer = build_optimizer(model, Muon(momentum=0.9, weight_decay=0.3))
    optimizer.set_learning_rate(0.05)
    p, buffer = model.weight.detach().clone(), torch.zeros(4, 6)
    bias, m, v = model.bias.detach().clone(), 0, 0
    for seed in range(3):
        fill_gradients(model, seed)
        m, v = 0.9 * m + 0.1 * model.bias.grad, 0.95 * v + 0.05 * model.bias.grad**2
        bias = bias - 0.05 * 0.15 * m / (1 - 0.9 ** (seed + 1)) / (v / (1 - 0.95 ** (seed + 1))).sqrt()
        buffer = 0.9 * buffer + 0.1 * model.weight.grad
        x = 0.1 * model.weight.grad + 0.9 * buffer
        x = x / x.norm()
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        p = p * (1 - 0.05 * 0.3) - 0.05 * x
        optimizer.step()
        torch.testing.assert_close(model.weight.detach(), p, rtol=0, atol=0.05 * 0.03 * (seed + 1))  # torch's is bf16
        torch.testing.assert_close(model.bias.detach(), bias)


def test_momentum_and_betas_are_read():
    def after(settings):
        model = tiny_model()
        optimizer = build_optimizer(model, settings)
        for seed in range(2):
            fill_gradients(model, seed)
            optimizer.set_learning_rate(0.01)
            optimizer.step()
        return torch.cat([p.flatten() for p in model.parameters()])

    found = [
        after(s)
        for s in (AdamW(), AdamW(beta1=0.5), AdamW(beta2=0.5), Muon(), Muon(momentum=0.5), Muon(adam_ratio=0.3))
    ]
    assert all(not torch.equal(a, b) for i, a in enumerate(found) for b in found[:i])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: s.type)
def test_a_restart_gives_the_same_bits(settings, dtype):
    """Weights and state through files and into a new process's objects: further steps are equal in every bit."""

    def steps(model, optimizer, seeds):
        for seed in seeds:
            fill_gradients(model, seed)
            optimizer.set_learning_rate(0.01 / (seed + 1))
            optimizer.step()
            optimizer.zero_grad()

    model = tiny_model().to(dtype)
    optimizer = build_optimizer(model, settings)
    steps(model, optimizer, range(3))
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = tiny_model(seed=5).to(dtype)
    resumed = build_optimizer(other, settings)
    other.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    steps(model, optimizer, range(3, 6))
    steps(other, resumed, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: s.type)
def test_a_step_without_gradients_changes_nothing(settings):
    """No weight decay and no momentum where there was no update: neither weights nor moments move."""
    model = tiny_model()
    optimizer = build_optimizer(model, settings)
    optimizer.set_learning_rate(0.1)
    fill_gradients(model, 0)
    optimizer.step()
    optimizer.zero_grad()
    assert all(p.grad is None for p in model.parameters())
    before, state = weights(model), copy.deepcopy(optimizer.state_dict())
    optimizer.step()
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
    assert equal(state, optimizer.state_dict())


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: s.type)
def test_frozen_weights_stay(settings):
    model = tiny_model()
    frozen = model.get_parameter("model.layers.0.mlp.up_proj.weight").requires_grad_(False)
    before = frozen.clone()
    optimizer = build_optimizer(model, settings)
    fill_gradients(model, 0)
    optimizer.set_learning_rate(0.1)
    optimizer.step()
    assert torch.equal(frozen, before)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: s.type)
def test_small_steps_add_up_in_bf16(settings):
    """A step of 1e-3 of a bf16 weight's spacing is lost alone; 1,000 of them must move the weight by one spacing."""
    model = nn.Linear(1, 1).bfloat16()
    with torch.no_grad():
        model.bias.fill_(1.0)
    optimizer = build_optimizer(model, settings)
    ratio = getattr(settings, "adam_ratio", 1.0)
    for _ in range(1000):
        model.weight.grad, model.bias.grad = torch.zeros_like(model.weight), torch.ones_like(model.bias)
        optimizer.set_learning_rate(2**-18 / ratio)  # below 1 the spacing is 2^-8
        optimizer.step()
    assert model.bias.item() == pytest.approx(1 - 1000 * 2**-18, abs=2**-9)
    assert model.bias.dtype == torch.bfloat16


def test_clip_by_hand():
    model = nn.Linear(2, 1)
    model.weight.grad, model.bias.grad = torch.tensor([[3.0, 4.0]]), torch.tensor([12.0])
    assert clip_gradients(model, 26.0) == 13.0  # sqrt(9 + 16 + 144), under the limit
    assert model.weight.grad.tolist() == [[3.0, 4.0]]
    assert clip_gradients(model, 1.3) == 13.0
    torch.testing.assert_close(model.weight.grad, torch.tensor([[0.3, 0.4]]), rtol=1e-5, atol=0)
    torch.testing.assert_close(model.bias.grad, torch.tensor([1.2]), rtol=1e-5, atol=0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_is_refused_and_kept_for_the_dump(bad):
    model = nn.Linear(2, 1)
    model.weight.grad, model.bias.grad = torch.tensor([[3.0, bad]]), torch.tensor([12.0])
    with pytest.raises(NonFinite, match="norm is"):
        clip_gradients(model, 1.0)
    assert model.bias.grad.item() == 12.0
    assert model.weight.grad[0, 0].item() == 3.0


def test_warmup_constant_by_hand():
    assert [warmup_constant(s, 4, 2.0) for s in range(6)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert [warmup_constant(s, 0, 2.0) for s in range(3)] == [2.0, 2.0, 2.0]
    assert warmup_constant(0, 1, 2.0) == 2.0


def test_warmup_cosine_by_hand():
    # 2 steps up, then 4 steps along half a cosine from 8 to 4: 6 + 2 cos(45, 90, 135, 180 degrees).
    root = math.sqrt(2)
    expected = [4.0, 8.0, 6 + root, 6.0, 6 - root, 4.0]
    assert [warmup_cosine(s, 6, 2, 8.0, 4.0) for s in range(6)] == pytest.approx(expected, rel=1e-12)
    assert [warmup_cosine(s, 3, 0, 8.0, 4.0) for s in range(3)] == pytest.approx([8.0, 6.0, 4.0], rel=1e-12)


@pytest.mark.parametrize(("total", "warmup"), [(1, 0), (1, 1), (3, 3), (2, 10), (100, 10), (100, 0)])
def test_warmup_cosine_at_its_ends(total, warmup):
    rates = [warmup_cosine(s, total, warmup, 1.0, 0.25) for s in range(total)]
    assert all(0 < r <= 1 for r in rates)
    top = max(warmup - 1, 0)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    if top < total:
        assert rates[top] == 1.0
    if top < total - 1:
        assert rates[-1] == 0.25


def equal(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other
