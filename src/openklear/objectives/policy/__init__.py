"""Policy objectives: per-token losses (B, T), minimised; aggregation is `openklear.objectives.aggregate`.

Notation: r = pi/pi_old of the token, A its advantage, el = clip_low, eh = clip_high, w the weight in
d loss / d logprobs = -A w (closed forms in `openklear.objectives.weights`, formulas in words in
`openklear.objectives.catalog`). Every function takes `logprobs` (with gradient), `old_logprobs` and `advantages`, all
(B, T), and a `loss_mask` (B, T) of bools: outside it the inputs are not looked at (NaN included), the loss is 0 and no
gradient flows. Without a mask every position counts. What is computed is at least fp32, whatever the inputs' type. The
defaults of the numbers are the published ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from openklear.objectives.policy.clip import ce_gppo, gppo, ppo_clip, reinforce, two_sided
from openklear.objectives.policy.gate import entropy_gate, gate_open
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
    "NEEDS",
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

PolicyLoss = Callable[..., Tensor]
"""(logprobs, old_logprobs, advantages, *, loss_mask=None, <the objective's own numbers>) -> loss (B, T)."""

OBJECTIVES: Mapping[str, PolicyLoss] = {
    "gppo": gppo,
    "ce_gppo": ce_gppo,
    "ppo_clip": ppo_clip,
    "two_sided": two_sided,
    "cispo": cispo,
    "cispo_minimax": cispo_minimax,
    "cispo_verl": cispo_verl,
    "cispo_trl": cispo_trl,
    "sapo": sapo,
    "aspo": aspo,
    "dgpo": dgpo,
    "topr": topr,
    "dppo_tv": dppo_tv,
    "gspo": gspo,
    "gmpo": gmpo,
    "reinforce": reinforce,
}
"""The recipe's `type` -> function; its other keys are the function's keyword arguments."""

NEEDS: Mapping[str, str] = {"topr": "correct", "gspo": "segment_ids", "gmpo": "segment_ids"}
"""The one more tensor (B, T) that some objectives read."""
