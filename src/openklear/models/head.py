"""Log-probabilities and entropies straight from hidden states and the language-model head, without all the logits.

The logits (N, V) of N tokens under a vocabulary V are the largest tensor of training: 19.9 GB in fp32 for 32,768 tokens
and 151,936 entries, and autograd would keep them more than once. Here they exist for one chunk of tokens at a time, in
two buffers that every chunk uses again. Forward keeps nothing but its inputs; backward computes each chunk's logits
anew (recomputation: Chen et al. 2016, arXiv 1604.06174), turns them into their own gradient in place, and adds the
products up. That is four matrix products where autograd does three.

Neighbours: Liger Kernel's fused linear cross-entropy (arXiv 2410.10989) forms the gradients in the forward pass, which
needs the loss to be a sum; here any function of the log-probabilities may follow. Cut Cross-Entropy (arXiv 2411.09009)
also tiles the vocabulary, in on-chip memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_BYTES = 128 << 20
"""Bytes of the two logits buffers together: on a CPU the products are as fast as with four times as much."""
GPU_CHUNK_BYTES = 512 << 20
"""The same on a GPU, where below it the products at V = 151,936 become slow (few rows at a time)."""


@dataclass(frozen=True, slots=True)
class Finish:
    """What a family does to its logits x after the matrix product: cap * tanh(scale * x / cap), or scale * x."""

    scale: float = 1.0
    cap: float | None = None

    def gains(self, temperature: float) -> tuple[float, float]:
        """(inner, outer): finished logits / temperature = outer * f(inner * x), f = tanh with a cap, else identity."""
        if self.cap is None:
            return self.scale / temperature, 1.0
        return self.scale / self.cap, self.cap / temperature


PLAIN = Finish()


def head_logits(hidden: Tensor, weight: Tensor, *, bias: Tensor | None = None, finish: Finish = PLAIN) -> Tensor:
    """Finished logits (N, V) of states (N, H) in one piece, by the arithmetic of `head_logprobs`; no gradient.

    For comparing few tokens with a model's own logits. fp32, or float64 where an input is.
    """
    with torch.no_grad():
        chunks = _Chunks(hidden, weight, bias, finish, temperature=1.0, chunk_tokens=len(hidden))
        parts = [logits for _, _, logits, _ in chunks]
    return parts[0] if parts else chunks.weight.new_empty(0, len(weight))


def head_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    finish: Finish = PLAIN,
    entropy: bool = True,
    chunk_tokens: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-probability of each target, with gradient, and the entropy of the distribution it came from, without.

        z = finish(hidden @ weight.T + bias) / temperature,  p = softmax(z),
        logprobs[n] = log p[n, targets[n]],  entropies[n] = -sum_v p[n, v] log p[n, v]

    `hidden` (N, H), `weight` (V, H), `bias` (V,) floating, `targets` (N,) int64 in 0..V-1; N may be 0. Returns two (N,)
    tensors in nats; the second is NaN with `entropy=False`, so that it cannot be mistaken for one. The logits must be
    finite. Arithmetic and results are fp32, or float64 where an input is; gradients are accumulated so too and end in
    their input's dtype. With upstream gradient g,

        d/dz[n, v] = g[n] * ([v = targets[n]] - p[n, v]).

    `chunk_tokens` tokens are worked on at a time, by default as many as fit `CHUNK_BYTES`. A half-precision weight is
    copied to fp32 (4 V H bytes) while a pass runs. ValueError for shapes that do not fit, a temperature or a chunk that
    is not positive. The bits do not depend on whether gradients are enabled, nor on `entropy`.
    """
    if hidden.ndim != 2 or weight.ndim != 2 or hidden.shape[1] != weight.shape[1]:
        raise ValueError(f"hidden {tuple(hidden.shape)} and weight {tuple(weight.shape)} must be (N, H) and (V, H)")
    if targets.shape != hidden.shape[:1] or (bias is not None and bias.shape != weight.shape[:1]):
        raise ValueError(
            f"targets {tuple(targets.shape)} must be (N,) and bias {None if bias is None else tuple(bias.shape)} (V,) "
            f"for hidden {tuple(hidden.shape)} and weight {tuple(weight.shape)}"
        )
    if temperature <= 0 or (chunk_tokens is not None and chunk_tokens < 1):
        raise ValueError(f"temperature = {temperature} and chunk_tokens = {chunk_tokens} must be positive")
    apply: Any = _HeadLogprobs.apply
    logprobs, entropies = apply(hidden, weight, bias, targets, finish, temperature, entropy, chunk_tokens)
    return logprobs, entropies


