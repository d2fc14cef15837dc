"""The metrics of an RL iteration and their alarms (docs/metrics.md)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch

from openklear.errors import RunError
from openklear.objectives.diagnostics import sampler_gap
from openklear.training.step import PolicySequence
from openklear.types import Outcome, Rollout, RolloutGroup, StopReason

GAP_K3_WARNING, GAP_K3_LIMIT = 1e-3, 1e-2
"""k3 of the trainer's to the sampler's log-probabilities, nats per token (docs/metrics.md)."""
GAP_MAX_WARNING = 1e-4
"""Largest difference of one token's log-probability where both compute in float32. Measured: at most 1e-6 for a fresh
tiny model, 3e-5 for one of 135 M parameters, 4e-5 for a tiny one after its training; 3e-2 and more for old weights."""
SHARES = {
    "no_eos": (0.05, "rollouts stopped by length"),
    "zero_advantage": (0.60, "groups without advantage"),
    "unscorable": (0.05, "rollouts that could not be graded"),
    "timeouts": (0.05, "programs or answers that ran out of time"),
}
"""A share in the row -> the limit above which there is an alarm, and its text."""


def rollout_metrics(groups: Sequence[RolloutGroup]) -> dict[str, float]:
    """Reward, accuracy, lengths, and shares of an iteration's rollouts, before any group is dropped."""
    rollouts = list(chain.from_iterable(group.rollouts for group in groups))
    scorable = [r for r in rollouts if r.verdict.outcome is not Outcome.UNSCORABLE]
    lengths = np.array([len(r.completion.token_ids) for r in rollouts])
    row = {
        "rollouts": len(rollouts),
        "reward": _mean([r.reward.value for r in scorable]),
        "accuracy": _mean([float(r.verdict.correct) for r in scorable]),
        "well_formed": _mean([float(r.verdict.well_formed) for r in scorable]),
        "unscorable": 1.0 - len(scorable) / len(rollouts),
        "no_eos": _mean([float(r.completion.stop_reason is StopReason.LENGTH) for r in rollouts]),
        "timeouts": _mean([float("timeout" in r.verdict.reason) for r in rollouts]),
        "length_mean": float(lengths.mean()),
        "length_p50": float(np.percentile(lengths, 50)),
        "length_p95": float(np.percentile(lengths, 95)),
        "length_max": float(lengths.max()),
    }
    for name, chosen in (("correct", True), ("wrong", False)):
        some = [len(r.completion.token_ids) for r in scorable if r.verdict.correct is chosen]
        if some:
            row[f"length_{name}"] = _mean(some)
    row.update(group_shares(groups))
    return row


def group_shares(groups: Sequence[RolloutGroup]) -> dict[str, float]:
    """Share of groups whose verdicts are all right, all wrong, and whose rewards are alike for another reason."""
    counts = dict.fromkeys(("all_right", "all_wrong", "all_alike"), 0)
    for group in groups:
        rewards = {r.reward.value for r in scorable_rollouts(group)}
        if len(rewards) > 1:
            continue
        kind = {r.verdict.correct for r in scorable_rollouts(group)}
        counts[
            "all_right" if kind == {True} else "all_wrong" if kind == {False} and rewards <= {0.0} else "all_alike"
        ] += 1
    shares = {f"zero_advantage_{name}": count / len(groups) for name, count in counts.items()}
    shares["zero_advantage"] = sum(counts.values()) / len(groups)
    return shares


def scorable_rollouts(group: RolloutGroup) -> list[Rollout]:
    """The rollouts that have a verdict: unscorable ones leave the group before its mean is taken."""
    return [r for r in group.rollouts if r.verdict.outcome is not Outcome.UNSCORABLE]


def mean_over_updates(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The updates of one iteration as one row: means of numbers, sums of histograms."""
    merged: dict[str, Any] = {}
    for key in rows[0] if rows else ():
        values = [row[key] for row in rows if key in row]
        if isinstance(values[0], list):
            merged[key] = [float(sum(column)) for column in zip(*values, strict=True)]
        else:
            merged[key] = _mean(values)
    return merged


def alarms(row: Mapping[str, Any], history: Sequence[Mapping[str, Any]], *, float32: bool = False) -> list[str]:
    """What is wrong with this iteration, one sentence each; thresholds of docs/metrics.md.

    `float32`: whether sampler and trainer both compute in it.
    """
    raised = [
        f"{row[key]:.0%} {what} (alarm above {limit:.0%})"
        for key, (limit, what) in SHARES.items()
        if row.get(key, 0.0) > limit
    ]
    raised.extend(gap_alarms(row, float32=float32))
    entropy, first = row.get("entropy"), next((h["entropy"] for h in history if "entropy" in h), None)
    if entropy is not None and first and not 0.3 <= entropy / first <= 2.0:
        raised.append(f"entropy is {entropy / first:.2f} of what it was at the start (alarm outside 0.3 to 2)")
    norms = [h["grad_norm"] for h in history[-50:] if "grad_norm" in h]
    if len(norms) >= 5 and row.get("grad_norm", 0.0) > 5 * statistics.median(norms):
        raised.append(f"gradient norm {row['grad_norm']:.3g} is over five times its running median")
    return raised


def gap_metrics(updates: Sequence[Sequence[PolicySequence]]) -> dict[str, float]:
    """Old (trainer's) against the sampler's own log-probabilities, over the tokens that are trained on.

    Of updates that were made, and whose old log-probabilities are the trainer's.
    """
    old, sampled = [], []  # (T,) each
    for s in chain.from_iterable(updates):
        if s.old_logprobs is not None and s.rollout_logprobs is not None:
            old.append(s.old_logprobs[s.loss_mask])
            sampled.append(s.rollout_logprobs[s.loss_mask])
    if not old:
        return {}
    return sampler_gap(torch.from_numpy(np.concatenate(old)), torch.from_numpy(np.concatenate(sampled)))


def gap_alarms(row: Mapping[str, Any], *, float32: bool = False) -> list[str]:
    """How far the sampler's log-probabilities are from the trainer's, where that is too far."""
    raised = []
    if row.get("gap_ratio", 1.0) > 1.02:
        raised.append(f"sampler and trainer differ: mean exp|dlogp| {row['gap_ratio']:.3f} (alarm above 1.02)")
    if row.get("gap_k3", 0.0) > GAP_K3_WARNING:
        raised.append(
            f"sampler and trainer differ: k3 {row['gap_k3']:.2g} nats per token (alarm above {GAP_K3_WARNING:g})"
        )
    if float32 and row.get("gap_max", 0.0) > GAP_MAX_WARNING:
        raised.append(
            f"sampler and trainer differ by up to {row['gap_max']:.2g} nats at a token, both in float32 (alarm above "
            f"{GAP_MAX_WARNING:g}): check that they have the same weights"
        )
    if row.get("gap_ess", 1.0) < 0.3:
        raised.append(f"weights of trainer over sampler are worth {row['gap_ess']:.0%} of the tokens (alarm below 30%)")
    return raised


def refuse_gap(row: Mapping[str, Any]) -> None:
    """RunError where sampler and trainer are so far apart that they do not compute the same model."""
    if row.get("gap_k3", 0.0) > GAP_K3_LIMIT:
        raise RunError(
            f"the sampler's log-probabilities are k3 = {row['gap_k3']:.2g} nats per token from the trainer's (limit "
            f"{GAP_K3_LIMIT:g}): they do not compute the same model, so no correction would help. Check the "
            "sampler's precision, temperature and weights; finished iterations are kept."
        )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0
