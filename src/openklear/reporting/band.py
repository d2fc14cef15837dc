"""The band that a clip leaves alone, and where it acts on a token."""

from __future__ import annotations

from openklear.recipe.objectives import band_of
from openklear.recipe.schema import Phase


def kind_of(ratio: float, advantage: float, low: float, high: float) -> str:
    """Where the clip acts (Eq. 7) `high` (A > 0, above the band) or `low` (A < 0, below it); else `near`; inside ``."""
    if ratio > high:
        return "high" if advantage > 0 else "near"
    if ratio < low:
        return "low" if advantage < 0 else "near"
    return ""


def band_at(phase: Phase) -> tuple[float, float] | None:
    """Edges of the band on a token's ratio; None without a band, or where it bounds a whole rollout's (GSPO)."""
    band = None if phase.objective.type == "gspo" else band_of(phase.objective)
    return None if band is None else (1.0 - band[0], 1.0 + band[1])
