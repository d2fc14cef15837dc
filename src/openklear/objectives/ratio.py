"""The ratio of the current policy to the old one, bounded so that no exponential overflows."""

from __future__ import annotations

import torch
from torch import Tensor

LOG_RATIO_BOUND = 20.0
"""|log r| beyond this is cut before exp: e^20 is about 5e8, far outside any band yet safe to square in fp32."""


def bounded_log_ratio(logprobs: Tensor, old_logprobs: Tensor) -> Tensor:
    """log r = logprobs - old_logprobs, cut to +-LOG_RATIO_BOUND; same shape, at least fp32, outside the graph.

    It is detached on purpose: a bound inside the graph would kill the gradient beyond it, and the gradients of GPPO
    and of PPO's inactive side do not vanish there (report, Eq. 12).
    """
    require_same_shape(logprobs=logprobs, old_logprobs=old_logprobs)
    difference = at_least_fp32(logprobs.detach()) - at_least_fp32(old_logprobs.detach())
    return difference.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)


def at_least_fp32(tensor: Tensor) -> Tensor:
    """The tensor in fp32, or as it is where it is wider."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def require_same_shape(**tensors: Tensor) -> None:
    """ValueError unless all shapes are equal: (B,) against (B, T) broadcasts without a word where B == T."""
    if len({tuple(t.shape) for t in tensors.values()}) > 1:
        shapes = ", ".join(f"{name} {tuple(t.shape)}" for name, t in tensors.items())
        raise ValueError(f"these tensors must have one shape: {shapes}")
