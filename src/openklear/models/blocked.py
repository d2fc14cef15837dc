"""Causal attention for short sequences on the CPU, in few large products.

torch's own kernel there goes over queries in small tiles and computes all probabilities once more in the backward pass.
Here they are kept, and a product takes a block of queries of all heads that share a key head: 0.70 to 0.85 of the time
for both passes from 150 to 1,024 tokens, at most 0.95 from 40 (one thread, AMD EPYC, heads of 32).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["LONGEST", "attend_in_blocks", "fits_blocks"]

LONGEST = 1024
"""Tokens of a sequence up to which the probabilities, tokens^2 / 2 for each head, are kept."""
BLOCK = 48
"""Queries that meet the same keys: what they cannot see of these is computed in vain."""


def fits_blocks(query: Tensor, longest: int, dropout: float) -> bool:
    """Whether attention of sequences of at most `longest` tokens is done here.

    Not in float64: torch's kernel gives a sequence the same bits in any batch, and float32 norms inside a float64 model
    would make 1e-8 of the 1e-16 by which this one differs.
    """
    return query.device.type == "cpu" and query.dtype == torch.float32 and not dropout and longest <= LONGEST


def attend_in_blocks(query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
    """Causal attention of sequences of one length: (B, L, heads, D) and (B, L, key heads, D) -> (B, L, heads, D_v)."""
    batch, length, heads, width = query.shape
    shared = heads // key.shape[2]
    apply: Any = _Attention.apply
    found: Tensor = apply(
        query.reshape(batch, length, -1, shared * width).transpose(1, 2).reshape(-1, length * shared, width),
        key.transpose(1, 2).reshape(-1, length, width),
        value.transpose(1, 2).reshape(-1, length, value.shape[3]),
        width**-0.5 if scale is None else scale,
    )
    found = found.view(batch, -1, length, shared * value.shape[3]).transpose(1, 2)
    return found.reshape(batch, length, heads, -1)


class _Attention(torch.autograd.Function):
    """Queries (N, L G, D), where the G heads that share a key head are neighbours, keys (N, L, D), values (N, L, E)."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        query = query * scale
        found, kept = [], []
        for rows, seen, hidden in _blocks(query, key):
            scores = torch.bmm(query[:, rows], key[:, :seen].transpose(1, 2))
            scores[:, :, seen - hidden.shape[1] :] += hidden
            kept.append(torch.softmax(scores, -1))
            found.append(torch.bmm(kept[-1], value[:, :seen]))
        ctx.save_for_backward(query, key, value, *kept)
        ctx.scale = scale
        return torch.cat(found, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *kept = ctx.saved_tensors
        for_query, for_key, for_value = [], torch.zeros_like(key), torch.zeros_like(value)
        for (rows, seen, _), chances in zip(_blocks(query, key), kept, strict=True):
            above = upstream[:, rows]
            for_value[:, :seen] += torch.bmm(chances.transpose(1, 2), above)
            slope = torch.bmm(above, value[:, :seen].transpose(1, 2))
            slope = torch._softmax_backward_data(slope, chances, -1, chances.dtype)
            for_query.append(torch.bmm(slope, key[:, :seen]))
            for_key[:, :seen] += torch.bmm(slope.transpose(1, 2), query[:, rows])
        return torch.cat(for_query, 1).mul_(ctx.scale), for_key, for_value, None


def _blocks(query: Tensor, key: Tensor) -> Iterator[tuple[slice, int, Tensor]]:
    """Of each block of queries its rows, how many keys it meets, and (rows, tokens) -inf where the last are ahead."""
    length, shared = key.shape[1], query.shape[1] // key.shape[1]
    for start in range(0, length, BLOCK):
        end = min(start + BLOCK, length)
        ahead = query.new_full((end - start, end - start), float("-inf")).triu_(1)
        yield slice(start * shared, end * shared), end, ahead.repeat_interleave(shared, 0)
