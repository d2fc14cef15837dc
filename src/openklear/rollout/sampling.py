"""From logits to sampled tokens: pure functions of tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


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


def next_token_logprobs(logits: Tensor, temperature: Tensor, cuts: Cuts = WHOLE) -> Tensor:
    """Log-probabilities (N, V) in fp32 of softmax(logits / temperature), cut and renormalised; -inf for what is cut.

    logits (N, V); temperature (N,) > 0. The row's largest logit is subtracted before the division: a tiny temperature
    then sends the others to -inf and overflows nothing.
    """
    if temperature.shape != logits.shape[:1]:
        raise ValueError(f"there must be one temperature per row: {temperature.shape} for logits {logits.shape}")
    scaled = logits.float()
    scaled = (scaled - scaled.amax(dim=1, keepdim=True)) / temperature[:, None]
    logprobs = torch.log_softmax(scaled, dim=1)
    return logprobs if cuts == WHOLE else _cut(logprobs, cuts)


def likeliest(logits: Tensor) -> Tensor:
    """Token ids (N,) int64 of greedy decoding: the largest logit of each row of (N, V), of equals the smallest id."""
    return logits.argmax(dim=1)  # which is documented to return the first of equals


def _cut(logprobs: Tensor, cuts: Cuts) -> Tensor:
    """Keep the likeliest tokens that the cuts leave, renormalised; rows that are whole are returned as they are.

    Top-p is Holtzman et al., "The curious case of neural text degeneration" (arXiv 1904.09751), eq. 2: the fewest most
    likely tokens whose probabilities reach top_p. Min-p is Nguyen et al. (arXiv 2407.01082). The first token is always
    kept. Of equals the smaller id comes first (stable sort).
    """
    ordered, order = logprobs.sort(dim=1, descending=True, stable=True)
    dropped = torch.zeros_like(ordered, dtype=torch.bool)
    if cuts.min_p is not None:
        dropped |= (ordered - ordered[:, :1]).exp() < cuts.min_p[:, None]
    if cuts.top_k is not None:
        rank = torch.arange(ordered.shape[1], device=ordered.device)
        dropped |= (rank >= cuts.top_k[:, None]) & (cuts.top_k > 0)[:, None]
    if cuts.top_p is not None:
        probabilities = ordered.double().exp().masked_fill_(dropped, 0.0)
        before = probabilities.cumsum(dim=1) - probabilities  # mass of the likelier tokens
        reached = before >= (cuts.top_p.double() * probabilities.sum(dim=1))[:, None]
        dropped |= reached & (cuts.top_p < 1.0)[:, None]
    dropped[:, 0] = False
    cut_rows = dropped.any(dim=1, keepdim=True)
    dropped = torch.zeros_like(dropped).scatter_(1, order, dropped)  # from sorted order back to token ids
    kept = logprobs.masked_fill(dropped, float("-inf"))
    renormalised = kept - kept.logsumexp(dim=1, keepdim=True)
    return torch.where(cut_rows, renormalised, logprobs)


def draw(logprobs: Tensor, uniforms: Tensor) -> Tensor:
    """Token ids (N,) int64 by inversion: the first token whose cumulative probability exceeds u * total.

    logprobs (N, V), uniforms (N,) float64 in [0, 1). The cumulative sum is float64, and tokens of probability zero are
    taken out of it, so that no rounding of a parallel scan can select one. The largest uniform, 1 - 2**-53, times the
    total is still below the total in float64, so some token is always selected.
    """
    probabilities = logprobs.double().exp()
    cumulative = probabilities.cumsum(dim=1).masked_fill_(probabilities == 0.0, 0.0)
    total = cumulative.amax(dim=1)
    return (cumulative > (uniforms * total)[:, None]).to(torch.int8).argmax(dim=1)
