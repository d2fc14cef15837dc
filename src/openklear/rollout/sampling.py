"""From logits to sampled tokens: pure functions of tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True, slots=True)
class Cuts:
    """What is left of each row's distribution, N rows; None where no row is cut so.

    min_p and top_k act on the distribution at its temperature, top_p on the renormalised rest of these: vLLM's order.
    """

    top_p: Tensor | None = None
    """(N,) in (0, 1]; 1: whole."""
    top_k: Tensor | None = None
    """(N,) int64; 0: whole."""
    min_p: Tensor | None = None
    """(N,) in [0, 1]; 0: whole."""


WHOLE = Cuts()


def next_token_probabilities(logits: Tensor, temperature: Tensor | None, cuts: Cuts = WHOLE) -> Tensor:
    """Probabilities (N, V) in fp32 of softmax(logits / temperature), cut and renormalised; 0 for what is cut.

    logits (N, V); temperature (N,) > 0, None where all are 1. The row's largest logit is subtracted before the
    division: a tiny temperature then sends the others to -inf and overflows nothing.
    """
    scaled = logits.float()
    if temperature is not None:
        if temperature.shape != logits.shape[:1]:
            raise ValueError(f"there must be one temperature per row: {temperature.shape} for logits {logits.shape}")
        scaled = (scaled - scaled.amax(dim=1, keepdim=True)) / temperature[:, None]
    probabilities = torch.softmax(scaled, dim=1)
    return probabilities if cuts == WHOLE else _cut(probabilities, cuts)


def likeliest(logits: Tensor) -> Tensor:
    """Token ids (N,) int64 of greedy decoding: the largest logit of each row of (N, V), of equals the smallest id."""
    return logits.argmax(dim=1)  # which is documented to return the first of equals


def _cut(probabilities: Tensor, cuts: Cuts) -> Tensor:
    """Keep the likeliest tokens that the cuts leave, renormalised; rows that are whole are returned as they are.

    Top-p is Holtzman et al., "The curious case of neural text degeneration" (arXiv 1904.09751), eq. 2: the fewest most
    likely tokens whose probabilities reach top_p. Min-p is Nguyen et al. (arXiv 2407.01082). The first token is always
    kept. Of equals the smaller id comes first.
    """
    ordered, order = probabilities.sort(dim=1, descending=True, stable=True)
    left = ordered.double()
    if cuts.min_p is not None:
        left = left.masked_fill(ordered < cuts.min_p[:, None] * ordered[:, :1], 0.0)
    if cuts.top_k is not None:
        rank = torch.arange(ordered.shape[1], device=ordered.device)
        left = left.masked_fill((rank >= cuts.top_k[:, None]) & (cuts.top_k > 0)[:, None], 0.0)
    if cuts.top_p is not None:
        before = left.cumsum(dim=1) - left  # mass of the likelier tokens
        reached = before >= (cuts.top_p.double() * left.sum(dim=1))[:, None]
        left = left.masked_fill(reached & (cuts.top_p < 1.0)[:, None], 0.0)
    left[:, 0] = ordered[:, 0]
    is_cut = ((left == 0.0) & (ordered > 0.0)).any(dim=1, keepdim=True)
    kept = torch.zeros_like(probabilities).scatter_(1, order, (left / left.sum(dim=1, keepdim=True)).float())
    return torch.where(is_cut, kept, probabilities)


def draw(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """Token ids (N,) int64 by inversion: the first token whose cumulative probability exceeds u * total.

    probabilities (N, V) fp32, up to a factor for each row; uniforms (N,) float64 in [0, 1). First the block of tokens
    is found, then the token in it, so that cumulative sums, in float64, are over few numbers. Tokens and blocks of
    probability zero are taken out of the sums, so that no rounding can select one. The largest uniform, 1 - 2**-53,
    times the total is still below the total in float64, so some token is always selected.
    """
    rows, size = probabilities.shape
    blocks = -(-size // _BLOCK)
    if blocks * _BLOCK != size:
        probabilities = pad(probabilities, (0, blocks * _BLOCK - size))
    parts = probabilities.view(rows, blocks, _BLOCK)
    block, share = _inverted(parts.sum(dim=2).double(), uniforms)
    chosen = parts[torch.arange(rows, device=parts.device), block]
    token, _ = _inverted(chosen.double(), share)
    return block * _BLOCK + token


def _inverted(weights: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Where (N,) the cumulative weights (N, K) first exceed u * total, and which share of that weight u falls on."""
    cumulative = weights.cumsum(dim=1).masked_fill_(weights == 0.0, 0.0)
    wanted = uniforms * cumulative.amax(dim=1)
    place = (cumulative > wanted[:, None]).to(torch.int8).argmax(dim=1)
    above, weight = (tensor.gather(1, place[:, None])[:, 0] for tensor in (cumulative, weights))
    return place, (1.0 - (above - wanted) / weight).clamp_(0.0, 1.0 - 2.0**-53)


_BLOCK = 256
