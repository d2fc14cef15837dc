"""Metrics against loops over tokens, added up over splits."""

import math

import numpy as np
import pytest
import torch
from tests.objectives.closed_forms import WEIGHTS

from openklear.objectives.diagnostics import RATIO_EDGES, add, clip_sums, finish, policy_sums, sampler_gap
from openklear.objectives.ratio import bounded_log_ratio

BAND = {"clip_low": 0.2, "clip_high": 0.28}
# r, A and w of GPPO by hand; the last two tokens are masked.
RATIOS = [0.5, 0.5, 1.0, 1.5, 1.5, 1.1, 3.0, 0.1, 9.0]
ADVANTAGES = [1.0, -2.0, 1.0, 1.0, -3.0, 0.0, 0.0, -1.0, 1.0]
WEIGHT = [0.5, 0.8, 1.0, 1.28, 1.5, 1.1, 3.0, 0.8, 1.28]
MASK = [True] * 7 + [False] * 2


def tensors():
    ratio = torch.tensor([RATIOS], dtype=torch.float64)
    old = torch.linspace(-3, -1, 9, dtype=torch.float64)[None]
    advantages, mask = torch.tensor([ADVANTAGES], dtype=torch.float64), torch.tensor([MASK])
    return old + ratio.log(), old, advantages, mask, torch.full((1, 9), 0.25)


def test_by_hand():
    logprobs, old, advantages, mask, entropies = tensors()
    log_ratio = bounded_log_ratio(logprobs, old)
    slopes = -advantages * WEIGHTS["gppo"](log_ratio.exp(), advantages > 0, **BAND)
    sums = policy_sums(logprobs, old, advantages, mask, entropies)
    sums |= clip_sums(log_ratio, advantages, slopes, mask, **BAND)
    found = finish(sums)
    kept, signs, w = RATIOS[:7], ADVANTAGES[:7], WEIGHT[:7]
    push = [abs(a) * b for a, b in zip(signs, w, strict=True)]
    expected = {
        "tokens": 7,
        "entropy": 0.25,
        "ratio_mean": sum(kept) / 7,
        "kl_k1": -sum(map(math.log, kept)) / 7,
        "kl_k2": sum(math.log(r) ** 2 for r in kept) / 14,
        "kl_k3": sum(r - 1 - math.log(r) for r in kept) / 7,
        "ess": sum(kept) ** 2 / (7 * sum(r * r for r in kept)),
        "bounded_tokens": 0,
        "clip_fraction_high_positive": 1 / 7,
        "clip_fraction_low_positive": 1 / 7,
        "clip_fraction_high_negative": 1 / 7,
        "clip_fraction_low_negative": 1 / 7,
        "gradient_share_high_positive": push[3] / sum(push),
        "gradient_share_low_positive": push[0] / sum(push),
        "gradient_share_high_negative": push[4] / sum(push),
        "gradient_share_low_negative": push[1] / sum(push),
        # PPO's clip acts on the second token (A < 0, r .5) and the fourth (A > 0, r 1.5).
        "preserved_gradient_share": (push[1] + push[3]) / sum(push),
    }
    histograms = {name: found.pop(name) for name in ("ratio_histogram_positive", "ratio_histogram_negative")}
    assert found == pytest.approx(expected, rel=1e-6)
    assert {name: sum(counts) for name, counts in histograms.items()} == {
        "ratio_histogram_positive": 3,
        "ratio_histogram_negative": 2,
    }


@pytest.mark.parametrize(("ratio", "advantage", "cell"), [(1.5, 1, "high_positive"), (0.5, 1, "low_positive"), (1.5, -1, "high_negative"), (0.5, -1, "low_negative")])  # fmt: skip
def test_each_clip_cell(ratio, advantage, cell):
    log_ratio = torch.tensor([[math.log(ratio), 0.0]], dtype=torch.float64)
    advantages = torch.tensor([[float(advantage), 1.0]], dtype=torch.float64)
    sums = clip_sums(log_ratio, advantages, torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool), **BAND)
    assert {name for name, total in sums.items() if name.startswith("clip") and total} == {f"clip_fraction_{cell}"}
    acts = cell in ("high_positive", "low_negative")
    assert sums["push_clipped"].item() == (1.0 if acts else 0.0)


def test_ppo_preserves_nothing_and_no_push_is_no_share():
    logprobs, old, advantages, mask, entropies = tensors()
    log_ratio = bounded_log_ratio(logprobs, old)
    common = policy_sums(logprobs, old, advantages, mask, entropies)
    slopes = -advantages * WEIGHTS["ppo_clip"](log_ratio.exp(), advantages > 0, **BAND)
    assert finish(common | clip_sums(log_ratio, advantages, slopes, mask, **BAND))["preserved_gradient_share"] == 0
    none = torch.zeros_like(advantages)
    assert finish(common | clip_sums(log_ratio, none, none, mask, **BAND))["preserved_gradient_share"] == 0


