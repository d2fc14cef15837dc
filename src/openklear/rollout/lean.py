"""Decoding steps and prefill of the Llama, Qwen2 and Qwen3 families, from the model's own weights.

The same arithmetic as transformers' forward, with fewer and larger operations: one product for queries, keys and
values, one for gate and up, rotary positions as one complex product (query and key channels i and i + d/2 are made
neighbours, which leaves their inner products as they are), query heads that share a key head as rows of one small
product, and on the CPU weights packed for oneDNN. Copies of weights are made anew for each call of the sampler and
dropped after it, so that they can never be stale and take no memory while the learner trains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear, rms_norm, scaled_dot_product_attention, silu
from transformers import LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM

from openklear.rollout.panels import KeyPanel, Prefilled

__all__ = ["LeanDecoder", "is_lean"]

_FAMILIES = (LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM)
_ROPES = ("default", "linear", "llama3", "yarn")
"""Rotary embeddings whose angles depend on the position alone."""
_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_PACKED_FROM = 1 << 17
"""Entries of a weight from which packing pays on a CPU: below, oneDNN's fixed cost of a call is more than it saves."""

Product = Callable[[Tensor], Tensor]


def is_lean(model: Any) -> bool:
    """Whether this module computes what the model's own forward does: family, layers and settings are known."""
    config = model.config
    if type(model) not in _FAMILIES or config.hidden_act != "silu":
        return False
    if any(kind != "full_attention" for kind in getattr(config, "layer_types", None) or ()):
        return False
    if (config.rope_parameters or {}).get("rope_type", "default") not in _ROPES:
        return False
    linears = (module for name, module in model.named_modules() if name.endswith("_proj"))
    return model.dtype in _DTYPES and all(_plain(module) is not None for module in linears)


def _plain(module: Any) -> nn.Linear | None:
    """The linear layer that it is, an adapter being merged into it or not there; None for anything else."""
    if getattr(module, "merged", False):
        module = module.base_layer
    return module if type(module) is nn.Linear else None


def _linear(module: Any) -> nn.Linear:
    found = _plain(module)
    assert found is not None  # `is_lean` has looked
    return found


@dataclass(slots=True)
class _Layer:
    """What a layer is made of; all products take (tokens, in) to (tokens, out)."""

    norm: Tensor
    qkv: Product
    head_norms: Tensor | None
    """(query and key heads, d) of Qwen3, channels in the order of `_neighbours`."""
    out: Product
    mlp_norm: Tensor
    gate_up: Product
    down: Product


