"""Advantages from the rewards of groups (the rollouts of one problem).

Unscorable rollouts leave their group before any mean is taken. A group whose rewards are all equal, such as a group of
one rollout, gets exact zeros from every estimator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

_TINY = 1e-300
"""Stands in for a divisor of 0; the dividend is exactly 0 then, because all rewards are equal."""

Advantages = Callable[..., list[Tensor]]
"""(rewards, lengths in tokens, <the estimator's own numbers>) -> advantages; each a list with (M_i,) per group."""


def grpo(rewards: Sequence[Tensor], lengths: Sequence[Tensor], *, std_floor: float = 0.0) -> list[Tensor]:
    """A_j = (R_j - mean R) / max(std R, std_floor), population std (report, Eq. 4; the floor is ours, 0 as published).

    A floor of 0.05 keeps near-ties of soft rewards from exploding: without one .99 against 1 becomes +-1.
    """
    return [_centred(values) / max(_std(values), std_floor, _TINY) for values in _checked(rewards)]


def mean_only(rewards: Sequence[Tensor], lengths: Sequence[Tensor]) -> list[Tensor]:
    """A_j = R_j - mean R: Dr. GRPO (arXiv 2503.20783), no division, so no weight on nearly solved problems."""
    return [_centred(values) for values in _checked(rewards)]


def leave_one_out(rewards: Sequence[Tensor], lengths: Sequence[Tensor]) -> list[Tensor]:
    """A_j = R_j - mean of the others = M/(M-1) (R_j - mean R): RLOO (arXiv 2402.14740), an unbiased baseline."""
    return [_centred(values) * (len(values) / max(len(values) - 1, 1)) for values in _checked(rewards)]


def batch_std(rewards: Sequence[Tensor], lengths: Sequence[Tensor], *, std_floor: float = 0.0) -> list[Tensor]:
    """A_j = (R_j - mean of its group) / max(std of the batch's rewards, std_floor), population std (arXiv 2508.08221).

    The batch is all groups given.
    """
    checked = _checked(rewards)
    spread = _std(torch.cat(checked)) if checked else 0.0
    return [_centred(values) / max(spread, std_floor, _TINY) for values in checked]


def length_weighted(rewards: Sequence[Tensor], lengths: Sequence[Tensor]) -> list[Tensor]:
    """A_j = R_j - sum(l R) / sum(l), l the tokens of a rollout: OPO's baseline of least variance (arXiv 2505.23585)."""
    advantages = []
    for values, length in zip(_checked(rewards), lengths, strict=True):
        if length.shape != values.shape or bool((length <= 0).any()):
            raise ValueError(f"lengths must be positive, one per reward: {length.tolist()} for {values.tolist()}")
        weight = length.double() / length.double().sum()
        advantages.append(torch.zeros_like(values) if _alike(values) else values - (weight * values).sum())
    return advantages


ADVANTAGES: Mapping[str, Advantages] = {
    f.__name__: f for f in (grpo, mean_only, leave_one_out, batch_std, length_weighted)
}
"""The recipe's `type` -> function; its other keys are the function's keyword arguments."""


def _checked(rewards: Sequence[Tensor]) -> list[Tensor]:
    """In float64. ValueError unless all are finite vectors: unscorable rollouts (NaN) leave their group first."""
    for values in rewards:
        if values.ndim != 1:
            raise ValueError(f"rewards must be (M,), one group each; got {tuple(values.shape)}")
        if not bool(torch.isfinite(values).all()):
            raise ValueError(f"rewards must be finite; unscorable rollouts leave their group first: {values.tolist()}")
    return [values.double() for values in rewards]


def _alike(values: Tensor) -> bool:
    return not len(values) or bool(values.min() == values.max())


def _centred(values: Tensor) -> Tensor:
    """Exact zeros where all rewards are equal: their computed mean may be 1e-17 off."""
    return torch.zeros_like(values) if _alike(values) else values - values.mean()


def _std(values: Tensor) -> float:
    """Of the population (1/M), as in Eq. 4."""
    return float(values.std(correction=0)) if len(values) else 0.0
