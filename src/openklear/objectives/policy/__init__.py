"""Policy objectives: per-token losses (B, T), minimised; aggregation is `openklear.objectives.aggregate`.

Notation: r = pi/pi_old of the token, A its advantage, el = clip_low, eh = clip_high, w the weight in
d loss / d logprobs = -A w (closed forms in tests/objectives). Every function takes `logprobs` (with
gradient), `old_logprobs` and `advantages`, all (B, T), and a `loss_mask` (B, T) of bools: outside it the inputs are not
looked at (NaN included), the loss is 0 and no gradient flows. Without a mask every position counts. What is computed is
at least fp32, whatever the inputs' type. The defaults of the numbers are the published ones.
"""

from __future__ import annotations

from collections.abc import Mapping

from openklear.objectives.catalog import ENTRIES, CatalogEntry, PolicyLoss
from openklear.objectives.policy import clip, plain, sequence, weighted
from openklear.objectives.policy.clip import ce_gppo, gppo, ppo_clip, two_sided
from openklear.objectives.policy.gate import entropy_gate, gate_open
from openklear.objectives.policy.plain import reinforce
from openklear.objectives.policy.sequence import gmpo, gspo
from openklear.objectives.policy.weighted import (
    aspo,
    cispo,
    cispo_minimax,
    cispo_trl,
    cispo_verl,
    dgpo,
    dppo_tv,
    sapo,
    topr,
)

__all__ = [
    "CATALOG",
    "OBJECTIVES",
    "PolicyLoss",
    "aspo",
    "ce_gppo",
    "cispo",
    "cispo_minimax",
    "cispo_trl",
    "cispo_verl",
    "dgpo",
    "dppo_tv",
    "entropy_gate",
    "gate_open",
    "gmpo",
    "gppo",
    "gspo",
    "ppo_clip",
    "reinforce",
    "sapo",
    "topr",
    "two_sided",
]

_FAMILIES = [family.__name__ for family in (clip, weighted, sequence, plain)]

CATALOG: Mapping[str, CatalogEntry] = dict(
    sorted(ENTRIES.items(), key=lambda item: _FAMILIES.index(item[1].loss.__module__))
)
"""The recipe's `type` -> what tables say of it, in their order."""

OBJECTIVES: Mapping[str, PolicyLoss] = {name: entry.loss for name, entry in CATALOG.items()}
"""The recipe's `type` -> function; its other keys are the function's keyword arguments."""