class _HeadLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        finish: Finish,
        temperature: float,
        entropy: bool,
        chunk_tokens: int | None,
    ) -> tuple[Tensor, Tensor]:
        chunks = _Chunks(hidden, weight, bias, finish, temperature, chunk_tokens)
        logprobs = hidden.new_empty(len(hidden), dtype=chunks.dtype)
        entropies = torch.full_like(logprobs, float("nan"))
        for part, _, logits, log_p in chunks:
            torch.log_softmax(logits, -1, out=log_p)
            logprobs[part] = log_p.gather(-1, targets[part, None]).squeeze(-1)
            if entropy:  # the logits are no longer needed: p takes their place; where p is 0, log p is finite
                entropies[part] = -torch.exp(log_p, out=logits).mul_(log_p).sum(-1)
        ctx.save_for_backward(hidden, weight, bias, targets)
        ctx.rest = finish, temperature, chunk_tokens
        ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets = ctx.saved_tensors
        finish, temperature, chunk_tokens = ctx.rest
        chunks = _Chunks(hidden, weight, bias, finish, temperature, chunk_tokens)
        inner, outer = chunks.inner, chunks.outer
        for_hidden, for_weight, for_bias = ctx.needs_input_grad[:3]
        grad_hidden = torch.empty_like(hidden) if for_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=chunks.dtype) if for_weight else None
        grad_bias = torch.zeros_like(bias, dtype=chunks.dtype) if for_bias else None
        for part, states, logits, p in chunks:
            slope = _slope(logits, targets[part], outer if chunks.capped else None, out=p)
            # d/dz = -upstream * slope. The factors of a row go to the narrow side of each product, not to (C, V).
            factor = upstream[part, None] * -outer
            if grad_weight is not None:
                grad_weight.addmm_(slope.T, states.mul_(factor))  # states hold `inner` already
            if grad_bias is not None:
                grad_bias.addmv_(slope.T, factor.squeeze(-1) * inner)
            if grad_hidden is not None:
                grad_hidden[part] = torch.mm(slope, chunks.weight).mul_(factor * inner)
        ends = (
            grad_hidden,
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None if grad_bias is None else grad_bias.to(bias.dtype),
        )
        return *ends, None, None, None, None, None


def _slope(logits: Tensor, targets: Tensor, cap: float | None, *, out: Tensor) -> Tensor:
    """softmax(logits) - onehot(targets), (C, V), in `out`; where logits = cap * tanh(x), times tanh'(x).

    `logits` are spent.
    """
    torch.softmax(logits, -1, out=out)
    out[torch.arange(len(targets), device=targets.device), targets] -= 1
    if cap is not None:
        out.mul_(logits.div_(cap).square_().neg_().add_(1))
    return out


def chunk_rows(
    tokens: int, vocabulary: int, dtype: torch.dtype, chunk_tokens: int | None = None, *, on_gpu: bool = False
) -> int:
    """Tokens in a chunk, of at most `chunk_tokens`, by default of as many as fit `CHUNK_BYTES`, or the GPU's.

    Chunks of equal size: a short last one would run its products at a fraction of the speed.
    """
    largest = chunk_tokens or max(1, (GPU_CHUNK_BYTES if on_gpu else CHUNK_BYTES) // (2 * dtype.itemsize * vocabulary))
    return -(-tokens // max(1, -(-tokens // largest)))


class _Chunks:
    """Iterates over (rows as a slice, their states (C, H) times `inner`, finished logits (C, V), a buffer (C, V)).

    Both passes walk through here, so backward sees forward's bits. Only the states are new for each chunk: a chunk's
    logits and buffer are those of the chunk before, overwritten.
    """

    def __init__(
        self,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        finish: Finish,
        temperature: float,
        chunk_tokens: int | None,
    ) -> None:
        self.dtype = torch.promote_types(torch.promote_types(hidden.dtype, weight.dtype), torch.float32)
        self.hidden, self.weight = hidden, weight.to(self.dtype)
        self.inner, self.outer = finish.gains(temperature)
        self.capped = finish.cap is not None
        self.bias = None if bias is None else bias.to(self.dtype) * self.inner
        self.rows = chunk_rows(len(hidden), len(weight), self.dtype, chunk_tokens, on_gpu=hidden.is_cuda)

    def __iter__(self) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        buffers = self.weight.new_empty(2, self.rows, len(self.weight))
        for start in range(0, len(self.hidden), max(1, self.rows)):
            part = slice(start, min(start + self.rows, len(self.hidden)))
            states = self.hidden[part].to(self.dtype) * self.inner
            logits, spare = buffers[:, : len(states)]
            if self.bias is None:
                torch.mm(states, self.weight.T, out=logits)
            else:
                torch.addmm(self.bias, states, self.weight.T, out=logits)
            if self.capped:
                logits.tanh_().mul_(self.outer)
            yield part, states, logits, spare
