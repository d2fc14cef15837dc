"""Every policy loss against its closed form, against check values by hand, and on hostile numbers."""

import inspect
import math
import typing

import pytest
import torch
from tests.objectives import closed_forms
from tests.objectives.closed_forms import WEIGHTS
from tests.objectives.loss_cases import MORE_INPUTS, NUMBERS, SEQUENCE, closed_form, extra, gradient, loss_of, tokens

from openklear.objectives.catalog import more_inputs
from openklear.objectives.policy import CATALOG, OBJECTIVES
from openklear.objectives.policy.tokens import LOGPROB_BOUND
from openklear.objectives.ratio import LOG_RATIO_BOUND
from openklear.recipe import objectives as schema

LOW, HIGH = math.exp(-LOG_RATIO_BOUND), math.exp(LOG_RATIO_BOUND)
every_loss = pytest.mark.parametrize("name", OBJECTIVES)

RATIOS = (0.1, 0.5, 0.79, 1.0, 1.27, 1.5, 3.1, 12.0)
# w at RATIOS for A > 0 and A < 0 with each objective's published numbers. All rows were worked out from the
# published formulas; those of SAPO and DGPO in decimal arithmetic, to ten digits.
CHECK_VALUES = {
    ("gppo", 1): (0.10, 0.50, 0.79, 1, 1.27, 1.28, 1.28, 1.28),
    ("gppo", -1): (0.80, 0.80, 0.80, 1, 1.27, 1.5, 3.1, 12),
    ("ce_gppo", 1): (0.10, 0.50, 0.79, 1, 1.2, 1.2, 1.2, 1.2),
    ("ce_gppo", -1): (0.6, 0.6, 0.6, 1, 1.27, 1.5, 3.1, 12),
    ("ppo_clip", 1): (0.10, 0.50, 0.79, 1, 1.27, 0, 0, 0),
    ("ppo_clip", -1): (0, 0, 0, 1, 1.27, 1.5, 3.1, 12),
    ("two_sided", 1): (0.10, 0.50, 0.79, 1, 0, 0, 0, 0),
    ("two_sided", -1): (0, 0, 0, 1, 1.27, 1.5, 3.1, 0),
    ("cispo", 1): (0.80, 0.80, 0.80, 1, 1.27, 1.28, 1.28, 1.28),
    ("cispo", -1): (0.80, 0.80, 0.80, 1, 1.27, 1.28, 1.28, 1.28),
    ("cispo_minimax", 1): (0.10, 0.50, 0.79, 1, 1.27, 1.28, 1.28, 1.28),
    ("cispo_minimax", -1): (0.10, 0.50, 0.79, 1, 1.27, 1.28, 1.28, 1.28),
    ("cispo_verl", 1): (0.80, 0.80, 0.80, 1, 1.2, 1.2, 1.2, 1.2),
    ("cispo_verl", -1): (0.80, 0.80, 0.80, 1, 1.2, 1.2, 1.2, 1.2),
    ("cispo_trl", 1): (0.10, 0.50, 0.79, 1, 1.27, 1.5, 3.1, 5),
    ("cispo_trl", -1): (0.10, 0.50, 0.79, 1, 1.27, 1.5, 3.1, 5),
    ("sapo", 1): (0.082200123, 0.470007424, 0.781353869, 1, 1.247132594, 1.410022273, 1.205214340, 0.000801655),
    ("sapo", -1): (0.080620895, 0.467069912, 0.780474781, 1, 1.244819785, 1.401209735, 1.109073626, 0.000462521),
    ("aspo", 1): (3, 2, 1 / 0.79, 1, 0, 0, 0, 0),
    ("aspo", -1): (0, 0, 0, 1, 1.27, 1.5, 3, 3),
    ("dgpo", 1): (0.10, 0.50, 0.79, 1, 1.27, 1.385640646, 1.991983936, 3.919183588),
    ("dgpo", -1): (0.0125, 0.3125, 0.780125, 1, 1.27, 1.5, 3.1, 12),
    ("topr", 1): (1,) * 8,
    ("topr", -1): (0.10, 0.50, 0.79, 1, 1, 1, 1, 1),
    ("dppo_tv", 1): (0.10, 0.50, 0.79, 1, 1.27, 1.5, 0, 0),
    ("dppo_tv", -1): (0.10, 0.50, 0.79, 1, 1.27, 1.5, 3.1, 12),
    ("gspo", 1): (0.10, 0.50, 0.79, 1, 0, 0, 0, 0),
    ("gspo", -1): (0, 0, 0, 1, 1.27, 1.5, 3.1, 12),
    ("gmpo", 1): (0.10, 0.50, 0.79, 1, 1.27, 0, 0, 0),
    ("gmpo", -1): (0, 0, 0.79, 1, 1.27, 1.5, 3.1, 12),
    ("reinforce", 1): (1,) * 8,
    ("reinforce", -1): (1,) * 8,
}


