"""A second oracle beside the closed forms: each loss as its source prints it, stop-gradients and all, through autograd.

Values and gradients of ours must be those, wherever the printed formula is finite.
"""

import pytest
import torch
from tests.objectives.loss_cases import NUMBERS, extra, gradient, loss_of, tokens

from openklear.objectives.policy import OBJECTIVES, gmpo, gppo, gspo, ppo_clip


def clip_higher(logprobs, old, advantages, clip_low, clip_high, dual_clip=None):
    """Eq. 7; with a dual clip, max(that, c A) for A < 0 (arXiv 1912.09729)."""
    ratio = (logprobs - old).exp()
    inner = torch.minimum(ratio * advantages, ratio.clamp(1 - clip_low, 1 + clip_high) * advantages)
    if dual_clip is None:
        return -inner
    return -torch.where(advantages < 0, torch.maximum(inner, dual_clip * advantages), inner)


def two_sided(logprobs, old, advantages, clip_low, clip_high, delta):
    ratio = (logprobs - old).exp()
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    return -torch.minimum(ratio.clamp(max=delta) * advantages, clipped * advantages)


def eq_11(logprobs, old, advantages, clip_low, clip_high):
    """GPPO as printed."""
    ratio = (logprobs - old).exp()
    low, high = (1 - clip_low) / ratio.detach() * ratio, (1 + clip_high) / ratio.detach() * ratio
    return -torch.minimum(ratio * advantages, torch.minimum(torch.maximum(ratio, low), high) * advantages)


def eq_17(logprobs, old, advantages, clip_low, clip_high, beta_low, beta_high, dual_clip=None):
    """The general form as printed: beta (1+-e)/sg(r) r A in the two clipped cells, r A elsewhere."""
    ratio = (logprobs - old).exp()
    low = beta_low * (1 - clip_low) / ratio.detach() * ratio
    high = beta_high * (1 + clip_high) / ratio.detach() * ratio
    factor = torch.where((ratio < 1 - clip_low) & (advantages < 0), low, ratio)
    factor = torch.where((ratio > 1 + clip_high) & (advantages > 0), high, factor)
    if dual_clip is not None:
        factor = torch.where((advantages < 0) & (ratio > dual_clip), torch.full_like(ratio, dual_clip), factor)
    return -factor * advantages


def cispo(logprobs, old, advantages, clip_low, clip_high):
    return -advantages * (logprobs - old).exp().clamp(1 - clip_low, 1 + clip_high).detach() * logprobs


def cispo_minimax(logprobs, old, advantages, clip_high):
    return -advantages * (logprobs - old).exp().clamp(max=1 + clip_high).detach() * logprobs


def cispo_trl(logprobs, old, advantages, cap):
    return -advantages * (logprobs - old).exp().clamp(max=cap).detach() * logprobs


def sapo(logprobs, old, advantages, tau_positive, tau_negative):
    ratio = (logprobs - old).exp()
    positive = 4 / tau_positive * torch.sigmoid(tau_positive * (ratio - 1))
    negative = 4 / tau_negative * torch.sigmoid(tau_negative * (ratio - 1))
    return -advantages * torch.where(advantages > 0, positive, negative)


def aspo(logprobs, old, advantages, clip_low, clip_high, cap):
    """The turned ratio pi_old pi / sg(pi)^2 for A > 0; clipped by value and gradient; a cap that keeps its gradient."""
    ratio = (logprobs - old).exp()
    frozen = ratio.detach()
    alive = ratio / frozen
    positive = torch.where(frozen > 1 + clip_high, torch.full_like(ratio, 1 / (1 + clip_high)), alive / frozen)
    positive = torch.where(1 / frozen > cap, cap * alive, positive)
    negative = torch.where(frozen < 1 - clip_low, torch.full_like(ratio, 1 - clip_low), ratio)
    negative = torch.where(frozen > cap, cap * alive, negative)
    return -advantages * torch.where(advantages > 0, positive, negative)


