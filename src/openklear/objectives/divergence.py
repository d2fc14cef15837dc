"""Estimates of KL(old || current) from tokens that were sampled from old; log r = log pi - log pi_old.

All are per token and keep the shape (Schulman 2020, "Approximating KL divergence"). Give them bounded log-ratios
(`openklear.objectives.ratio`). With log-ratios of a reference policy, log pi_ref - log pi, and tokens of the current
one they estimate KL(current || reference) instead.
"""

from __future__ import annotations

from torch import Tensor


def k1(log_ratio: Tensor) -> Tensor:
    """-log r: unbiased, of either sign, noisy."""
    return -log_ratio


def k2(log_ratio: Tensor) -> Tensor:
    """(log r)^2 / 2: biased, never negative, quiet; its gradient by log pi is that of the KL, log r, on average."""
    return log_ratio.square() / 2


def k3(log_ratio: Tensor) -> Tensor:
    """r - 1 - log r: unbiased, never negative, quieter than k1. Through expm1, for small log-ratios."""
    return log_ratio.expm1() - log_ratio
