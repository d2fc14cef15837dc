"""Sequences of one micro-batch as tensors: end to end in one row, or each in a row of its own, padded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openklear.models.attention import Segments
from openklear.models.batching import pad_right

Row = int | tuple[int, ...]
"""The index of a sequence, or those of several that lie end to end."""
Microbatch = Sequence[Row]
"""Where one of the rows is a tuple, all its sequences lie end to end in one row; else each has a padded row."""


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
    packed: Segments | None
    """Of one row of sequences end to end: their lengths, so that none sees another."""
    lengths: tuple[tuple[int, ...], ...]
    """Tokens of each sequence of each row."""

    @staticmethod
    def of(rows: Sequence[TokenRow], microbatch: Microbatch, device: torch.device, *, share: bool = True) -> Layout:
        """The micro-batch of `rows` whose indices it holds; `share`: what they begin with alike is computed once."""
        pack = any(isinstance(row, tuple) for row in microbatch)
        chosen = [rows[i] for i in members(microbatch)]
        ids, masks = [s.ids for s in chosen], [s.loss_mask for s in chosen]
        lengths = tuple(map(len, ids))
        segments = [np.full(tokens, number) for number, tokens in enumerate(lengths)]
        packed = (Segments.sharing(ids, device) if share else Segments(lengths, device)) if pack else None
        if pack:
            ids, masks, segments = ([np.concatenate(arrays)] for arrays in (ids, masks, segments))
        return Layout(
            ids=pad_right(ids, 0, torch.int64).to(device),
            loss_mask=pad_right(masks, False, torch.bool).to(device),
            segments=pad_right(segments, 0, torch.int64).to(device),
            packed=packed,
            lengths=(lengths,) if pack else tuple((tokens,) for tokens in lengths),
        )

    def spread(self, values: Sequence[float], dtype: torch.dtype) -> Tensor:
        """One value per sequence -> (B, T), at each of its tokens."""
        return torch.tensor(values, dtype=dtype, device=self.ids.device)[self.segments]  # (S,) -> (B, T)

    def join(self, arrays: Sequence[NDArray[np.float32] | NDArray[np.int32]], dtype: torch.dtype) -> Tensor:
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
