"""Estimates of KL(old || current) from tokens that were sampled from old; log r = log pi - log pi_old.

Both are per token and keep the shape. Give them bounded log-ratios (`openklear.objectives.ratio`).
"""

from __future__ import annotations

from torch import Tensor


def k1(log_ratio: Tensor) -> Tensor:
    """-log r: unbiased, of either sign, noisy."""
    return -log_ratio


def k3(log_ratio: Tensor) -> Tensor:
    """r - 1 - log r: unbiased, never negative, quieter. Through expm1, for small log-ratios."""
    return log_ratio.expm1() - log_ratio
