"""How old the weights are that an iteration's tokens were drawn from, where rollouts are carried over.

A token's staleness is the number of iterations between the weights that drew it and those that the iteration began
with. Only fresh tokens (staleness 0) say whether sampler and trainer compute the same model; older ones are apart
because the weights are, which is what the correction weighs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from openklear.rollout.records import Key
from openklear.training.metrics import gap_metrics
from openklear.training.updates import Update
from openklear.types import RolloutGroup

Staleness = Mapping[Key, NDArray[np.int32]]
"""(T,) of each rollout's completion tokens."""


def staleness(groups: Sequence[RolloutGroup], version: int) -> Staleness:
    """Of every rollout in an iteration whose weights are `version`."""
    found: dict[Key, NDArray[np.int32]] = {}
    for number, group in enumerate(groups):
        found |= {(number, r.sample_index): version - r.token_versions for r in group.rollouts}
    return found


def fresh(updates: Sequence[Update], stale: Staleness | None) -> Sequence[Update]:
    """The updates with the tokens alone that were drawn from the present weights: for comparing, not for training."""
    return updates if stale is None else _only(updates, stale, lambda ages: ages == 0)


def carried_metrics(updates: Sequence[Update], stale: Staleness) -> dict[str, float]:
    """Share of carried tokens and staleness over all tokens sampled; how far carried ones that are trained are."""
    ages = np.concatenate([*stale.values(), np.zeros(0, np.int32)])
    row = {
        "carried_tokens": float((ages > 0).mean()) if len(ages) else 0.0,
        "staleness_mean": float(ages.mean()) if len(ages) else 0.0,
        "staleness_max": float(ages.max(initial=0)),
    }
    gap = gap_metrics(_only(updates, stale, lambda ages: ages > 0))
    return row | {name.replace("gap", "carried"): gap[name] for name in ("gap_k3", "gap_ess") if name in gap}


def _only(
    updates: Sequence[Update], stale: Staleness, wanted: Callable[[NDArray[np.int32]], NDArray[np.bool_]]
) -> list[Update]:
    found = []
    for sequence in chain.from_iterable(updates):
        mask = sequence.loss_mask.copy()
        mask[mask] = wanted(stale[sequence.group, sequence.sample])
        if mask.any():
            found.append(replace(sequence, loss_mask=mask))
    return [found] if found else []
