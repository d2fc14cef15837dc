"""Difficulty of problems: how often a reference model solves them.

The report judges difficulty with Qwen3-8B and finds 88 % of its samples hard, but says neither how many responses it
took nor where hard begins. The thresholds here are ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

Label = Literal["easy", "medium", "hard"]

EASY, HARD = 0.75, 0.25
"""A pass rate from EASY on is easy, one below HARD is hard (ours)."""


class Graded(Protocol):
    """What a record must say: `vetting.Response` does."""

    @property
    def key(self) -> str:
        """Which problem: its normalised prompt (`rows.prompt_key`)."""
        ...

    @property
    def correct(self) -> bool | None:
        """What the verifiers say; None where they cannot."""
        ...


@dataclass(frozen=True, slots=True)
class PassRate:
    """So many of so many scorable responses are correct."""

    correct: int
    total: int

    @property
    def rate(self) -> float | None:
        """Their share; None where nothing could be scored."""
        return self.correct / self.total if self.total else None


def pass_rates(records: Iterable[Graded]) -> dict[str, PassRate]:
    """Key -> pass rate. Unscorable responses count neither as right nor as wrong; order does not matter.

    A problem all of whose responses are unscorable has a total of 0.
    """
    counts: dict[str, list[int]] = {}
    for record in records:
        count = counts.setdefault(record.key, [0, 0])
        if record.correct is not None:
            count[0] += record.correct
            count[1] += 1
    return {key: PassRate(correct, total) for key, (correct, total) in counts.items()}


def label(rate: float, easy: float = EASY, hard: float = HARD) -> Label:
    """easy from `easy` on, hard below `hard`, medium between them. ValueError unless 0 <= hard <= easy <= 1."""
    if not 0.0 <= hard <= easy <= 1.0:
        raise ValueError(f"hard ({hard}) must not be above easy ({easy}), and both are shares")
    if rate >= easy:
        return "easy"
    return "hard" if rate < hard else "medium"


def labels(rates: Mapping[str, PassRate], easy: float = EASY, hard: float = HARD) -> dict[str, Label]:
    """Key -> label of every problem with a pass rate; one without it gets no label."""
    return {key: label(one.rate, easy, hard) for key, one in rates.items() if one.rate is not None}