def published(name):
    """The objective's defaults."""
    names = set(inspect.signature(OBJECTIVES[name]).parameters) - {"correct", "segment_ids", "loss_mask"}
    found = member(name)().model_dump(exclude={"type"})
    assert set(found) == names - {"logprobs", "old_logprobs", "advantages"}
    return found


def member(name):
    return schema.MEMBERS[name]


@every_loss
def test_autograd_gives_the_closed_form_on_100_000_tokens(name):
    logprobs, old, advantages = tokens(100, 1000, seed=1)
    ratio = (logprobs.detach() - old).exp()
    assert ratio.min() < 2e-4
    assert ratio.max() > 5e3
    weight = closed_form(name, ratio, advantages, old)
    found = gradient(name, logprobs, old, advantages) / -advantages
    assert ((found - weight).abs() <= 1e-12 * weight.abs().clamp(min=1)).all()


@pytest.mark.parametrize(("name", "sign"), CHECK_VALUES)
def test_check_values(name, sign):
    expected = torch.tensor(CHECK_VALUES[name, sign], dtype=torch.float64)
    ratio = torch.tensor(RATIOS, dtype=torch.float64)
    tight = {"rtol": 1e-12, "atol": 1e-15} if name not in ("sapo", "dgpo") else {"rtol": 0, "atol": 6e-10}
    closed = WEIGHTS[name](ratio, torch.full(ratio.shape, sign > 0), **published(name))
    torch.testing.assert_close(closed, expected, **tight)
    if name == "dppo_tv":  # drawn at p = .2
        old = torch.full((1, 8), math.log(0.2), dtype=torch.float64)
        logprobs = (old + ratio.log()).requires_grad_()
    else:
        logprobs = torch.full((1, 8), -3.0, dtype=torch.float64, requires_grad=True)
        old = -3.0 - ratio.log()[None]
    inputs = {**extra(name, (1, 8)), **({"correct": torch.full((1, 8), sign > 0)} if name == "topr" else {})}
    advantages = torch.full((1, 8), 1.7 * sign, dtype=torch.float64)
    loss = OBJECTIVES[name](logprobs, old, advantages, **inputs, **published(name))
    found = torch.autograd.grad(loss.sum(), logprobs)[0][0] / (-1.7 * sign)
    torch.testing.assert_close(found, expected, **tight)


