"""Sums over the sequences of packed rows."""

from __future__ import annotations

import torch
from torch import Tensor

from openklear.objectives.ratio import require_same_shape


def segment_sum(values: Tensor, loss_mask: Tensor, segment_ids: Tensor | None) -> Tensor:
    """The sum of `values` over the loss tokens of each token's sequence, given at every token; all (B, T).

    `segment_ids` (int64) marks the sequences of a packed row; without it a row is one sequence. Ids outside the mask
    are ignored. ValueError for another shape, or a negative id at a loss token.
    """
    masked = torch.where(loss_mask, values, 0.0)
    if segment_ids is None:
        require_same_shape(values=values, loss_mask=loss_mask)
        return masked.sum(dim=1, keepdim=True).expand_as(values)
    require_same_shape(values=values, loss_mask=loss_mask, segment_ids=segment_ids)
    ids = torch.where(loss_mask, segment_ids, 0)
    if not ids.numel():
        return masked
    if int(ids.min()) < 0:
        raise ValueError("segment_ids must be 0 or more at loss tokens")
    _, dense = torch.unique(ids, return_inverse=True)  # (B, T); ids may be large, so they are renumbered from 0
    width = int(dense.max()) + 1
    # (B, T): the cell of each token's sum; every row has `width` cells of its own.
    cells = dense + width * torch.arange(len(ids), device=ids.device)[:, None]
    sums = torch.zeros(len(ids) * width, dtype=values.dtype, device=values.device)
    return sums.index_add(0, cells.flatten(), masked.flatten())[cells]


def segment_mean(values: Tensor, loss_mask: Tensor, segment_ids: Tensor | None) -> Tensor:
    """As `segment_sum`, divided by the number of the sequence's loss tokens."""
    counts = segment_sum(torch.ones_like(values), loss_mask, segment_ids)
    return segment_sum(values, loss_mask, segment_ids) / counts.clamp(min=1.0)