def dgpo(logprobs, old, advantages, clip_low, clip_high, n, m):
    ratio = (logprobs - old).exp()
    frozen, low, high = ratio.detach(), 1 - clip_low, 1 + clip_high
    above = torch.where(frozen > high, frozen.pow(1 - 1 / m) * high ** (1 / m), frozen)
    below = torch.where(frozen < low, frozen.pow(n + 1) / low**n, frozen)
    return -advantages * torch.where(advantages > 0, above, below) * ratio / frozen


def topr(logprobs, old, advantages, correct):
    weight = torch.where(correct, torch.ones_like(logprobs), (logprobs - old).exp().clamp(0, 1))
    return -advantages * weight.detach() * logprobs


def dppo_tv(logprobs, old, advantages, divergence, cap):
    moved = logprobs.exp() - old.exp()
    kept = torch.where(advantages > 0, moved <= divergence, moved >= -divergence)
    return -advantages * (logprobs - old).exp().clamp(max=cap).detach() * kept * logprobs


def reinforce(logprobs, old, advantages):
    return -advantages * logprobs


PRINTED = {
    "gppo": eq_17,
    "ce_gppo": eq_17,
    "ppo_clip": clip_higher,
    "two_sided": two_sided,
    "cispo": cispo,
    "cispo_minimax": cispo_minimax,
    "cispo_verl": cispo,
    "cispo_trl": cispo_trl,
    "sapo": sapo,
    "aspo": aspo,
    "dgpo": dgpo,
    "topr": topr,
    "dppo_tv": dppo_tv,
    "reinforce": reinforce,
}


def test_every_token_loss_is_here():
    assert set(PRINTED) | {"gspo", "gmpo"} == set(OBJECTIVES)


@pytest.mark.parametrize("name", PRINTED)
def test_value_and_gradient_are_those_of_the_formula_as_printed(name):
    logprobs, old, advantages = tokens(40, 100, seed=2)
    more = extra(name, logprobs.shape)
    expected = PRINTED[name](logprobs, old, advantages, **NUMBERS[name], **more)
    torch.testing.assert_close(loss_of(name, logprobs, old, advantages), expected, rtol=1e-12, atol=1e-12)
    slopes = torch.autograd.grad(expected.sum(), logprobs)[0]
    torch.testing.assert_close(gradient(name, logprobs, old, advantages), slopes, rtol=1e-11, atol=1e-12)


def test_gppo_is_eq_11_and_the_general_form_with_betas_of_one():
    logprobs, old, advantages = tokens(40, 100, seed=3)
    band = {"clip_low": 0.2, "clip_high": 0.28}
    for ours in (gppo(logprobs, old, advantages, **band), gppo(logprobs, old, advantages, beta_low=1.0, beta_high=1.0)):
        for printed in (
            eq_11(logprobs, old, advantages, **band),
            eq_17(logprobs, old, advantages, **band, beta_low=1, beta_high=1),
        ):
            torch.testing.assert_close(ours, printed, rtol=1e-12, atol=1e-12)
            found, expected = (torch.autograd.grad(x.sum(), logprobs, retain_graph=True)[0] for x in (ours, printed))
            torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


def test_gppo_has_clip_highers_value_everywhere_and_its_gradient_inside_the_band():
    logprobs, old, advantages = tokens(100, 1000, seed=4)
    one, other = gppo(logprobs, old, advantages), ppo_clip(logprobs, old, advantages)
    torch.testing.assert_close(one, other, rtol=1e-15, atol=0)
    ratio = (logprobs - old).exp().detach()
    low, high = (ratio < 0.8) & (advantages < 0), (ratio > 1.28) & (advantages > 0)
    kept, dropped = (torch.autograd.grad(x.sum(), logprobs)[0] for x in (one, other))
    assert torch.equal(kept[~(low | high)], dropped[~(low | high)])
    assert not dropped[low | high].any()
    torch.testing.assert_close(kept[low], -0.8 * advantages[low], rtol=1e-12, atol=0)  # Eq. 12
    torch.testing.assert_close(kept[high], -1.28 * advantages[high], rtol=1e-12, atol=0)
    assert min(int(low.sum()), int(high.sum())) > 10_000


