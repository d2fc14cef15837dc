"""Decoding steps and prefill by transformers' own forward, for every model that `lean` does not know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

from openklear.models.batching import pad_right
from openklear.rollout.panels import KeyPanel, Prefilled

__all__ = ["WholeDecoder"]


class WholeDecoder:
    """The model as it is: each panel is a batch of its own."""

    def __init__(self, model: Any) -> None:
        self.decoder = model.base_model
        self.head = model.get_output_embeddings()
        self.head_weight: Tensor = self.head.weight

    def step(self, tokens: Tensor, positions: Tensor, panels: Sequence[KeyPanel]) -> Tensor:
        """Feed `tokens` (N,) at `positions` (N,), and write their keys and values; returns the last states (N, H)."""
        parts, first = [], 0
        for panel in panels:
            rows = slice(first, first + len(panel))
            first = rows.stop
            mask = panel.mask()
            if mask is None:
                mask = panel.tensors[0].new_zeros((len(panel), 1, 1, panel.length + 1))
            parts.append(
                self.decoder(
                    input_ids=tokens[rows, None],
                    attention_mask=mask,
                    position_ids=positions[rows, None],
                    past_key_values=_PanelCache(panel),
                    use_cache=True,
                ).last_hidden_state[:, 0]
            )
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def prefill(self, prompts: dict[int, tuple[int, ...]]) -> Prefilled:
        """Run prompts in one padded batch (P, T)."""
        device = next(self.decoder.parameters()).device
        ids = pad_right(list(prompts.values()), 0, torch.int64).to(device)  # causal attention never sees the padding
        cache: Any = DynamicCache()
        states = self.decoder(
            input_ids=ids,
            position_ids=torch.arange(ids.shape[1], device=device)[None, :],
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state  # (P, T, H)
        tensors = []
        for layer in cache.layers:
            for side in (layer.keys, layer.values):
                tensors.append(side.transpose(1, 2).flatten(0, 1)[None])  # from (P, heads, T, width)
        first = ids.shape[1] * np.arange(len(prompts))
        places = {p: start + np.arange(len(prompts[p])) for p, start in zip(prompts, first.tolist(), strict=True)}
        last = {p: states[row, len(prompts[p]) - 1] for row, p in enumerate(prompts)}
        return Prefilled(tensors, places, last)


class _PanelLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """Keys and values of one layer of a panel, as transformers asks for them."""

    is_sliding = False

    def __init__(self, panel: KeyPanel, number: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.panel = panel
        self.sides = [tensor[0, : len(panel)] for tensor in panel.tensors[2 * number : 2 * number + 2]]
        self.keys, self.values = self.sides
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to do: the tensors are given at construction."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: object, **_kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write one token per row, (rows, heads, 1, width); returns the columns that the mask is for."""
        low, end = self.panel.low, self.panel.end
        for side, new in zip(self.sides, (key_states, value_states), strict=True):
            side[:, :, end : end + 1] = new
        keys, values = (side[:, :, low : end + 1] for side in self.sides)
        return keys, values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns returned, and the offset of the first."""
        return self.panel.length + query_length, 0

    def get_seq_length(self) -> int:
        """Columns held; the length of each row shows in the positions given with each step."""
        return self.panel.length

    def get_max_length(self) -> int:
        """-1: the columns grow."""
        return -1


class _PanelCache(Cache):
    def __init__(self, panel: KeyPanel) -> None:
        super().__init__(layers=[_PanelLayer(panel, number) for number in range(len(panel.tensors) // 2)])