@every_loss
def test_at_ratio_one_every_loss_has_reinforces_gradient(name):
    logprobs, _, advantages = tokens(10, 100, seed=11)
    old = logprobs.detach().clone()
    defaults = OBJECTIVES[name](logprobs, old, advantages, **extra(name, old.shape))
    torch.testing.assert_close(torch.autograd.grad(defaults.sum(), logprobs)[0], -advantages, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient(name, logprobs, old, advantages), -advantages, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@every_loss
def test_far_log_ratios_keep_their_bounded_gradient(name, dtype):
    """At log r of -1e4 and 1e4 the gradient is that at the bound, not 0 (a bound in the graph), not NaN (no bound)."""
    logprobs = torch.full((2, 2), -5.0, dtype=dtype, requires_grad=True)
    old = torch.tensor([[1e4 - 5, -1e4 - 5]] * 2, dtype=dtype)
    advantages = torch.tensor([[2.0, 2.0], [-2.0, -2.0]], dtype=dtype)
    correct = {"correct": advantages > 0} if name == "topr" else {}
    expected = {
        "gppo": [[LOW, 0.9 * 1.28], [0.7 * 0.8, 0.0]],
        "ce_gppo": [[LOW, 0.95 * 1.3], [0.6 * 0.85, HIGH]],
        "ppo_clip": [[LOW, 0.0], [0.0, 0.0]],
        "two_sided": [[LOW, 0.0], [0.0, 0.0]],
        "cispo": [[0.8, 1.28], [0.8, 1.28]],
        "cispo_minimax": [[LOW, 1.28], [LOW, 1.28]],
        "cispo_verl": [[0.85, 1.3], [0.85, 1.3]],
        "cispo_trl": [[LOW, 5.0], [LOW, 5.0]],
        "sapo": [[4 * LOW / (1 + math.e) / (1 + 1 / math.e), 0.0], [4 * LOW / (1 + math.exp(1.3)) / (1 + math.exp(-1.3)), 0.0]],
        "aspo": [[3.0, 0.0], [0.0, 3.0]],
        "dgpo": [[LOW, HIGH**0.6 * 1.28**0.4], [LOW * (LOW / 0.8) ** 1.5, HIGH]],
        "topr": [[1.0, 1.0], [LOW, 1.0]],
        "dppo_tv": [[LOW, 20.0], [0.0, 20.0]],
        "gspo": [[LOW, 0.0], [0.0, HIGH]],
        "gmpo": [[LOW, 0.0], [0.0, HIGH]],
        "reinforce": [[1.0, 1.0], [1.0, 1.0]],
    }[name]  # fmt: skip
    found = gradient(name, logprobs, old, advantages, **correct) / -advantages
    torch.testing.assert_close(found, torch.tensor(expected, dtype=dtype), rtol=1e-5, atol=0)


def test_gppo_alone_grows_without_bound_above_for_negative_advantages():
    """A < 0 gives 1-el at log r = -1e4 and e^20 at 1e4."""
    logprobs = torch.full((1, 2), -5.0, requires_grad=True)
    loss = OBJECTIVES["gppo"](logprobs, torch.tensor([[1e4 - 5, -1e4 - 5]]), torch.tensor([[-1.0, -1.0]]))
    (found,) = torch.autograd.grad(loss.sum(), logprobs)
    torch.testing.assert_close(found, torch.tensor([[0.8, HIGH]]), rtol=1e-6, atol=0)


def test_dppos_band_is_on_the_probability_itself_however_far_the_ratio():
    """From e^-100 to .88 a token gains .88, beyond any band; the bounded ratio would say e^-80."""
    logprobs = torch.tensor([[-0.125, -3.0, -100.125, -103.0]], dtype=torch.float64, requires_grad=True)
    old = torch.tensor([[-100.125, -103.0, -0.125, -3.0]], dtype=torch.float64)
    for sign, expected in ((1.0, [0.0, 20.0, LOW, LOW]), (-1.0, [20.0, 20.0, 0.0, LOW])):
        loss = OBJECTIVES["dppo_tv"](logprobs, old, torch.full((1, 4), sign, dtype=torch.float64))
        found = torch.autograd.grad(loss.sum(), logprobs)[0][0] * -sign
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gap", [-math.inf, -1e4, -100.0, -88.8, -20.0, 0.0, 20.0, 88.8, 100.0, 1e4, math.inf])
@every_loss
def test_value_and_gradient_are_finite_at_any_log_ratio(name, gap, dtype):
    current, old = (-math.inf, -1.0) if gap == -math.inf else (-1.0, -1.0 - gap)
    logprobs = torch.full((2, 2), current, dtype=dtype, requires_grad=True)
    advantages = torch.tensor([[1.0, -1.0], [3.0, -3.0]], dtype=dtype)
    loss = loss_of(name, logprobs, torch.full((2, 2), old, dtype=dtype), advantages)
    (found,) = torch.autograd.grad(loss.sum(), logprobs)
    assert torch.isfinite(loss).all()
    assert torch.isfinite(found).all()
    assert loss.abs().max() <= 3 * max(LOGPROB_BOUND * HIGH if "cispo" in name else 0, LOGPROB_BOUND, HIGH) * 1.01


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("which", [0, 1, 2])
@every_loss
def test_nothing_leaks_from_outside_the_mask(name, which, poison):
    logprobs, old, advantages = tokens(4, 6, seed=5)
    mask = torch.rand(4, 6, generator=torch.Generator().manual_seed(6)) > 0.4
    inputs = [logprobs.detach().clone(), old, advantages.clone()]
    inputs[which][~mask] = poison
    poisoned = inputs[0].requires_grad_()
    loss = loss_of(name, poisoned, inputs[1], inputs[2], loss_mask=mask)
    (found,) = torch.autograd.grad(loss.sum(), poisoned)
    clean = loss_of(name, logprobs, old, advantages)
    (whole,) = torch.autograd.grad(clean.sum(), logprobs)
    assert torch.equal(loss, torch.where(mask, clean, 0.0))
    assert torch.equal(found, torch.where(mask, whole, 0.0))


@every_loss
def test_no_gradient_outside_the_mask_even_when_asked_for(name):
    """A caller that forgets to mask the loss it sums, or scales it by infinity there, still gets none."""
    logprobs, old, advantages = tokens(3, 3, seed=7)
    mask = torch.eye(3, dtype=torch.bool)
    loss = loss_of(name, logprobs, old, advantages, loss_mask=mask)
    (found,) = torch.autograd.grad(loss, logprobs, torch.full_like(loss, math.inf).masked_fill(mask, 1.0))
    assert torch.isfinite(found).all()
    assert not found[~mask].any()


@every_loss
@pytest.mark.parametrize("wrong", [0, 1, 2, 3, 4])
def test_shapes_that_would_broadcast_are_refused(name, wrong):
    square = [torch.zeros(4, 4), torch.zeros(4, 4), torch.zeros(4, 4), torch.ones(4, 4, dtype=torch.bool)]
    more = extra(name, (4, 4))
    if wrong < 4:
        square[wrong] = square[wrong][0]
    elif more:
        more = {key: value[0] for key, value in more.items()}
    else:
        return
    logprobs, old, advantages, mask = square
    with pytest.raises(ValueError, match="one shape"):
        OBJECTIVES[name](logprobs, old, advantages, loss_mask=mask, **NUMBERS[name], **more)


@every_loss
def test_bf16_is_computed_in_fp32(name):
    logprobs, old, advantages = (t.detach().bfloat16() for t in tokens(4, 50, seed=8))
    wide = loss_of(name, logprobs.float(), old.float(), advantages.float())
    loss = loss_of(name, logprobs.requires_grad_(), old, advantages)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, wide)
    loss.sum().backward()
    assert logprobs.grad.dtype == torch.bfloat16


