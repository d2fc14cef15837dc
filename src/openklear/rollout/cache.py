"""A key/value cache of slots: every row has its own length, and a row can be given to another sequence at any time.

transformers' caches keep one length for the whole batch. Here each row writes at its own position; columns beyond it
are hidden by the mask that goes with the cache. Tensors have exactly the columns in use (rounded up), because
attention over a narrow view of a wide tensor costs up to three times as much on a CPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

_ROUND = 32


def rounded_columns(length: int) -> int:
    """Columns kept for `length` tokens: a multiple of 32, coarser (by at most an eighth) as rows grow long.

    Few sizes mean few reallocations; the multiple keeps mask rows aligned for GPU kernels.
    """
    step = max(_ROUND, 1 << max(0, length.bit_length() - 4))
    return -(-length // step) * step


class SlotLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """Keys and values of one layer: (rows, heads, columns, head_dim), contiguous."""

    is_sliding = False
    keys: Tensor
    values: Tensor
    cursor: Tensor
    """(rows * heads,) where the running step writes: flat positions in (rows * heads * columns)."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys, self.values = keys, values
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to do: the tensors are given at construction."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: object, **_kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write one token per row, (rows, heads, 1, head_dim), at the cursor; returns all columns."""
        for whole, new in ((self.keys, key_states), (self.values, value_states)):
            whole.view(-1, whole.shape[-1]).index_copy_(0, self.cursor, new.reshape(-1, new.shape[-1]))
        return self.keys, self.values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns returned, and the offset of the first."""
        return self.keys.shape[2], 0

    def get_seq_length(self) -> int:
        """Columns held; the length of each row shows in the positions given with each step."""
        return int(self.keys.shape[2])

    def get_max_length(self) -> int:
        """-1: the columns grow."""
        return -1


class SlotCache(Cache):
    """The layers, and the operations on whole rows."""

    def __init__(self, like: Cache, rows: int, length: int) -> None:
        """Zeros for `rows` rows of at least `length` tokens; heads, sizes and types as in the layers of `like`."""
        columns = rounded_columns(length)
        self.slot_layers: list[SlotLayer] = []
        for pair in _contents(like):
            keys, values = (t.new_zeros((rows, t.shape[1], columns, t.shape[3])) for t in pair)
            self.slot_layers.append(SlotLayer(keys, values))
        super().__init__(layers=[*self.slot_layers])

    @property
    def columns(self) -> int:
        """Columns held in every row."""
        return int(self.slot_layers[0].keys.shape[2])

    def widen(self, length: int) -> None:
        """Hold at least `length` columns."""
        wanted = rounded_columns(length)
        if self.columns < wanted:
            for layer in self.slot_layers:
                layer.keys, layer.values = (_widened(t, wanted) for t in (layer.keys, layer.values))

    def narrow(self, length: int) -> None:
        """Give columns back when a quarter or more of them lies beyond `length`."""
        wanted = rounded_columns(length)
        if wanted * 4 <= self.columns * 3:
            for layer in self.slot_layers:
                layer.keys, layer.values = (t[:, :, :wanted].contiguous() for t in (layer.keys, layer.values))

    def keep_rows(self, rows: Tensor) -> None:
        """Keep only `rows` (K,), in that order."""
        for layer in self.slot_layers:
            layer.keys, layer.values = (t.index_select(0, rows) for t in (layer.keys, layer.values))

    def copy_rows(self, source: Tensor, target: Tensor, length: int) -> None:
        """Copy the first `length` columns of the rows `source` (K,) to the rows `target` (K,); all reads come first."""
        for layer in self.slot_layers:
            for whole in (layer.keys, layer.values):
                whole[target, :, :length] = whole[source, :, :length]

    def fill_rows(self, prefill: Cache, source: Tensor, target: Tensor) -> None:
        """Put the rows `source` (K,) of a prefilled cache into the rows `target` (K,)."""
        for mine, (keys, values) in zip(self.slot_layers, _contents(prefill), strict=True):
            for whole, new in ((mine.keys, keys), (mine.values, values)):
                whole[target, :, : new.shape[2]] = new[source]

    def seek(self, positions: Tensor) -> Tensor:
        """Make the next step write at `positions` (rows,); returns its mask (rows, 1, 1, columns), 0 or -inf.

        A row sees its columns up to and including the one it writes.
        """
        keys = self.slot_layers[0].keys
        rows, heads, columns, _ = keys.shape
        # Row r, head h begins at (r * heads + h) * columns of the flat keys; its token goes `positions[r]` further.
        lines = torch.arange(rows * heads, device=keys.device).view(rows, heads)
        cursor = (lines * columns + positions[:, None]).view(-1)
        for layer in self.slot_layers:
            layer.cursor = cursor
        hidden = torch.arange(columns, device=keys.device)[None, :] > positions[:, None]  # (rows, columns)
        mask = torch.zeros(hidden.shape, dtype=keys.dtype, device=keys.device).masked_fill_(hidden, float("-inf"))
        return mask[:, None, None, :]


def _contents(cache: Any) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of each layer of a filled transformers cache, (rows, heads, columns, head_dim)."""
    return [(layer.keys, layer.values) for layer in cache.layers]


def _widened(tensor: Tensor, columns: int) -> Tensor:
    """The same rows with zeros to the right, `columns` in all."""
    wide = tensor.new_zeros((*tensor.shape[:2], columns, tensor.shape[3]))
    wide[:, :, : tensor.shape[2]] = tensor
    return wide
