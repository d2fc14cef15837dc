"""What the tests of all policy losses share: numbers with two unlike clip bounds, random tokens, extra inputs."""

from __future__ import annotations

import math

import torch
from tests.objectives.closed_forms import WEIGHTS

from openklear.objectives.policy import OBJECTIVES

# Of every objective numbers that differ from its defaults' symmetries, so that a swap of two of them must show.
NUMBERS = {
    "gppo": {"clip_low": 0.2, "clip_high": 0.28, "beta_low": 0.7, "beta_high": 0.9, "dual_clip": 6.0},
    "ce_gppo": {"clip_low": 0.15, "clip_high": 0.3, "beta_low": 0.6, "beta_high": 0.95},
    "ppo_clip": {"clip_low": 0.2, "clip_high": 0.28, "dual_clip": 6.0},
    "two_sided": {"clip_low": 0.15, "clip_high": 0.3, "delta": 4.0},
    "cispo": {"clip_low": 0.2, "clip_high": 0.28},
    "cispo_minimax": {"clip_high": 0.28},
    "cispo_verl": {"clip_low": 0.15, "clip_high": 0.3},
    "cispo_trl": {"cap": 5.0},
    "sapo": {"tau_positive": 1.0, "tau_negative": 1.3},
    "aspo": {"clip_low": 0.15, "clip_high": 0.3, "cap": 3.0},
    "dgpo": {"clip_low": 0.2, "clip_high": 0.28, "n": 1.5, "m": 2.5},
    "topr": {},
    "dppo_tv": {"divergence": 0.2, "cap": 20.0},
    "gspo": {"clip_low": 0.02, "clip_high": 0.05},
    "gmpo": {"clip_low": 0.3, "clip_high": 0.5},
    "reinforce": {},
}
SEQUENCE = ("gspo", "gmpo")
MORE_INPUTS = {"topr": "correct", "gspo": "segment_ids", "gmpo": "segment_ids"}
"""The one more tensor (B, T) that some objectives read."""


def tokens(rows: int, columns: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """logprobs with gradient, old_logprobs with log-uniform ratios in 1e-4 .. 1e4, advantages of both signs; float64.

    Both are logarithms of probabilities: the likelier of the two lies in -10 .. 0.
    """
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(3, rows, columns, generator=generator, dtype=torch.float64)
    log_ratio = (2 * uniform[1] - 1) * math.log(1e4)
    logprobs = -10 * uniform[0] + log_ratio.clamp(max=0)
    advantages = 4 * uniform[2] - 2
    return logprobs.requires_grad_(), logprobs.detach() - log_ratio, advantages


def extra(name: str, shape: torch.Size | tuple[int, int]) -> dict[str, torch.Tensor]:
    """The one more tensor that the objective reads, if any: random verdicts, or sequences of one token."""
    if MORE_INPUTS.get(name) == "correct":
        return {"correct": torch.rand(shape, generator=torch.Generator().manual_seed(77)) < 0.5}
    if MORE_INPUTS.get(name) == "segment_ids":  # a token a sequence, so that every test of tokens holds for these too
        return {"segment_ids": torch.arange(shape[1]).expand(shape).clone()}
    return {}


def loss_of(name, logprobs, old, advantages, **more):
    inputs = {**extra(name, logprobs.shape), **NUMBERS[name], **more}
    return OBJECTIVES[name](logprobs, old, advantages, **inputs)


def gradient(name, logprobs, old, advantages, **more):
    return torch.autograd.grad(loss_of(name, logprobs, old, advantages, **more).sum(), logprobs)[0]


def closed_form(name, ratio, advantages, old):
    """w of each token by the closed form."""
    numbers = dict(NUMBERS[name])
    if name == "dppo_tv":
        numbers["old_prob"] = old.exp()
    positive = extra(name, ratio.shape).get("correct", advantages > 0)
    return WEIGHTS[name](ratio, positive, **numbers)
