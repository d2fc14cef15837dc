"""The policy losses against the closed forms, against the report's equations written out, and on hostile numbers."""

import inspect
import math
import typing

import pytest
import torch

from openklear.objectives import weights
from openklear.objectives.policy import OBJECTIVES, cispo, gppo, ppo_clip, reinforce
from openklear.objectives.ratio import LOG_RATIO_BOUND
from openklear.objectives.weights import WEIGHTS
from openklear.recipe import schema

BAND = {"clip_low": 0.2, "clip_high": 0.28}
BANDS = {"gppo": BAND, "ppo_clip": BAND, "cispo": BAND, "reinforce": {}}
RATIOS = (0.1, 0.5, 0.79, 1.0, 1.27, 1.5, 3.1, 12.0)
# losses.md, "Check values": w at RATIOS with clip_low .2 and clip_high .28, A > 0 and A < 0. GPPO's rows are printed
# there; the others are read off its table.
CHECK_VALUES = {
    ("gppo", 1): (0.10, 0.50, 0.79, 1, 1.27, 1.28, 1.28, 1.28),
    ("gppo", -1): (0.80, 0.80, 0.80, 1, 1.27, 1.5, 3.1, 12),
    ("ppo_clip", 1): (0.10, 0.50, 0.79, 1, 1.27, 0, 0, 0),
    ("ppo_clip", -1): (0, 0, 0, 1, 1.27, 1.5, 3.1, 12),
    ("cispo", 1): (0.80, 0.80, 0.80, 1, 1.27, 1.28, 1.28, 1.28),
    ("cispo", -1): (0.80, 0.80, 0.80, 1, 1.27, 1.28, 1.28, 1.28),
    ("reinforce", 1): (1,) * 8,
    ("reinforce", -1): (1,) * 8,
}


def tokens(rows: int, columns: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """logprobs with gradient, old_logprobs with log-uniform ratios in 1e-4 .. 1e4, advantages of both signs; float64."""
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(3, rows, columns, generator=generator, dtype=torch.float64)
    logprobs = -10 * uniform[0]
    log_ratio = (2 * uniform[1] - 1) * math.log(1e4)
    advantages = 4 * uniform[2] - 2
    return logprobs.requires_grad_(), logprobs.detach() - log_ratio, advantages


def gradient(name, logprobs, old, advantages, **more):
    loss = OBJECTIVES[name](logprobs, old, advantages, **BANDS[name], **more)
    return torch.autograd.grad(loss.sum(), logprobs)[0]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_autograd_gives_the_closed_form_on_100_000_tokens(name):
    logprobs, old, advantages = tokens(100, 1000, seed=1)
    ratio = (logprobs.detach() - old).exp()
    assert ratio.min() < 2e-4
    assert ratio.max() > 5e3
    weight = WEIGHTS[name](ratio, advantages > 0, **BANDS[name])
    found = gradient(name, logprobs, old, advantages) / -advantages
    assert ((found - weight).abs() <= 1e-12 * weight.abs().clamp(min=1)).all()


@pytest.mark.parametrize(("name", "sign"), CHECK_VALUES)
def test_check_values(name, sign):
    expected = torch.tensor(CHECK_VALUES[name, sign], dtype=torch.float64)
    ratio = torch.tensor(RATIOS, dtype=torch.float64)
    closed = WEIGHTS[name](ratio, torch.full(ratio.shape, sign > 0), **BANDS[name])
    torch.testing.assert_close(closed, expected, rtol=1e-12, atol=0)
    logprobs = torch.full((1, 8), -3.0, dtype=torch.float64, requires_grad=True)
    found = gradient(name, logprobs, -3.0 - ratio.log()[None], torch.full((1, 8), 1.7 * sign, dtype=torch.float64))
    torch.testing.assert_close(found[0], -1.7 * sign * expected, rtol=1e-12, atol=0)


def clip_higher_as_printed(logprobs, old, advantages):
    ratio = (logprobs - old).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.28) * advantages)


def gppo_as_printed(logprobs, old, advantages):
    ratio = (logprobs - old).exp()
    low, high = 0.8 / ratio.detach() * ratio, 1.28 / ratio.detach() * ratio
    return -torch.minimum(ratio * advantages, torch.minimum(torch.maximum(ratio, low), high) * advantages)