def slow_gspo(logprobs, old, advantages, mask, segments, clip_low, clip_high):
    """The sum over sequences of their published loss, with its own autograd."""
    total = torch.zeros((), dtype=logprobs.dtype)
    for cells in each_sequence(mask, segments):
        ratio = torch.stack([logprobs[c] - old[c] for c in cells]).mean().exp()
        advantage = advantages[cells[0]]
        total = total - torch.minimum(ratio * advantage, ratio.clamp(1 - clip_low, 1 + clip_high) * advantage)
    return total


def slow_gmpo(logprobs, old, advantages, mask, segments, clip_low, clip_high):
    total = torch.zeros((), dtype=logprobs.dtype)
    for cells in each_sequence(mask, segments):
        advantage = advantages[cells[0]]
        log_ratios = torch.stack([logprobs[c] - old[c] for c in cells])
        held = log_ratios.clamp(max=clip_high) if advantage > 0 else log_ratios.clamp(min=-clip_low)
        total = total - held.mean().exp() * advantage
    return total


def each_sequence(mask, segments):
    cells = {}
    for row, column in mask.nonzero().tolist():
        cells.setdefault((row, int(segments[row, column])), []).append((row, column))
    return cells.values()


def packed(seed, spread):
    """Rows of several sequences with ids that are no plain count, holes in the mask, one advantage a sequence."""
    generator = torch.Generator().manual_seed(seed)
    logprobs = (-torch.rand(5, 20, generator=generator, dtype=torch.float64)).requires_grad_()
    log_ratio = spread * (2 * torch.rand(5, 20, generator=generator, dtype=torch.float64) - 1)
    segments = torch.tensor([0] * 7 + [40] * 2 + [3] * 11).expand(5, 20).clone()
    segments[2] = 9
    mask = torch.rand(5, 20, generator=generator) > 0.25
    segments[~mask] = -5
    table = torch.randn(5, 50, generator=generator, dtype=torch.float64)
    return logprobs, logprobs.detach() - log_ratio, table.gather(1, segments.clamp(min=0)), mask, segments


@pytest.mark.parametrize(("fast", "slow", "spread"), [(gspo, slow_gspo, 0.2), (gmpo, slow_gmpo, 1.0)])
def test_sequence_losses_against_loops_over_sequences(fast, slow, spread):
    """With each token's loss divided by its sequence's tokens, value and gradient are the published ones."""
    cells = {"A": set(), "held": set()}
    for seed in range(8):
        logprobs, old, advantages, mask, segments = packed(seed, spread)
        numbers = NUMBERS[fast.__name__]
        loss = fast(logprobs, old, advantages, loss_mask=mask, segment_ids=segments, **numbers)
        lengths = torch.ones_like(loss)
        for group in each_sequence(mask, segments):
            for cell in group:
                lengths[cell] = len(group)
        found = (loss / lengths).sum()
        expected = slow(logprobs, old, advantages, mask, segments, **numbers)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)
        ours, theirs = (torch.autograd.grad(x, logprobs, retain_graph=True)[0] for x in (found, expected))
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-13)
        cells["held"] |= set((ours[mask] == 0).tolist())
        cells["A"] |= set((advantages[mask] > 0).tolist())
    assert cells == {"A": {True, False}, "held": {True, False}}


@pytest.mark.parametrize("loss", [gspo, gmpo])
def test_a_row_is_one_sequence_unless_told_otherwise(loss):
    logprobs, old, advantages = tokens(4, 9, seed=6)
    advantages = advantages[:, :1].expand(4, 9)
    one = loss(logprobs, old, advantages)
    same = loss(logprobs, old, advantages, segment_ids=torch.full((4, 9), 7))
    torch.testing.assert_close(one, same, rtol=1e-12, atol=0)
    other = loss(logprobs, old, advantages, segment_ids=torch.arange(9).expand(4, 9))
    assert (one - other).abs().max() > 0.1


@pytest.mark.parametrize("loss", [gspo, gmpo])
def test_negative_ids_at_loss_tokens_are_refused(loss):
    logprobs, old, advantages = tokens(1, 3, seed=6)
    with pytest.raises(ValueError, match="0 or more"):
        loss(logprobs, old, advantages, segment_ids=torch.tensor([[0, -1, 0]]))
