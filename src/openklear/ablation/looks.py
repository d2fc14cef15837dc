"""How a page of a study writes numbers and tells arms apart: the same in tables, figures, HTML and Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from openklear.ablation.definition import Study
from openklear.ablation.units import SHARE, UNKNOWN, MeasureUnit
from openklear.evaluation.statistics import Effect
from openklear.reporting.charts import PALETTE

MORE_COLOURS = ["#be185d", "#65a30d", "#92400e", "#475569"]
"""Of the seventh arm and those after it; their lines are dashed."""
SOLID, DASHED, DOTTED = [1, 0], [6, 3], [2, 2]


@dataclass(frozen=True, slots=True)
class Look:
    """How an arm is drawn, in every figure."""

    colour: str
    dash: Sequence[int]

    @property
    def kind(self) -> str:
        """Of its line, in a word."""
        return "solid" if self.dash == SOLID else "dashed" if self.dash == DASHED else "dotted"


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table of texts, unescaped."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: int = 0
    """How many of the columns, from the last backwards, are aligned to the right."""

    def is_number(self, place: int) -> bool:
        """Whether the column of this place is aligned to the right."""
        return bool(self.columns) and place >= len(self.columns) - self.numbers


def looks(study: Study) -> Mapping[str, Look]:
    """Arm -> how it is drawn, by its place in the study: ten colours, then the same ten dotted."""
    first = [Look(colour, SOLID) for colour in PALETTE] + [Look(colour, DASHED) for colour in MORE_COLOURS]
    every = first + [Look(look.colour, DOTTED) for look in first]
    return {arm.name: every[place % len(every)] for place, arm in enumerate(study.arm)}


def levels(low: float, high: float, unit: MeasureUnit = SHARE) -> str:
    """`[66.0, 72.1]`; a dash where it is not known."""
    return UNKNOWN if math.isnan(low) or math.isnan(high) else f"[{unit.level(low)}, {unit.level(high)}]"


def interval(effect: Effect, unit: MeasureUnit = SHARE) -> str:
    """`[-19.1, -0.3]`; a dash where nothing says how the difference varies."""
    return f"[{unit.difference(effect.low)}, {unit.difference(effect.high)}]" if is_known(effect) else UNKNOWN


def is_known(effect: Effect) -> bool:
    """Whether there is an interval: one seed or one problem has none."""
    return math.isfinite(effect.error)


def chance(p: float) -> str:
    """A p-value as `.03`, `.008`, `< .001`; around .05 with the digit that tells on which side it lies."""
    if math.isnan(p):
        return UNKNOWN
    if p < 0.001:
        return "< .001"
    if p >= 0.995:
        return "1"
    return f"{p:.3f}"[1:] if p < 0.01 or 0.045 <= p < 0.055 else f"{p:.2f}"[1:]
