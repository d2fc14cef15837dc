"""From logits to sampled tokens: pure functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor


def next_token_logprobs(logits: Tensor, temperature: Tensor, top_p: Tensor | None = None) -> Tensor:
    """Log-probabilities (N, V) in fp32 of softmax(logits / temperature), cut to the nucleus where top_p < 1.

    logits (N, V); temperature (N,) > 0; top_p (N,) in (0, 1], None where all rows are whole. The row's largest logit
    is subtracted before the division: a tiny temperature then sends the others to -inf and overflows nothing.
    """
    if temperature.shape != logits.shape[:1]:
        raise ValueError(f"there must be one temperature per row: {temperature.shape} for logits {logits.shape}")
    scaled = logits.float()
    scaled = (scaled - scaled.amax(dim=1, keepdim=True)) / temperature[:, None]
    logprobs = torch.log_softmax(scaled, dim=1)
    return logprobs if top_p is None else _nucleus(logprobs, top_p)


def likeliest(logits: Tensor) -> Tensor:
    """Token ids (N,) int64 of greedy decoding: the largest logit of each row of (N, V), of equals the smallest id."""
    return logits.argmax(dim=1)  # which is documented to return the first of equals


def _nucleus(logprobs: Tensor, top_p: Tensor) -> Tensor:
    """Keep the fewest most likely tokens whose probabilities reach top_p, renormalised; -inf for the rest.

    Holtzman et al., "The curious case of neural text degeneration" (arXiv 1904.09751), eq. 2. The first token is
    always kept; rows with top_p >= 1 are returned as they are. Ties go to the smaller id (stable sort).
    """
    ordered, order = logprobs.sort(dim=1, descending=True, stable=True)
    probabilities = ordered.double().exp()
    before = probabilities.cumsum(dim=1) - probabilities  # mass of the likelier tokens
    dropped = before >= top_p.double()[:, None]
    dropped[:, 0] = False
    dropped = torch.zeros_like(dropped).scatter_(1, order, dropped)  # from sorted order back to token ids
    kept = logprobs.masked_fill(dropped, float("-inf"))
    renormalised = kept - kept.logsumexp(dim=1, keepdim=True)
    return torch.where((top_p < 1.0)[:, None], renormalised, logprobs)


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
