"""Rollouts with ragged masks, and a model small enough to take gradients of dozens of times a second."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import torch

from openklear.models.tiny import make_tiny
from openklear.objectives.aggregate import AGGREGATIONS as ALL_AGGREGATIONS
from openklear.objectives.policy import CATALOG
from openklear.recipe.objectives import MEMBERS, Gppo
from openklear.recipe.schema import Phase
from openklear.training.step import PolicySequence, policy_gradient, reference_logprobs

OBJECTIVES = tuple(member() for member in MEMBERS.values())
AGGREGATIONS = tuple(name for name in ALL_AGGREGATIONS if name != "klear_released")
"""Those that obey the law."""
PAIRS = tuple((o, a) for o in OBJECTIVES for a in AGGREGATIONS if a == "sequence_mean" or not CATALOG[o.type].sequence)
CONSTANT = 50


def tiny_model(seed=0, dtype=torch.float32):
    return make_tiny(16, 2, 2, 64, seed).model.to(dtype)


def norms_in_their_own_type(model):
    """The model with norms that compute in the type of their input; the library's are float32 even in float64.

    Their backward pass then rounds a gradient that has come together at a shared token otherwise than its parts.
    """
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = partial(rms_norm, module)
    return model


def rms_norm(module, states):
    return torch.nn.functional.rms_norm(states, states.shape[-1:], module.weight, module.variance_epsilon)


def rollouts(model, count=12, *, seed=0, drift=0.4):
    """`count` sequences of 4 to 32 tokens in unequal groups, their old policy `drift` nats a token off the model."""
    rng = np.random.default_rng(seed)
    sequences = []
    for index in range(count):
        length = int(rng.integers(4, 33))
        prompt = int(rng.integers(1, 4))
        mask = np.arange(length) >= prompt
        mask[prompt + 1 :] &= rng.random(length - prompt - 1) > 0.2  # holes: masks need not be suffixes
        ids = rng.integers(7, 100, length).astype(np.int32)
        advantage = float(rng.normal())
        old = np.zeros(length, dtype=np.float32)
        group = int(rng.integers(0, 3))
        sequences.append(PolicySequence(ids, mask, old, advantage, bool(rng.random() < 0.4), group, index))
    found = zip(*reference_logprobs(model, sequences, [list(range(count))], 1.0, entropy=True), strict=True)
    return [
        replace(
            s,
            old_logprobs=np.where(s.loss_mask, p + rng.normal(0, drift, len(p)), 0).astype(np.float32),
            rollout_logprobs=np.where(s.loss_mask, p + rng.normal(0, drift, len(p)), 0).astype(np.float32),
            old_entropies=(h * rng.uniform(0.9, 1.1, len(h))).astype(np.float32),
        )
        for s, (p, h) in zip(sequences, found, strict=True)
    ]


def flat_gradient(model):
    return torch.cat([p.grad.flatten() for p in model.parameters()]).clone()


def settings(objective=None, aggregation="token_mean", *, sft_loss_weight=0.1, temperature=1.0, **more):
    return Phase(
        name="any",
        domains=("math",),
        objective=objective or Gppo(),
        aggregation=aggregation,
        sft_loss_weight=sft_loss_weight,
        temperature=temperature,
        max_completion_tokens=CONSTANT,
        **more,
    )


def gradient(model, sequences, microbatches, objective=None, aggregation="token_mean", **more):
    """Flat gradient and metrics of one step."""
    model.zero_grad()
    metrics = policy_gradient(model, sequences, microbatches, settings(objective, aggregation, **more))
    return flat_gradient(model), metrics


def distance(one, other):
    """||one - other|| / ||one||."""
    return float((one.double() - other.double()).norm() / one.double().norm())
