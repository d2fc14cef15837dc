"""Rows of unlike lengths -> micro-batches of a bounded size, packed or padded, and the padded tensors of one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
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


_SHARED_AT_LEAST = 0.05
"""Of all tokens that have to be shared, for packs to be made of sequences that begin alike, not of like length."""
_REPEATED_AT_MOST = 2
"""Tokens of a pack's sequences, for each token that is computed: attention has them all."""


def plan_packs(rows: Sequence[NDArray[np.int32]], budget_tokens: int, *, share: bool = True) -> list[tuple[int, ...]]:
    """Indices of sequences (T_i,) in packs of at most `budget_tokens` computed tokens, few and of about equal size.

    Sequences that begin alike come together, as their common tokens are computed once in a pack; where little is
    shared, or `share` is False, sequences of like length do. Within a pack the longest is first, equal lengths in their
    own order. A sequence longer than the budget is a pack of its own. Every index occurs once.
    """
    lengths = [len(row) for row in rows]
    order, common = by_content(rows, SHARED_TOKENS) if share else ([], [])
    if not share or sum(common) < _SHARED_AT_LEAST * sum(lengths):
        order, common = longest_first(range(len(rows)), lengths), [0] * len(rows)
    left = sum(lengths) - sum(common)
    packs: list[tuple[int, ...]] = []
    pack: list[int] = []
    held = repeated = aim = 0
    for index, shared in zip(order, common, strict=True):
        new = lengths[index] - shared
        full = held + new > budget_tokens or repeated + lengths[index] > _REPEATED_AT_MOST * budget_tokens
        if pack and (full or (held >= aim and left > 0)):
            packs.append(tuple(longest_first(pack, lengths)))
            pack, held, repeated = [], 0, 0
        if not pack:  # an equal share of what is left, over as few packs as it takes
            left, new = left + shared, lengths[index]
            aim = -(-left // -(-left // budget_tokens)) if left else 0
        pack.append(index)
        held, repeated, left = held + new, repeated + lengths[index], left - new
    return [*packs, tuple(longest_first(pack, lengths))] if pack else packs


def longest_first(indices: Iterable[int], lengths: Sequence[int]) -> list[int]:
    """The indices by length, equal lengths in their own order."""
    return sorted(indices, key=lambda index: (-lengths[index], index))


SHARED_TOKENS = 4
"""So many tokens must two sequences begin with alike for a pack to compute them once: fewer are an accident, and cost
more than they save."""


def by_content(rows: Sequence[NDArray[np.int32]], at_least: int = 1) -> tuple[list[int], list[int]]:
    """Indices of the rows so that those that begin alike are neighbours, and how many tokens each begins with that the
    one before it begins with too: no earlier one has more in common with it. Fewer than `at_least` count as none.
    """
    order = sorted(range(len(rows)), key=lambda index: rows[index].astype(">u4").tobytes())
    common = [0] * min(1, len(rows))
    for one, other in pairwise(order):
        least = min(len(rows[one]), len(rows[other]))
        differing = np.flatnonzero(rows[one][:least] != rows[other][:least])
        alike = int(differing[0]) if len(differing) else least
        common.append(alike if alike >= at_least else 0)
    return order, common


def pad_right(rows: Sequence[ArrayLike], fill: float | bool, dtype: torch.dtype) -> Tensor:
    """Rows (T_i,) -> one tensor (B, max T_i) of `dtype` on the CPU, `fill` right of each row's end."""
    arrays = [np.asarray(row) for row in rows]
    padded = torch.full((len(arrays), max((len(row) for row in arrays), default=0)), fill, dtype=dtype)
    for target, row in zip(padded, arrays, strict=True):
        target[: len(row)] = torch.as_tensor(row).to(dtype)
    return padded