@every_loss
def test_float64_is_computed_in_float64(name):
    """Numbers such as 1.05 must not pass through fp32 on their way."""
    logprobs, old, advantages = tokens(4, 50, seed=12)
    wide = gradient(name, logprobs, old, advantages)
    narrow = gradient(name, logprobs.detach().float().requires_grad_(), old.float(), advantages.float())
    assert wide.dtype == torch.float64
    torch.testing.assert_close(narrow.double(), wide, rtol=3e-5, atol=1e-6)


@every_loss
def test_only_logprobs_get_a_gradient(name):
    logprobs, old, advantages = tokens(2, 3, seed=9)
    old.requires_grad_()
    advantages.requires_grad_()
    loss_of(name, logprobs, old, advantages).sum().backward()
    assert old.grad is None
    assert advantages.grad is None


@every_loss
def test_no_advantage_no_push(name):
    logprobs, old, _ = tokens(2, 50, seed=10)
    loss = loss_of(name, logprobs, old, torch.zeros_like(old))
    assert not loss.any()
    assert not torch.autograd.grad(loss.sum(), logprobs)[0].any()


def test_an_asymmetric_band_is_not_swapped():
    """By hand, with one side wide open: only the other one clips."""
    ratio = torch.tensor([0.5, 1.5], dtype=torch.float64)
    logprobs = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    for sign, expected in ((1.0, [0.5, 1.5]), (-1.0, [0.9, 1.5])):
        advantages = torch.full((1, 2), sign, dtype=torch.float64)
        loss = OBJECTIVES["gppo"](logprobs, -ratio.log()[None], advantages, clip_low=0.1, clip_high=4.0)
        found = torch.autograd.grad(loss.sum(), logprobs)[0][0] * -sign
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_every_objective_of_the_recipe_has_its_functions():
    """An objective that can be written can be computed, takes exactly the numbers that can be written, and no others.

    Its defaults are the function's own.
    """
    union = typing.get_args(typing.get_args(schema.Objective)[0])
    names = {c.model_fields["type"].default for c in union}
    assert names - {"custom"} == set(schema.MEMBERS) == set(OBJECTIVES) == set(WEIGHTS) == set(CATALOG) == set(NUMBERS)
    for settings in schema.MEMBERS.values():
        name, numbers = settings().type, set(settings.model_fields) - {"type"}
        loss = inspect.signature(OBJECTIVES[name]).parameters
        needed = {MORE_INPUTS[name]} if name in MORE_INPUTS else set()
        assert set(more_inputs(OBJECTIVES[name])) == needed
        assert {p for p, v in loss.items() if v.kind is v.KEYWORD_ONLY} == numbers | {"loss_mask"} | needed
        closed = inspect.signature(WEIGHTS[name]).parameters
        aside = {"old_prob", "sequence_ratio"}  # what the figure assumes
        assert {p for p, v in closed.items() if v.kind is v.KEYWORD_ONLY} - aside == numbers
        assert getattr(closed_forms, name) is WEIGHTS[name]
        assert {p: loss[p].default for p in numbers} == settings().model_dump(exclude={"type"})


def test_the_catalog_knows_which_ratios_belong_to_sequences():
    assert {name for name, entry in CATALOG.items() if entry.sequence} == set(SEQUENCE)
    assert {name for name, member in schema.MEMBERS.items() if getattr(member, "sequence", False)} == set(SEQUENCE)
