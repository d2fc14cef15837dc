"""How long a training stage will still take, from the seconds of what it has done and the work that is ahead."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WORKED = ("seconds", "sampling", "training")
"""The laps of timings.jsonl that are work of a step or an iteration; one that was replayed has no lap "sampling"."""


@dataclass(slots=True)
class Forecast:
    """The work of every step (tokens) or iteration (1 each), and which of them are validated."""

    work: Sequence[float]
    validated: Collection[int]
    """Numbers, from 1, of those that a validation follows."""
    window: int
    """So many of the latest decide: lengths, and with them seconds, change while a policy learns."""

    def left(self, unit: str, at: int, timings: Sequence[Mapping[str, Any]]) -> float | None:
        """Seconds from the end of step or iteration `at`; None before any was timed."""
        timed = [row for row in timings if "seconds" in row or "sampling" in row][-self.window :]
        done = sum(self.work[row[unit] - 1] for row in timed)
        if not done:
            return None
        spent = sum(map(_worked, timed))
        return float(spent / done * sum(self.work[at:]) + self._validations(at, timings))

    def _validations(self, at: int, timings: Sequence[Mapping[str, Any]]) -> float:
        known = [float(row["validation"]) for row in timings if "validation" in row]
        ahead = sum(number > at for number in self.validated)
        return ahead * sum(known) / len(known) if known else 0.0


def _worked(row: Mapping[str, Any]) -> float:
    if "waiting" in row:  # sampling went on beside training
        return float(row.get("preparing", 0.0) + row["training"] + row["waiting"])
    return float(sum(row.get(lap, 0.0) for lap in WORKED))
