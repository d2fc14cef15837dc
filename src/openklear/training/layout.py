"""Sequences of one micro-batch as padded tensors: one sequence per row, or several in a pack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openklear.models.batching import pad_right

Row = int | tuple[int, ...]
"""The index of a sequence, or those of several that share a row."""
Microbatch = Sequence[Row]


class TokenRow(Protocol):
    """A sequence and which of its tokens are trained; an encoded demonstration is one, a `PolicySequence` too."""

    @property
    def ids(self) -> NDArray[np.int32]:
        """(T,) token ids."""

    @property
    def loss_mask(self) -> NDArray[np.bool_]:
        """(T,) True where the token is trained; the first one never is."""


def members(microbatch: Microbatch) -> list[int]:
    """The indices of a micro-batch's sequences, in its order."""
    return list(chain.from_iterable((row,) if isinstance(row, int) else row for row in microbatch))


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """One micro-batch of sequences 0..n-1, numbered in its order; all tensors (B, T)."""

    ids: Tensor
    loss_mask: Tensor
    segments: Tensor
    """The sequence that a token belongs to; 0 on padding."""
    position_ids: Tensor | None
    """Of packs: positions that restart with each sequence, so that none attends to another."""
    lengths: tuple[tuple[int, ...], ...]
    """Tokens of each sequence of each row."""

    @staticmethod
    def of(rows: Sequence[TokenRow], microbatch: Microbatch, device: torch.device) -> Layout:
        """The micro-batch of `rows` whose indices it holds."""
        first, joined, lengths = 0, [], []
        for row in microbatch:
            sequences = [rows[i] for i in members([row])]
            joined.append(_end_to_end(sequences, first))
            lengths.append(tuple(len(s.ids) for s in sequences))
            first += len(sequences)
        ids, masks, segments, positions = zip(*joined, strict=True)  # each a list of rows, padded below to (B, T)
        packed = any(len(row) > 1 for row in lengths)
        return Layout(
            ids=pad_right(ids, 0, torch.int64).to(device),
            loss_mask=pad_right(masks, False, torch.bool).to(device),
            segments=pad_right(segments, 0, torch.int64).to(device),
            position_ids=pad_right(positions, 0, torch.int64).to(device) if packed else None,
            lengths=tuple(lengths),
        )

    def spread(self, values: Sequence[float], dtype: torch.dtype) -> Tensor:
        """One value per sequence -> (B, T), at each of its tokens."""
        return torch.tensor(values, dtype=dtype, device=self.ids.device)[self.segments]  # (S,) -> (B, T)

    def join(self, arrays: Sequence[NDArray[np.float32]], dtype: torch.dtype) -> Tensor:
        """One array (T_i,) per sequence -> (B, T), 0 on padding."""
        rest = iter(arrays)
        rows = [np.concatenate(list(islice(rest, len(row)))) for row in self.lengths]
        return pad_right(rows, 0.0, dtype).to(self.ids.device)

    def split(self, values: Tensor) -> list[NDArray[np.float32]]:
        """(B, T) -> one array (T_i,) per sequence, without padding."""
        parts: list[NDArray[np.float32]] = []
        for row, lengths in zip(values.detach().float().cpu().numpy(), self.lengths, strict=True):
            ends = np.cumsum(lengths)
            parts += [part.copy() for part in np.split(row[: ends[-1]], ends[:-1])]
        return parts


def _end_to_end(sequences: Sequence[TokenRow], first: int) -> tuple[NDArray[Any], ...]:
    """A row of one or more sequences, numbered from `first`: ids, loss mask, numbers and positions of its tokens."""
    lengths = [len(s.ids) for s in sequences]
    return (
        np.concatenate([s.ids for s in sequences]),
        np.concatenate([s.loss_mask for s in sequences]),
        np.repeat(np.arange(first, first + len(sequences)), lengths),  # 0 0 0 1 1
        np.concatenate([np.arange(n) for n in lengths]),  # 0 1 2 0 1
    )
