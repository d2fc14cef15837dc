"""verl as it is installed, asked for the loss and the gradient of one optimizer step through its own `ppo_loss`.

Its actor configuration is made of its own classes; a micro-batch is the TensorDict that its engines hand to the loss,
and losses of micro-batches are added as they are, because its engines call `backward` on each. `gppo` and `ce_gppo` are
those of `openklear.integrations.verl`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from importlib.metadata import version as version_of
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor
from verl.utils import tensordict_utils
from verl.workers.config import FSDPActorConfig
from verl.workers.config import PolicyLossConfig as VerlPolicyLossConfig
from verl.workers.utils.losses import ppo_loss

from openklear.conformance.compare import Framework
from openklear.conformance.fixture import Fixture, Partition
from openklear.integrations.verl import PUBLISHED, PolicyLossConfig

NAME = "verl"

LOSSES: Mapping[str, Mapping[str, Any]] = {
    "gppo": {"loss_mode": "gppo"},
    "ce_gppo": {"loss_mode": "ce_gppo"},
    "ppo_clip": {"loss_mode": "vanilla", "clip_ratio_c": 3.0},
    "cispo_verl": {"loss_mode": "cispo"},
    "sapo": {"loss_mode": "sapo"},
    "dppo_tv": {"loss_mode": "dppo_tv", "clip_ratio_c": 3.0},
    "gspo": {"loss_mode": "gspo"},
    "gmpo": {"loss_mode": "geo_mean"},
}
"""Our objective -> verl's settings besides its numbers; clip_ratio_c is 3 unless a user changes it."""

UNCAPPED: Mapping[str, Mapping[str, Any]] = {
    "ppo_clip": {"loss_mode": "vanilla", "clip_ratio_c": math.inf},
    "two_sided": {"loss_mode": "vanilla", "clip_ratio_c": 4.0},
    "dppo_tv": {"loss_mode": "dppo_tv", "clip_ratio_c": 20.0},
}
"""The same with the clip_ratio_c that the formula asks for."""

AGGREGATIONS: Mapping[str, str] = {
    "token_mean": "token-mean",
    "sequence_mean": "seq-mean-token-mean",
    "constant": "seq-mean-token-sum-norm",
}
"""Our aggregation -> verl's loss_agg_mode that means it; loss_scale_factor is the fixture's width."""

_CLAMP = "log r is clamped at 20 within the graph, where its gradient ends"
_LEAK = "values under the mask are multiplied, not replaced"
NOTES: Mapping[str, str] = {
    "ppo_clip": f"{_CLAMP}; in sequence modes {_LEAK}; clip_ratio_c = 3, the default, is a dual clip; PPO has none",
    "two_sided": f"in sequence modes {_LEAK}",
    "cispo_verl": _LEAK,
    "sapo": f"always aggregates by seq-mean-token-mean, whatever loss_agg_mode says; {_LEAK}",
    "dppo_tv": f"the cap is clip_ratio_c: 3 in its configuration, 20 where its loss has a default; {_LEAK}",
    "gspo": f"log s is bounded at 10 (ours: each log r at 20; the paper has no bound); {_LEAK}",
    "gmpo": f"each micro-batch's mean over its rows is added to the others'; log r has no bound; {_LEAK}",
}
"""Objective -> why it departs where it does."""

_NUMBERS: Mapping[str, tuple[str, ...]] = {
    "clip_low": ("clip_ratio_low",),
    "clip_high": ("clip_ratio_high",),
    "tau_positive": ("tau_pos",),
    "tau_negative": ("tau_neg",),
    "divergence": ("clip_ratio_low", "clip_ratio_high"),
}


def peers() -> list[Framework]:
    """As its trainer runs by default, with the formula's clip_ratio_c, and without global counts."""
    version = version_of("verl")
    alone = {"gppo": LOSSES["gppo"], "ppo_clip": UNCAPPED["ppo_clip"]}
    return [
        Framework(NAME, version, LOSSES, AGGREGATIONS, functools.partial(step, LOSSES), NOTES),
        Framework(NAME, version, UNCAPPED, AGGREGATIONS, functools.partial(step, UNCAPPED), NOTES),
        Framework(
            NAME,
            version,
            alone,
            AGGREGATIONS,
            functools.partial(step, alone, counted=False),
            dict.fromkeys(alone, "each micro-batch has its own denominator, and the losses are averaged"),
            "without global counts",
        ),
    ]


def step(
    losses: Mapping[str, Mapping[str, Any]],
    objective: str,
    numbers: Mapping[str, Any],
    aggregation: str,
    fixture: Fixture,
    partition: Partition,
    *,
    counted: bool = True,
) -> tuple[float, Tensor]:
    """(loss of the step, its derivative by logprobs (B, T)) as verl's engines take it, with one of the settings above.

    Engines count tokens and rows of the step beforehand. Not `counted`, each micro-batch is on its own, as where
    `ppo_loss` is called without counts; a trainer then averages the losses.
    """
    config = _actor(losses[objective], numbers, aggregation, fixture.mask.shape[1])
    logprobs = fixture.logprobs.clone().requires_grad_()
    tokens, sequences = (int(fixture.mask.sum()), len(fixture.mask)) if counted else (None, None)
    total = logprobs.new_zeros(())
    for rows in partition:
        data = _microbatch(fixture, rows)
        tensordict_utils.assign_non_tensor(data, dp_size=1, batch_num_tokens=tokens, global_batch_size=sequences)
        # the model's output has one more position per row: log-probabilities are one to the left of their tokens
        output = torch.cat([logprobs[list(rows)], logprobs.new_zeros(len(rows), 1)], dim=1).flatten()
        loss, _ = ppo_loss(config, {"log_probs": output}, data)
        total = total + (loss if counted else loss / len(partition))
    (gradient,) = torch.autograd.grad(total, logprobs)
    return float(total.detach()), gradient


def _microbatch(fixture: Fixture, rows: tuple[int, ...]) -> TensorDict:
    """A prompt of one token and a response of the full width in every row."""
    chosen = list(rows)
    mask = fixture.mask[chosen]
    ones = torch.ones(len(chosen), mask.shape[1] + 1, dtype=torch.long)
    return TensorDict(
        {
            "prompts": ones[:, :1],
            "responses": ones[:, 1:],
            "attention_mask": ones,
            "response_mask": mask.long(),
            "old_log_probs": fixture.old_logprobs[chosen],
            "advantages": fixture.advantages[chosen][:, None].expand(mask.shape).clone(),
        },
        batch_size=[len(chosen)],
    )


def _actor(settings: Mapping[str, Any], numbers: Mapping[str, Any], aggregation: str, width: int) -> FSDPActorConfig:
    settings = dict(settings)
    loss_mode = settings.pop("loss_mode")
    betas = {name: value for name, value in numbers.items() if name.startswith("beta")}
    section = PolicyLossConfig(loss_mode=loss_mode, **betas) if loss_mode in PUBLISHED else None
    named: dict[str, Any] = {}
    for name, value in numbers.items():
        named |= dict.fromkeys(_NUMBERS.get(name, ()), value)
    return FSDPActorConfig(
        rollout_n=1,
        ppo_micro_batch_size_per_gpu=1,
        loss_agg_mode=AGGREGATIONS[aggregation],
        loss_scale_factor=width,
        policy_loss=section or VerlPolicyLossConfig(loss_mode=loss_mode),
        **named,
        **settings,
    )
