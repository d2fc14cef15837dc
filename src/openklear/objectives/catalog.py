"""Every policy objective in words: formulas, sources, dialects. Plain data without torch, for tables and rules.

Notation as in `openklear.objectives.policy`: d loss / d log pi = -A w, r = pi/pi_old, p = pi_old, el, eh the clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One objective as tables show it."""

    title: str
    positive: str
    """w for A > 0."""
    negative: str
    """w for A < 0."""
    source: str
    note: str = ""
    sequence: bool = False
    """The ratio is a sequence's, so that only the aggregation `sequence_mean` gives the published loss."""


_CISPO = "one of four dialects of CISPO"

CATALOG: Mapping[str, Entry] = {
    "gppo": Entry(
        "GPPO",
        "min(r, 1+eh); beta_high (1+eh) above the band",
        "max(r, 1-el); beta_low (1-el) below it; 0 above dual_clip",
        "arXiv 2508.07629, Eq. 11, 12, 17",
        "betas of 1 and no dual clip are the report; its released code leaves a dual clip of 3 or 10 on",
    ),
    "ce_gppo": Entry(
        "CE-GPPO",
        "r; beta_high (1+eh) above the band",
        "r; beta_low (1-el) below it",
        "arXiv 2509.20712",
        "the general form of GPPO with that paper's numbers (beta_low 0.5 to 0.75)",
    ),
    "ppo_clip": Entry(
        "PPO clip, clip-higher",
        "r; 0 above 1+eh",
        "r; 0 below 1-el and above dual_clip",
        "arXiv 1707.06347, 2503.14476; the report's Eq. 7",
        "the value of GPPO, without the gradients of clipped tokens",
    ),
    "two_sided": Entry(
        "two-sided clip",
        "r; 0 above 1+eh",
        "r; 0 below 1-el and above delta",
        "arXiv 2505.07291",
        "PPO's dual clip under another name; TRL's `delta`",
    ),
    "cispo": Entry(
        "CISPO (report)",
        "clip(r, 1-el, 1+eh)",
        "the same",
        "arXiv 2508.07629, Eq. 15, 16",
        f"{_CISPO}: both bounds, the numbers of the report's comparison",
    ),
    "cispo_minimax": Entry(
        "CISPO (MiniMax)",
        "min(r, 1+eh)",
        "the same",
        "arXiv 2506.13585",
        f"{_CISPO}: no lower bound; the paper prints no number, .28 is the report's",
    ),
    "cispo_verl": Entry(
        "CISPO (verl)",
        "clip(r, 1-el, 1+eh)",
        "the same",
        "verl 0.9.1, loss_mode cispo",
        f"{_CISPO}: both bounds, verl's clip_ratio on either side",
    ),
    "cispo_trl": Entry(
        "CISPO (TRL)",
        "min(r, cap)",
        "the same",
        "TRL 1.16, loss_type cispo; arXiv 2510.13786",
        f"{_CISPO}: TRL's epsilon_high is the cap itself, not its distance from 1",
    ),
    "sapo": Entry(
        "SAPO",
        "4 s (1-s) r, s = sigmoid(tau_positive (r-1))",
        "the same with tau_negative",
        "arXiv 2511.20347",
        "a soft gate: never flat, without a corner",
    ),
    "aspo": Entry(
        "ASPO",
        "min(1/r, cap); 0 above 1+eh",
        "min(r, cap); 0 below 1-el",
        "arXiv 2510.06062",
        "the ratio turned over for A > 0",
    ),
    "dgpo": Entry(
        "DGPO",
        "r; r^(1-1/m) (1+eh)^(1/m) above the band",
        "r; r (r/(1-el))^n below it",
        "arXiv 2603.14389",
        "decays beyond the band, continuous at its edges",
    ),
    "topr": Entry(
        "TOPR",
        "1 for correct rollouts",
        "min(r, 1) for the others",
        "arXiv 2503.14286",
        "switches on the verdict, not on the sign of A",
    ),
    "dppo_tv": Entry(
        "DPPO (binary TV)",
        "min(r, cap); 0 where p (r-1) > divergence",
        "min(r, cap); 0 where p (1-r) > divergence",
        "arXiv 2602.04879",
        "a band on the probability; drawn at p = 0.2",
    ),
    "gspo": Entry(
        "GSPO",
        "s = exp(mean log r); 0 above 1+eh",
        "s; 0 below 1-el",
        "arXiv 2507.18071",
        "one ratio a sequence; drawn for sequences of one token",
        sequence=True,
    ),
    "gmpo": Entry(
        "GMPO",
        "rho = exp(mean min(log r, clip_high)); 0 at held tokens",
        "rho = exp(mean max(log r, -clip_low)); 0 at held tokens",
        "arXiv 2507.20673",
        "geometric mean with a bound on each log r; drawn for sequences of one token",
        sequence=True,
    ),
    "reinforce": Entry("REINFORCE", "1", "1", "Williams 1992", "no ratio, no clip"),
}

SEQUENCE_AGGREGATION = "sequence_mean"
"""The only aggregation that objectives with a sequence's ratio go with."""

AGGREGATION_NOTES: Mapping[str, str] = {
    "token_mean": "every token of the step weighs the same (our reading of Eq. 7 and 11)",
    "group_token_mean": "mean over problems of their groups' token means (Eq. 7 and 11 as printed)",
    "sequence_mean": "mean over rollouts of their token means (GRPO)",
    "constant": "mean over rollouts of their token sums over max_completion_tokens (Dr. GRPO)",
    "klear_released": "token mean a micro-batch, then over micro-batches, as released: depends on the split",
}