def cispo_as_printed(logprobs, old, advantages):
    return -advantages * (logprobs - old).exp().clamp(0.8, 1.28).detach() * logprobs


def reinforce_as_printed(logprobs, old, advantages):
    return -advantages * logprobs


@pytest.mark.parametrize(
    ("function", "printed"),
    [
        (gppo, gppo_as_printed),
        (ppo_clip, clip_higher_as_printed),
        (cispo, cispo_as_printed),
        (reinforce, reinforce_as_printed),
    ],
)
def test_value_is_that_of_the_equation_as_printed(function, printed):
    logprobs, old, advantages = tokens(20, 50, seed=2)
    band = BANDS[function.__name__]
    expected = printed(logprobs, old, advantages)
    torch.testing.assert_close(function(logprobs, old, advantages, **band), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("function", "printed"), [(gppo, gppo_as_printed), (ppo_clip, clip_higher_as_printed)])
def test_gradient_is_that_of_the_equation_as_printed(function, printed):
    """A second oracle beside the closed forms: autograd through Eq. 7 and Eq. 11 themselves."""
    logprobs, old, advantages = tokens(20, 50, seed=3)
    expected = torch.autograd.grad(printed(logprobs, old, advantages).sum(), logprobs)[0]
    found = torch.autograd.grad(function(logprobs, old, advantages, **BAND).sum(), logprobs)[0]
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


def test_gppo_and_clip_higher_have_one_value_and_two_gradients():
    logprobs, old, advantages = tokens(10, 100, seed=4)
    one, other = gppo(logprobs, old, advantages, **BAND), ppo_clip(logprobs, old, advantages, **BAND)
    assert torch.equal(one, other)
    assert not torch.equal(gradient("gppo", logprobs, old, advantages), gradient("ppo_clip", logprobs, old, advantages))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_far_log_ratios_keep_their_bounded_gradient(name, dtype):
    """At log r of -1e4 and 1e4 the gradient is that at the bound, not 0 (a bound in the graph) and not NaN (no bound)."""
    logprobs = torch.full((2, 2), -5.0, dtype=dtype, requires_grad=True)
    old = torch.tensor([[1e4 - 5, -1e4 - 5]] * 2, dtype=dtype)
    advantages = torch.tensor([[2.0, 2.0], [-2.0, -2.0]], dtype=dtype)
    low, high = math.exp(-LOG_RATIO_BOUND), math.exp(LOG_RATIO_BOUND)
    expected = {
        "gppo": [[low, 1.28], [0.8, high]],
        "ppo_clip": [[low, 0.0], [0.0, high]],
        "cispo": [[0.8, 1.28], [0.8, 1.28]],
        "reinforce": [[1.0, 1.0], [1.0, 1.0]],
    }[name]
    found = gradient(name, logprobs, old, advantages) / -advantages
    torch.testing.assert_close(found, torch.tensor(expected, dtype=dtype), rtol=1e-6, atol=0)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("current", "old"), [(-math.inf, -1.0), (-1.0, -math.inf)])
