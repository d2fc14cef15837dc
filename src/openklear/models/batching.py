"""Rows of unlike lengths -> micro-batches of a bounded size, packed or padded, and the padded tensors of one."""

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


def plan_packs(lengths: Sequence[int], budget_tokens: int) -> list[tuple[int, ...]]:
    """Indices of sequences in packs of at most `budget_tokens` tokens, as few and as equal as this order allows.

    Longest first, equal lengths in their own order, so that neighbours in a pack are of like length. A sequence longer
    than the budget is a pack of its own. Every index occurs once.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    left = sum(lengths)
    packs: list[tuple[int, ...]] = []
    pack: list[int] = []
    held = aim = 0
    for index in order:
        tokens = lengths[index]
        if pack and (held + tokens > budget_tokens or held >= aim):
            packs.append(tuple(pack))
            pack, held = [], 0
        if not pack:  # an equal share of what is left, over as few packs as it takes
            aim = -(-left // -(-left // budget_tokens)) if left else 0
        pack.append(index)
        held, left = held + tokens, left - tokens
    return [*packs, tuple(pack)] if pack else packs


def pad_right(rows: Sequence[ArrayLike], fill: float | bool, dtype: torch.dtype) -> Tensor:
    """Rows (T_i,) -> one tensor (B, max T_i) of `dtype` on the CPU, `fill` right of each row's end."""
    arrays = [np.asarray(row) for row in rows]
    padded = torch.full((len(arrays), max((len(row) for row in arrays), default=0)), fill, dtype=dtype)
    for target, row in zip(padded, arrays, strict=True):
        target[: len(row)] = torch.as_tensor(row).to(dtype)
    return padded