def test_without_a_band_there_are_no_clip_keys():
    assert not [key for key in finish(policy_sums(*tensors())) if key.startswith(("clip", "preserved", "push"))]


def test_histogram_bins():
    counts_of = lambda r: finish(  # noqa: E731
        policy_sums(
            torch.tensor([[math.log(r)]], dtype=torch.float64),
            torch.zeros(1, 1, dtype=torch.float64),
            torch.ones(1, 1),
            torch.ones(1, 1, dtype=torch.bool),
            torch.zeros(1, 1),
        )
    )["ratio_histogram_positive"]
    assert len(counts_of(1.0)) == len(RATIO_EDGES) - 1
    assert RATIO_EDGES[0] == 0.0
    assert math.isinf(RATIO_EDGES[-1])
    inner = np.log2(RATIO_EDGES[1:-1])
    np.testing.assert_allclose(np.diff(inner), 0.25)
    np.testing.assert_allclose(inner, -inner[::-1])
    for ratio in (1e-8, 0.02, 0.5, 0.93, 1.0, 1.07, 1.28, 50.0, 1e8):
        place = counts_of(ratio).index(1.0)
        assert RATIO_EDGES[place] <= ratio < RATIO_EDGES[place + 1]
    assert counts_of(0.95) == counts_of(1.0) == counts_of(1.05)  # one bin is centred on 1


def test_bounded_tokens_are_counted_and_leave_finite_figures():
    logprobs = torch.tensor([[-5.0, -5.0, -5.0, -5.0]])
    old = torch.tensor([[-5.0, -30.0, 15.001, -25.0]])  # log r = 0, 25, -20.001, exactly 20
    found = finish(policy_sums(logprobs, old, torch.ones(1, 4), torch.ones(1, 4, dtype=torch.bool), torch.zeros(1, 4)))
    assert found["bounded_tokens"] == 2
    assert all(math.isfinite(v) for v in found.values() if isinstance(v, float))


def test_sums_add_up_over_any_split():
    generator = torch.Generator().manual_seed(0)
    logprobs, old, advantages = (torch.randn(6, 9, generator=generator, dtype=torch.float64) for _ in range(3))
    mask, entropies = torch.rand(6, 9, generator=generator) > 0.3, torch.rand(6, 9, generator=generator)

    def sums(rows):
        inputs = [t[rows] for t in (logprobs, old, advantages, mask, entropies)]
        log_ratio = bounded_log_ratio(inputs[0], inputs[1])
        return policy_sums(*inputs) | clip_sums(log_ratio, inputs[2], log_ratio.exp(), inputs[3], **BAND)

    whole = finish(sums([0, 1, 2, 3, 4, 5]))
    total = None
    for part in ([4], [0, 5, 2], [1, 3]):
        total = add(total, sums(part))
    for name, value in finish(total).items():
        assert value == pytest.approx(whole[name], rel=1e-12), name


def test_equal_policies_show_no_divergence():
    old = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    found = finish(policy_sums(old, old, torch.ones(3, 4), torch.ones(3, 4, dtype=torch.bool), torch.zeros(3, 4)))
    assert (found["kl_k1"], found["kl_k3"], found["ratio_mean"], found["ess"]) == (0.0, 0.0, 1.0, 1.0)


def test_masked_tokens_may_hold_anything():
    logprobs, old, advantages, mask, entropies = tensors()
    clean = finish(policy_sums(logprobs, old, advantages, mask, entropies))
    for tensor in (logprobs, old, advantages, entropies):
        tensor[~mask] = math.nan
    assert finish(policy_sums(logprobs, old, advantages, mask, entropies)) == clean


def test_sampler_gap_by_hand():
    old, sampled = torch.tensor([0.5, 0.2]).double().log(), torch.tensor([0.25, 0.4]).double().log()
    found = sampler_gap(old, sampled)  # weights 2 and 1/2
    assert found == pytest.approx(
        {
            "gap_ratio": 2.0,
            "gap_k3": ((2 - 1 - math.log(2)) + (0.5 - 1 + math.log(2))) / 2,
            "gap_ess": 2.5**2 / (2 * 4.25),
            "gap_max": math.log(2),
        },
        rel=1e-6,
    )
    same = old.float()
    assert sampler_gap(same, same) == {"gap_ratio": 1.0, "gap_k3": 0.0, "gap_ess": 1.0, "gap_max": 0.0}
    assert sampler_gap(same[:0], same[:0]) == {}
    far = sampler_gap(torch.tensor([-math.inf, 0.0]), torch.tensor([-1.0, -1.0]))
    assert all(math.isfinite(v) for v in far.values())
    with pytest.raises(ValueError, match="both must be"):
        sampler_gap(old, sampled[:1])