def test_gppo_is_finite_at_infinite_log_ratios(current, old, sign):
    logprobs = torch.tensor([[current]], requires_grad=True)
    loss = gppo(logprobs, torch.tensor([[old]]), torch.tensor([[sign]]), **BAND)
    found = torch.autograd.grad(loss.sum(), logprobs)[0]
    assert torch.isfinite(loss).all()
    above = current > old
    weight = (1.28 if above else math.exp(-20)) if sign > 0 else (math.exp(20) if above else 0.8)
    torch.testing.assert_close(found, torch.tensor([[-sign * weight]]), rtol=1e-6, atol=0)


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_nothing_leaks_from_outside_the_mask(name, which, poison):
    logprobs, old, advantages = tokens(4, 6, seed=5)
    mask = torch.rand(4, 6, generator=torch.Generator().manual_seed(6)) > 0.4
    inputs = [logprobs.detach().clone(), old, advantages.clone()]
    inputs[which][~mask] = poison
    poisoned = inputs[0].requires_grad_()
    loss = OBJECTIVES[name](poisoned, inputs[1], inputs[2], loss_mask=mask, **BANDS[name])
    (found,) = torch.autograd.grad(loss.sum(), poisoned)
    clean = OBJECTIVES[name](logprobs, old, advantages, **BANDS[name])
    (whole,) = torch.autograd.grad(clean.sum(), logprobs)
    assert torch.equal(loss, torch.where(mask, clean, 0.0))
    assert torch.equal(found, torch.where(mask, whole, 0.0))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_gradient_outside_the_mask_even_when_asked_for(name):
    """A caller that forgets to mask the loss it sums, or scales it by infinity there, still gets none."""
    logprobs, old, advantages = tokens(3, 3, seed=7)
    mask = torch.eye(3, dtype=torch.bool)
    loss = OBJECTIVES[name](logprobs, old, advantages, loss_mask=mask, **BANDS[name])
    (found,) = torch.autograd.grad(loss, logprobs, torch.full_like(loss, math.inf).masked_fill(mask, 1.0))
    assert torch.isfinite(found).all()
    assert not found[~mask].any()


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("wrong", [0, 1, 2, 3])
def test_shapes_that_would_broadcast_are_refused(name, wrong):
    square = [torch.zeros(4, 4), torch.zeros(4, 4), torch.zeros(4, 4), torch.ones(4, 4, dtype=torch.bool)]
    square[wrong] = square[wrong][0]
    logprobs, old, advantages, mask = square
    with pytest.raises(ValueError, match="one shape"):
        OBJECTIVES[name](logprobs, old, advantages, loss_mask=mask, **BANDS[name])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_bf16_is_computed_in_fp32(name):
    logprobs, old, advantages = (t.detach().bfloat16() for t in tokens(4, 50, seed=8))
    wide = OBJECTIVES[name](logprobs.float(), old.float(), advantages.float(), **BANDS[name])
    loss = OBJECTIVES[name](logprobs.requires_grad_(), old, advantages, **BANDS[name])
    assert loss.dtype == torch.float32
    assert torch.equal(loss, wide)
    loss.sum().backward()
    assert logprobs.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("name", OBJECTIVES)
def test_only_logprobs_get_a_gradient(name):
    logprobs, old, advantages = tokens(2, 3, seed=9)
    old.requires_grad_()
    advantages.requires_grad_()
    OBJECTIVES[name](logprobs, old, advantages, **BANDS[name]).sum().backward()
    assert old.grad is None
    assert advantages.grad is None


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_advantage_no_push(name):
    logprobs, old, _ = tokens(2, 50, seed=10)
    loss = OBJECTIVES[name](logprobs, old, torch.zeros_like(old), **BANDS[name])
    assert not loss.any()
    assert not torch.autograd.grad(loss.sum(), logprobs)[0].any()


def test_an_asymmetric_band_is_not_swapped():
    """With one side open, only the other one clips: a swap of clip_low and clip_high shows at once."""
    ratio = torch.tensor([0.5, 1.5], dtype=torch.float64)
    old = -ratio.log()[None]
    logprobs = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    for sign, expected in ((1.0, [0.5, 1.5]), (-1.0, [0.9, 1.5])):
        loss = gppo(logprobs, old, torch.full((1, 2), sign, dtype=torch.float64), clip_low=0.1, clip_high=4.0)
        found = torch.autograd.grad(loss.sum(), logprobs)[0][0] * -sign
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_every_objective_of_the_recipe_has_its_functions():
    """An objective that can be written can be computed, and takes exactly the numbers that can be written."""
    union = typing.get_args(typing.get_args(schema.Objective)[0])
    assert {c.model_fields["type"].default for c in union} == set(OBJECTIVES) == set(WEIGHTS)
    for settings in union:
        name, numbers = settings().type, set(settings.model_fields) - {"type"}
        loss = inspect.signature(OBJECTIVES[name]).parameters
        assert {p for p, v in loss.items() if v.kind is v.KEYWORD_ONLY} == numbers | {"loss_mask"}
        closed = inspect.signature(WEIGHTS[name]).parameters
        assert {p for p, v in closed.items() if v.kind is v.KEYWORD_ONLY} == numbers
        assert getattr(weights, name) is WEIGHTS[name]
