"""Rows of unlike lengths -> micro-batches of a bounded size, and the padded tensors of one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor


def plan_microbatches(lengths: Sequence[int], budget_tokens: int) -> list[list[int]]:
    """Indices of rows in micro-batches of at most `budget_tokens` padded tokens: rows x longest row.

    Longest first, equal lengths in their own order, so that like lengths share a micro-batch, padding is small, and the
    largest allocation comes first. A row longer than the budget is a micro-batch of its own. Every index occurs once.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    microbatches: list[list[int]] = []
    for index in order:
        # The first row of a micro-batch is its longest.
        if microbatches and (len(microbatches[-1]) + 1) * lengths[microbatches[-1][0]] <= budget_tokens:
            microbatches[-1].append(index)
        else:
            microbatches.append([index])
    return microbatches


def pad_right(rows: Sequence[ArrayLike], fill: float | bool, dtype: torch.dtype) -> Tensor:
    """Rows (T_i,) -> one tensor (B, max T_i) of `dtype` on the CPU, `fill` right of each row's end."""
    arrays = [np.asarray(row) for row in rows]
    padded = torch.full((len(arrays), max((len(row) for row in arrays), default=0)), fill, dtype=dtype)
    for target, row in zip(padded, arrays, strict=True):
        target[: len(row)] = torch.as_tensor(row).to(dtype)
    return padded
