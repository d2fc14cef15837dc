"""The entropy-ratio gate, which lies on top of any per-token loss."""

from __future__ import annotations

import torch
from torch import Tensor

from openklear.objectives.ratio import at_least_fp32, require_same_shape

EPSILON = 1e-8
"""Added to both entropies (arXiv 2512.05591), so that certain tokens have a ratio of 1."""


def gate_open(
    entropy: Tensor, old_entropy: Tensor, *, low: float = 0.95, high: float = 1.05, loss_mask: Tensor | None = None
) -> Tensor:
    """Where low < (H+1e-8)/(H_old+1e-8) < high; all (B, T), bool; the ratio is 1 outside the mask."""
    mask = torch.ones_like(entropy, dtype=torch.bool) if loss_mask is None else loss_mask.bool()
    require_same_shape(entropy=entropy, old_entropy=old_entropy, loss_mask=mask)
    new, old = (torch.where(mask, at_least_fp32(t.detach()), 0.0) + EPSILON for t in (entropy, old_entropy))
    return (new > low * old) & (new < high * old)


def entropy_gate(
    losses: Tensor,
    *,
    entropy: Tensor,
    old_entropy: Tensor,
    low: float = 0.95,
    high: float = 1.05,
    loss_mask: Tensor | None = None,
) -> Tensor:
    """Entropy-ratio clipping (arXiv 2512.05591): tokens count while low < (H+1e-8)/(H_old+1e-8) < high; all (B, T).

    `losses` are those of any policy loss; `entropy` and `old_entropy` are those of the whole next-token distribution,
    in nats, under the current and the old policy. Elsewhere value and gradient are 0; the token still counts in the
    denominator. Entropies get no gradient and are not looked at outside the mask.
    """
    require_same_shape(losses=losses, entropy=entropy)
    return torch.where(gate_open(entropy, old_entropy, low=low, high=high, loss_mask=loss_mask), losses, 0.0)
