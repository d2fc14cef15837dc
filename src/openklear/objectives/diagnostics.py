"""What an optimizer step reports of its tokens: sums that add up over micro-batches and ranks, finished once.

`policy_sums` and `clip_sums` of each micro-batch are merged with `add`, then `finish` divides. Everything is detached
and in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from openklear.objectives.divergence import k1, k2, k3
from openklear.objectives.ratio import LOG_RATIO_BOUND, bounded_log_ratio, require_same_shape

Sums = dict[str, Tensor]

_INNER_EDGES = tuple(2.0 ** ((2 * k + 1) / 8) for k in range(-24, 24))
RATIO_EDGES: tuple[float, ...] = (0.0, *_INNER_EDGES, float("inf"))
"""Edges of the ratio histograms: four bins to an octave from 1/59 to 59, one centred on r = 1, and two open ends.

Count i of a histogram is of RATIO_EDGES[i] <= r < RATIO_EDGES[i + 1].
"""

_SHARES = ("gate_closed", "correction_weight", "correction_dropped")


def policy_sums(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, loss_mask: Tensor, entropies: Tensor
) -> Sums:
    """Sums over the tokens of the mask; all arguments (B, T)."""
    require_same_shape(
        logprobs=logprobs, old_logprobs=old_logprobs, advantages=advantages, loss_mask=loss_mask, entropies=entropies
    )
    current, old = logprobs.detach()[loss_mask].double(), old_logprobs[loss_mask].double()
    log_ratio = bounded_log_ratio(current, old)
    ratio, advantage = log_ratio.exp(), advantages[loss_mask]
    # (N,) of the mask's tokens: index of each ratio's bin.
    bins = torch.bucketize(ratio, torch.tensor(_INNER_EDGES, dtype=ratio.dtype, device=ratio.device), right=True)
    return {
        "tokens": loss_mask.sum().double(),
        "entropy": entropies[loss_mask].double().sum(),
        "ratio": ratio.sum(),
        "ratio_squared": ratio.square().sum(),
        "kl_k1": k1(log_ratio).sum(),
        "kl_k2": k2(log_ratio).sum(),
        "kl_k3": k3(log_ratio).sum(),
        "bounded_tokens": ((current - old).abs() > LOG_RATIO_BOUND).sum().double(),
        "ratio_histogram_positive": _counts(bins[advantage > 0]),
        "ratio_histogram_negative": _counts(bins[advantage < 0]),
    }


def clip_sums(
    log_ratio: Tensor, advantages: Tensor, slopes: Tensor, loss_mask: Tensor, *, clip_low: float, clip_high: float
) -> Sums:
    """Tokens outside the band in four cells, and gradient kept where PPO's clip would act; arguments (B, T).

    `log_ratio` is bounded (of the sequence, for sequence losses), `slopes` is d loss / d logprobs of each token's loss,
    so that its size is |A| w. A token with A = 0 is in no cell.
    """
    require_same_shape(log_ratio=log_ratio, advantages=advantages, slopes=slopes, loss_mask=loss_mask)
    # (N,) of the mask's tokens from here on.
    ratio, advantage, slope = (t[loss_mask].double() for t in (log_ratio.exp(), advantages, slopes))
    positive, negative = advantage > 0, advantage < 0
    above, below = ratio > 1.0 + clip_high, ratio < 1.0 - clip_low
    push = slope.abs()
    acts = (positive & above) | (~positive & below)  # of A = 0 the slope is 0 anyway
    cells = {
        "high_positive": positive & above,
        "low_positive": positive & below,
        "high_negative": negative & above,
        "low_negative": negative & below,
    }
    return {
        **{f"clip_fraction_{name}": cell.sum().double() for name, cell in cells.items()},
        **{f"gradient_share_{name}": push[cell].sum() for name, cell in cells.items()},
        "push": push.sum(),
        "push_clipped": push[acts].sum(),
    }


def slopes_of(losses: Callable[[Tensor], Tensor], logprobs: Tensor) -> Tensor:
    """d loss / d logprobs of each token, by the losses themselves, whatever multiplies them; all (B, T)."""
    leaf = logprobs.detach().requires_grad_()
    with torch.enable_grad():  # evaluation has no graph
        (slopes,) = torch.autograd.grad(losses(leaf).sum(), leaf)
    return slopes


def gate_sums(open_tokens: Tensor, loss_mask: Tensor) -> Sums:
    """Tokens that an entropy gate closes; both (B, T), bool."""
    return {"gate_closed": (loss_mask & ~open_tokens).sum().double()}


def correction_sums(weights: Tensor, loss_mask: Tensor) -> Sums:
    """Importance weights of a correction (B, T), and tokens that it drops."""
    kept = weights[loss_mask].double()
    return {"correction_weight": kept.sum(), "correction_dropped": (kept == 0).sum().double()}


def add(total: Sums | None, more: Sums) -> Sums:
    """Sums of two sets of tokens together."""
    return more if total is None else {name: total[name] + more[name] for name in more}


def finish(sums: Sums) -> dict[str, float | list[float]]:
    """Metrics of one optimizer step.

    tokens; entropy (nats per token); ratio_mean; kl_k1, kl_k2, kl_k3; ess = (sum r)^2 / (n sum r^2), 1 when all r are
    equal; bounded_tokens (a count); ratio_histogram_positive/_negative (counts, see RATIO_EDGES). With the sums of
    `gate_sums` and `correction_sums` also gate_closed, correction_dropped (shares) and correction_weight (a mean).
    With those of `clip_sums` clip_fraction_{high,low}_{positive,negative} (shares of all tokens; the sign is the
    advantage's), gradient_share_{high,low}_{positive,negative} (of those tokens: sum |A| w over sum |A| w of all) and
    preserved_gradient_share, the same for the tokens where PPO's clip acts; 0 without a push.
    """
    values: dict[str, Any] = {name: total.tolist() for name, total in sums.items()}
    n = max(values["tokens"], 1.0)
    metrics: dict[str, float | list[float]] = {
        "tokens": values["tokens"],
        "entropy": values["entropy"] / n,
        "ratio_mean": values["ratio"] / n,
        **{name: values[name] / n for name in ("kl_k1", "kl_k2", "kl_k3")},
        "ess": values["ratio"] ** 2 / (n * values["ratio_squared"]) if values["ratio_squared"] else 1.0,
        "bounded_tokens": values["bounded_tokens"],
        "ratio_histogram_positive": values["ratio_histogram_positive"],
        "ratio_histogram_negative": values["ratio_histogram_negative"],
    }
    metrics |= {name: values[name] / n for name in _SHARES if name in values}
    if "push" in values:
        metrics |= {name: value / n for name, value in values.items() if name.startswith("clip_fraction")}
        shares = {name: value for name, value in values.items() if name.startswith("gradient_share")}
        shares["preserved_gradient_share"] = values["push_clipped"]
        metrics |= {name: value / values["push"] if values["push"] else 0.0 for name, value in shares.items()}
    return metrics


def sampler_gap(old_logprobs: Tensor, rollout_logprobs: Tensor) -> dict[str, float]:
    """How far the trainer's log-probabilities of sampled tokens (N,) are from those the sampler reported (N,).

    gap_ratio = mean exp|dlogp| (1 when equal), gap_k3 = k3 of trainer to sampler, gap_ess = effective sample size
    of the weights trainer / sampler as a share of N, gap_max = max |dlogp| in nats. Differences
    are bounded like log-ratios; {} for no tokens.
    """
    if old_logprobs.shape != rollout_logprobs.shape or old_logprobs.ndim != 1:
        raise ValueError(f"both must be (N,): {tuple(old_logprobs.shape)} and {tuple(rollout_logprobs.shape)}")
    if not old_logprobs.numel():
        return {}
    difference = bounded_log_ratio(old_logprobs.double(), rollout_logprobs.double())
    weights = difference.exp()
    return {
        "gap_ratio": float(difference.abs().exp().mean()),
        "gap_k3": float(k3(difference).mean()),
        "gap_ess": float(weights.sum() ** 2 / (len(weights) * weights.square().sum())),
        "gap_max": float(difference.abs().max()),
    }


def _counts(bins: Tensor) -> Tensor:
    return torch.bincount(bins, minlength=len(RATIO_EDGES) - 1).double()