class LeanDecoder:
    """A snapshot of a model's weights, arranged for sampling."""

    def __init__(self, model: Any, positions: int) -> None:
        """`positions`: no sequence is longer."""
        config, decoder = model.config, model.base_model
        self.eps: float = config.rms_norm_eps
        self.queries: int = config.num_attention_heads
        self.heads: int = config.num_key_value_heads
        self.width: int = decoder.layers[0].self_attn.head_dim
        self.scale: float = decoder.layers[0].self_attn.scaling
        self.embedding: Tensor = decoder.embed_tokens.weight
        self.norm: Tensor = decoder.norm.weight
        self.layers = [self._layer(layer) for layer in decoder.layers]
        head = model.get_output_embeddings()
        self.head_weight: Tensor = head.weight
        self.head = _product(head.weight, head.bias)
        self.turns = _turns(decoder, positions)  # (positions, d/2) complex

    def _layer(self, layer: Any) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp
        q, k, v, o = (_linear(getattr(attention, name)) for name in ("q_proj", "k_proj", "v_proj", "o_proj"))
        down = _linear(mlp.down_proj)
        order = self._neighbours(q.weight.device)
        weight = torch.cat((*(self._reordered(part.weight, order) for part in (q, k)), v.weight))
        bias = None
        if q.bias is not None:
            bias = torch.cat((*(self._reordered(part.bias, order) for part in (q, k)), v.bias))
        norms = None
        if hasattr(attention, "q_norm"):
            rows = [attention.q_norm.weight[order]] * self.queries + [attention.k_norm.weight[order]] * self.heads
            norms = torch.stack(rows)
        return _Layer(
            norm=layer.input_layernorm.weight,
            qkv=_product(weight, bias),
            head_norms=norms,
            out=_product(o.weight, o.bias),
            mlp_norm=layer.post_attention_layernorm.weight,
            gate_up=_gate_up(mlp),
            down=_product(down.weight, down.bias),
        )

    def _neighbours(self, device: torch.device) -> Tensor:
        """(d,) channels in the order 0, d/2, 1, d/2 + 1, ...: what rotary positions turn together stands together."""
        return torch.arange(self.width, device=device).view(2, -1).T.reshape(-1)

    def _reordered(self, rows: Tensor, order: Tensor) -> Tensor:
        return rows.view(-1, self.width, *rows.shape[1:])[:, order].reshape(rows.shape)

    # -- one token for every running row

    def step(self, tokens: Tensor, positions: Tensor, panels: Sequence[KeyPanel]) -> Tensor:
        """Feed `tokens` (N,) at `positions` (N,), and write their keys and values; returns the last states (N, H)."""
        turns = self.turns[positions][:, None]  # (N, 1, d/2)
        places = [_Written(panel) for panel in panels]

        def attend(number: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            parts, first = [], 0
            for place in places:
                rows = slice(first, first + place.rows)
                first += place.rows
                all_keys, all_values = place.written(number, keys[rows], values[rows])
                parts.append(
                    scaled_dot_product_attention(
                        queries[rows].view(place.rows, self.heads, -1, self.width),
                        all_keys,
                        all_values,
                        attn_mask=place.mask,
                        scale=self.scale,
                    )
                )
            return parts[0] if len(parts) == 1 else torch.cat(parts)

        return self._run(tokens, turns, attend)

    def _run(self, tokens: Tensor, turns: Tensor, attend: Callable[[int, Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        """The layers over tokens (N,), whatever they attend to; (N, H)."""
        states = self.embedding[tokens]
        split = self.queries + self.heads
        for number, layer in enumerate(self.layers):
            mixed = layer.qkv(_norm(states, layer.norm, self.eps)).view(len(tokens), -1, self.width)
            turned = mixed[:, :split]
            if layer.head_norms is not None:
                turned = rms_norm(turned, (self.width,), None, self.eps).mul_(layer.head_norms)
            turned = _turned(turned, turns)
            seen = attend(number, turned[:, : self.queries], turned[:, self.queries :], mixed[:, split:])
            states = layer.out(seen.reshape(len(tokens), -1)).add_(states)
            both = layer.gate_up(_norm(states, layer.mlp_norm, self.eps))
            half = both.shape[1] // 2
            states = layer.down(silu(both[:, :half]).mul_(both[:, half:])).add_(states)
        return _norm(states, self.norm, self.eps)

    # -- prompts

    def prefill(self, prompts: dict[int, tuple[int, ...]], prefix: Prefilled | None = None) -> Prefilled:
        """Run prompts, the shortest first, without padding.

        `prefix` holds what they all begin with (its one prompt, of fewer tokens than any of these).
        """
        shared = 0 if prefix is None else prefix.tensors[0].shape[1]
        order = sorted(prompts, key=lambda prompt: (len(prompts[prompt]), prompt))
        lengths = [len(prompts[prompt]) - shared for prompt in order]
        device = self.embedding.device
        tokens = torch.from_numpy(np.concatenate([np.array(prompts[prompt][shared:]) for prompt in order])).to(device)
        positions = torch.from_numpy(np.concatenate([np.arange(length) + shared for length in lengths])).to(device)
        runs = _runs(lengths)
        tensors: list[Tensor] = []

        def attend(number: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            before = None if prefix is None else prefix.tensors[number]
            both = torch.stack((keys, values))  # (2, tokens, heads, d)
            tensors.append(both if before is None else torch.cat((before, both), dim=1))
            parts, first = [], 0
            for rows, length in runs:
                part = slice(first, first + rows * length)
                first = part.stop
                parts.append(self._causal(queries[part], both[:, part], before, rows))
            return torch.cat(parts)

        states = self._run(tokens, self.turns[positions][:, None], attend)
        ends = np.cumsum(lengths)
        places = {
            prompt: np.concatenate((np.arange(shared), np.arange(shared + end - length, shared + end)))
            for prompt, end, length in zip(order, ends.tolist(), lengths, strict=True)
        }
        last = states[torch.from_numpy(ends - 1).to(device)]
        return Prefilled(tensors, places, dict(zip(order, last.unbind(), strict=True)))

    def _causal(self, queries: Tensor, both: Tensor, before: Tensor | None, rows: int) -> Tensor:
        """Attention of `rows` prompts of one length, (tokens, heads, d), over what is `before` them and themselves."""
        query = queries.reshape(rows, -1, self.queries, self.width).transpose(1, 2)
        keys, values = both.view(2, rows, -1, self.heads, self.width).transpose(2, 3)
        mask = None
        if before is not None:
            first, second = before.transpose(1, 2)[:, None].expand(2, rows, -1, -1, -1)
            keys, values = torch.cat((first, keys), dim=2), torch.cat((second, values), dim=2)
            mask = torch.ones(query.shape[2], keys.shape[2], dtype=torch.bool, device=query.device)
            mask = mask.tril(diagonal=before.shape[1])
        seen = scaled_dot_product_attention(
            query, keys, values, attn_mask=mask, is_causal=mask is None, scale=self.scale, enable_gqa=True
        )
        return seen.transpose(1, 2).reshape(queries.shape)


class _Written:
    """Where a step writes and reads in a panel."""

    __slots__ = ("column", "length", "low", "mask", "rows", "tensors")

    def __init__(self, panel: KeyPanel) -> None:
        self.rows, self.column, self.low = len(panel), panel.end, panel.low
        self.length, self.mask, self.tensors = panel.length + 1, panel.mask(), panel.tensors

    def written(self, number: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write the column of layer `number`; returns all keys and values to be seen, (rows, heads, columns, d)."""
        tensor = self.tensors[number].narrow(1, 0, self.rows)
        column = tensor.select(3, self.column)  # (2, rows, heads, d)
        column[0].copy_(keys)
        column[1].copy_(values)
        seen = tensor.narrow(3, self.low, self.length)
        return seen[0], seen[1]


def _norm(states: Tensor, weight: Tensor, eps: float) -> Tensor:
    return rms_norm(states, (states.shape[-1],), weight, eps)


def _turned(heads: Tensor, turns: Tensor) -> Tensor:
    """Heads (N, A, d) turned by rotary positions, in place where the type allows."""
    pairs = heads.view(*heads.shape[:-1], -1, 2)
    if heads.dtype in (torch.bfloat16, torch.float16):
        return torch.view_as_real(torch.view_as_complex(pairs.float()) * turns).flatten(-2).to(heads.dtype)
    torch.view_as_complex(pairs).mul_(turns)
    return heads


def _turns(decoder: Any, positions: int) -> Tensor:
    """(positions, d/2) complex numbers of rotary positions, from the model's own module."""
    device = decoder.embed_tokens.weight.device
    exact = torch.float64 if decoder.embed_tokens.weight.dtype == torch.float64 else torch.float32
    like = torch.zeros(1, dtype=exact, device=device)
    cosines, sines = decoder.rotary_emb(like, torch.arange(positions, device=device)[None])
    half = cosines.shape[-1] // 2
    return torch.complex(cosines[0, :, :half].contiguous(), sines[0, :, :half].contiguous())


def _runs(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """(how many, length) of neighbours of equal lengths."""
    found: list[tuple[int, int]] = []
    for length in lengths:
        if found and found[-1][1] == length:
            found[-1] = (found[-1][0] + 1, length)
        else:
            found.append((1, length))
    return found


def _gate_up(mlp: Any) -> Product:
    """Gate and up side by side: one product on a CPU; two on a GPU, where a copy of the weights would cost memory."""
    gate, up = _linear(mlp.gate_proj), _linear(mlp.up_proj)
    if gate.weight.device.type != "cpu":
        return lambda states: torch.cat((gate(states), up(states)), dim=-1)
    bias = None if gate.bias is None else torch.cat((gate.bias, up.bias))
    return _product(torch.cat((gate.weight, up.weight)), bias)


def _product(weight: Tensor, bias: Tensor | None) -> Product:
    """x (N, in) -> x W^T + b, (N, out)."""
    if not _is_packable(weight):
        return lambda states: linear(states, weight, bias)
    operations: Any = torch.ops.mkldnn
    packed = operations._reorder_linear_weight(weight, _ROWS_PACKED_FOR)
    return lambda states: operations._linear_pointwise(states, packed, bias, "none", [], "")


_ROWS_PACKED_FOR = 32


def _is_packable(weight: Tensor) -> bool:
    """Whether oneDNN's packed product is there and faster than the plain one."""
    known = hasattr(torch.ops.mkldnn, "_reorder_linear_weight") and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return known and weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.numel() >= _PACKED_FROM
