"""Activation checkpointing: the decoder's layers keep their inputs and compute the rest anew in the backward pass.

Between the passes a layer then holds its input (T, H) and what attention gave, (T, Q) with one number a head, instead
of everything in between (Chen et al. 2016, arXiv 1604.06174); attention is the part whose cost grows with the square
of the length, so it is the one part that is not computed twice (Korthikanti et al. 2022, arXiv 2205.05198). The
gradient has the same bits: the same operations see the same numbers, in the same order.

Only passes that autograd records are concerned, so sampling, old log-probabilities and evaluation run as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts
from transformers.modeling_layers import GradientCheckpointingLayer

from openklear.errors import ModelError
from openklear.models.fused import as_now

_ATTENTION = {
    "aten::_scaled_dot_product_flash_attention_for_cpu",
    "aten::_scaled_dot_product_flash_attention",
    "aten::_scaled_dot_product_efficient_attention",
    "aten::_scaled_dot_product_cudnn_attention",
    "aten::_flash_attention_forward",
    "aten::_efficient_attention_forward",
    "torch_attn::_varlen_attn",
}
"""Operations of torch that hold a whole attention; which of them there are depends on its version."""


def layers(model: Any) -> list[nn.Module]:
    """The decoder's layers: transformers' own mark them. [] where they cannot be told."""
    found: list[nn.Module] = []
    inside: set[nn.Module] = set()
    for module in model.modules():  # parents come before their children
        if isinstance(module, GradientCheckpointingLayer) and module not in inside:
            found.append(module)
            inside.update(module.modules())
    return found


def recompute_layers(model: Any) -> None:
    """From now on every pass that autograd records keeps only the layers' inputs and attention. Twice does no harm.

    ModelError where the decoder's layers cannot be told from the rest.
    """
    found = layers(model)
    if not found:
        raise ModelError(
            f"{type(model).__name__} does not mark its layers, so their activations cannot be computed anew; "
            "write activation_checkpointing = false"
        )
    for layer in found:
        forward = layer.forward
        if not isinstance(forward, partial):
            layer.forward = partial(_recomputed, forward)


def _recomputed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The layer, checkpointed where a gradient will be asked for. A cache would be written to twice: then as it is."""
    if not torch.is_grad_enabled() or kwargs.get("past_key_values") is not None:
        return forward(*args, **kwargs)
    return checkpoint(as_now(forward), *args, use_reentrant=False, context_fn=_contexts, **kwargs)


def _contexts() -> tuple[Any, Any]:
    return create_selective_checkpoint_contexts(_policy)  # type: ignore[no-untyped-call,no-any-return]


def _policy(_: Any, operation: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    kept = operation.name().partition(".")[0] in _ATTENTION
    return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE
