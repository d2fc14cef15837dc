"""The tagged unions around the policy loss: objective, advantage, correction; and the gate that lies on top.

A member holds the numbers of its function and no others, so an option that the chosen type would ignore cannot be
written. The defaults are the published ones, which the functions in `openklear.objectives` have too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, Field

from openklear.recipe.keys import tables, tag
from openklear.recipe.numbers import AboveOne, Band
from openklear.recipe.section import LARGEST, Above, NotNegative, Section, Share

ClipLow = Annotated[Share, Field(description="the band starts at 1 - clip_low")]
ClipHigh = Annotated[Band, Field(description="the band ends at 1 + clip_high")]
DualClip = Annotated[
    AboveOne | None,
    Field(description="no gradient for A < 0 above this ratio; the released code uses 3 or 10"),
]


class Gppo(Section):
    """GPPO (Eq. 11): clipped tokens keep a bounded gradient. Betas other than 1 make it the general form (Eq. 17)."""

    type: Literal["gppo"] = Field("gppo", description="gradient-preserving clipping")
    clip_low: ClipLow = 0.2
    clip_high: ClipHigh = 0.28
    beta_low: NotNegative = Field(1.0, description="scales the gradient kept below the band for A < 0")
    beta_high: NotNegative = Field(1.0, description="scales the gradient kept above the band for A > 0")
    dual_clip: DualClip = None


class CeGppo(Section):
    """CE-GPPO (arXiv 2509.20712): GPPO's general form with that paper's numbers."""

    type: Literal["ce_gppo"] = Field("ce_gppo", description="GPPO with scaled gradients of clipped tokens")
    clip_low: ClipLow = 0.2
    clip_high: ClipHigh = 0.2
    beta_low: NotNegative = Field(0.75, description="scales the gradient kept below the band for A < 0")
    beta_high: NotNegative = Field(1.0, description="scales the gradient kept above the band for A > 0")


class PpoClip(Section):
    """Clip-higher (Eq. 7): clipped tokens lose their gradient."""

    type: Literal["ppo_clip"] = Field("ppo_clip", description="PPO's clip with its own upper bound")
    clip_low: ClipLow = 0.2
    clip_high: ClipHigh = 0.28
    dual_clip: DualClip = None


class TwoSided(Section):
    """Two-sided clipping (arXiv 2505.07291)."""

    type: Literal["two_sided"] = Field("two_sided", description="PPO's clip, bounded for A < 0 too")
    clip_low: ClipLow = 0.2
    clip_high: ClipHigh = 0.2
    delta: AboveOne = Field(4.0, description="no gradient for A < 0 above this ratio")


class Cispo(Section):
    """CISPO (Eq. 15): clipped importance weights, for both signs of the advantage."""

    type: Literal["cispo"] = Field("cispo", description="clipped importance weights on REINFORCE, as in the report")
    clip_low: Annotated[Share, Field(description="weights start at 1 - clip_low")] = 0.2
    clip_high: Annotated[Band, Field(description="weights end at 1 + clip_high")] = 0.28


class CispoMinimax(Section):
    """CISPO as MiniMax-M1 runs it (arXiv 2506.13585)."""

    type: Literal["cispo_minimax"] = Field("cispo_minimax", description="CISPO without a lower bound")
    clip_high: Annotated[Band, Field(description="weights end at 1 + clip_high")] = 0.28


class CispoVerl(Section):
    """CISPO as verl runs it."""

    type: Literal["cispo_verl"] = Field("cispo_verl", description="CISPO with verl's numbers")
    clip_low: Annotated[Share, Field(description="weights start at 1 - clip_low")] = 0.2
    clip_high: Annotated[Band, Field(description="weights end at 1 + clip_high")] = 0.2


class CispoTrl(Section):
    """CISPO as TRL runs it."""

    type: Literal["cispo_trl"] = Field("cispo_trl", description="CISPO with TRL's absolute cap")
    cap: Above = Field(5.0, description="weights end here (TRL's epsilon_high)")


class Sapo(Section):
    """SAPO (arXiv 2511.20347): a soft gate in place of the clip."""

    type: Literal["sapo"] = Field("sapo", description="sigmoid gate on the ratio")
    tau_positive: Above = Field(1.0, description="steepness of the gate for A > 0")
    tau_negative: Above = Field(1.05, description="steepness of the gate for A < 0")


class Aspo(Section):
    """ASPO (arXiv 2510.06062): the ratio is inverted for A > 0."""

    type: Literal["aspo"] = Field("aspo", description="inverted weights for A > 0")
    clip_low: ClipLow = 0.2
    clip_high: ClipHigh = 0.2
    cap: Above = Field(3.0, description="largest weight")


class Dgpo(Section):
    """DGPO (arXiv 2603.14389): gradients decay outside the band."""

    type: Literal["dgpo"] = Field("dgpo", description="weights that decay outside the band")
    clip_low: ClipLow = 0.2
    clip_high: ClipHigh = 0.28
    n: NotNegative = Field(1.0, description="exponent of the decay below the band")
    m: Annotated[float, Field(ge=1.0, le=LARGEST)] = Field(2.0, description="root of the decay above the band")


class Topr(Section):
    """TOPR (arXiv 2503.14286): switches on the verdict."""

    type: Literal["topr"] = Field("topr", description="weight 1 for correct rollouts, min(r, 1) for all others")


class DppoTv(Section):
    """DPPO with binary total variation (arXiv 2602.04879): a band on the probability."""

    type: Literal["dppo_tv"] = Field("dppo_tv", description="a band on the probability, not on the ratio")
    divergence: Share = Field(0.2, description="how far the token's probability may move")
    cap: Above = Field(20.0, description="largest weight")


class Gspo(Section):
    """GSPO (arXiv 2507.18071): one ratio per rollout; only with aggregation = "sequence_mean"."""

    sequence: ClassVar[bool] = True
    type: Literal["gspo"] = Field("gspo", description="PPO's clip on the rollout's mean log-ratio")
    clip_low: ClipLow = 3e-4
    clip_high: ClipHigh = 4e-4


class Gmpo(Section):
    """GMPO (arXiv 2507.20673): geometric mean of clipped ratios; only with aggregation = "sequence_mean"."""

    sequence: ClassVar[bool] = True
    type: Literal["gmpo"] = Field("gmpo", description="geometric mean of clipped ratios")
    clip_low: Annotated[NotNegative, Field(description="for A < 0, log r goes no lower than -clip_low")] = 0.4
    clip_high: Annotated[Band, Field(description="for A > 0, log r goes no higher than clip_high")] = 0.4


class Reinforce(Section):
    """REINFORCE: no ratio, no clip."""

    type: Literal["reinforce"] = Field("reinforce", description="plain policy gradient")


class CustomObjective(Section):
    """A function of the user's own, called as those of `openklear.objectives.policy` are; see docs/objectives.md."""

    type: Literal["custom"] = Field("custom", description="a function of your own")
    function: str = Field(description="module:function of (logprobs, old_logprobs, advantages, *, loss_mask, ...)")
    arguments: dict[str, Annotated[float, Field(ge=-LARGEST, le=LARGEST)]] = Field(
        {}, description="its keyword arguments: { cap = 2.0 }"
    )


Objective = Annotated[
    Gppo
    | CeGppo
    | PpoClip
    | TwoSided
    | Cispo
    | CispoMinimax
    | CispoVerl
    | CispoTrl
    | Sapo
    | Aspo
    | Dgpo
    | Topr
    | DppoTv
    | Gspo
    | Gmpo
    | Reinforce
    | CustomObjective,
    Field(discriminator="type"),
]


MEMBERS: Mapping[str, type[BaseModel]] = {
    tag(member): member for member in tables(Objective) if member is not CustomObjective
}
"""Published objective by its `type`."""


class NoGate(Section):
    """Every token counts."""

    type: Literal["none"] = Field("none", description="no gate")


class EntropyGate(Section):
    """Entropy-ratio clipping (arXiv 2512.05591), on top of the objective."""

    below = ("low", "high")
    type: Literal["ratio"] = Field("ratio", description="a band on entropy / old entropy")
    low: NotNegative = Field(0.95, description="a token counts if entropy / old entropy is above this value")
    high: Above = Field(1.05, description="and below this value")


Gate = Annotated[NoGate | EntropyGate, Field(discriminator="type")]


class Grpo(Section):
    """Group mean and standard deviation (Eq. 4)."""

    type: Literal["grpo"] = Field("grpo", description="(R - mean) / std of the group")
    std_floor: NotNegative = Field(0.0, description="smallest divisor; 0 as published, 0.05 suits soft rewards")


class MeanOnly(Section):
    """Group mean alone (Dr. GRPO)."""

    type: Literal["mean_only"] = Field("mean_only", description="R - mean of the group")


class LeaveOneOut(Section):
    """The mean of the group's other rollouts (RLOO)."""

    type: Literal["leave_one_out"] = Field("leave_one_out", description="R - mean of the others")


class BatchStd(Section):
    """Group mean, standard deviation of the iteration (arXiv 2508.08221)."""

    type: Literal["batch_std"] = Field("batch_std", description="(R - mean of the group) / std of the iteration")
    std_floor: NotNegative = Field(0.0, description="smallest divisor")


class LengthWeighted(Section):
    """A baseline weighted by length (OPO)."""

    type: Literal["length_weighted"] = Field("length_weighted", description="R - mean weighted by tokens")


Advantage = Annotated[Grpo | MeanOnly | LeaveOneOut | BatchStd | LengthWeighted, Field(discriminator="type")]


class NoCorrection(Section):
    """The sampler's and the trainer's log-probabilities are taken to be equal; their distance is shown anyway."""

    type: Literal["none"] = Field("none", description="no importance weights")


class Truncate(Section):
    """Truncated importance weights (TIS)."""

    type: Literal["truncate"] = Field("truncate", description="importance weights with an upper bound")
    level: Literal["token", "sequence"] = Field("token", description="one weight per token, or one per rollout")
    cap: Above = Field(2.0, description="largest weight")


class Mask(Section):
    """Masked importance weights (IcePop)."""

    below = ("low", "high")
    type: Literal["mask"] = Field("mask", description="importance weights, 0 outside a band")
    level: Literal["token", "sequence"] = Field("token", description="one weight per token, or one per rollout")
    low: NotNegative = Field(0.5, description="weights below this become 0")
    high: Above = Field(5.0, description="weights above this become 0")


Correction = Annotated[NoCorrection | Truncate | Mask, Field(discriminator="type")]


def band_of(objective: Objective) -> tuple[float, float] | None:
    """(low, high) such that the clip cells begin outside 1 - low .. 1 + high; None for objectives without a band."""
    if isinstance(objective, Gmpo):  # its bounds are those of log r
        return -math.expm1(-objective.clip_low), math.expm1(objective.clip_high)
    if isinstance(objective, CispoTrl):
        return 1.0, objective.cap - 1.0
    high = getattr(objective, "clip_high", None)
    return None if high is None else (getattr(objective, "clip_low", 1.0), high)
