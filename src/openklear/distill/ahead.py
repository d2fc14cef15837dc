"""Responses judged while others are sampled, so that little is left to judge at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openklear.types import Attempt, Outcome, Problem, StopReason
from openklear.verifiers.judge import AttemptBatch, Judge

MOST_WAITING = 512
"""Responses that wait for the judge in memory; further ones are judged from the disk at the end."""


def attempt_of(problem: Problem, row: Mapping[str, Any]) -> Attempt:
    """A response, as responses.jsonl holds it, for the judge."""
    cut = row["finish_reason"] == "length"
    return Attempt(problem, row["response"], stop_reason=StopReason.LENGTH if cut else StopReason.STOP)


class Ahead:
    """Starts to judge responses as they come. Their verdicts stand in the judge's journal, where the end finds them."""

    def __init__(self, judge: Judge):
        self._judge = judge
        self._running: list[AttemptBatch] = []
        self.judged = self.correct = 0

    def add(self, attempt: Attempt) -> None:
        """Start to judge a response that has just come. Raises what judging an earlier one raised."""
        self.collect(wait=False)
        if len(self._running) < MOST_WAITING:
            batch = self._judge.begin()
            batch.add(attempt)
            self._running.append(batch)

    def figures(self) -> dict[str, float | str]:
        """For the screen."""
        return {"correct": f"{self.correct / self.judged:.1%}"} if self.judged else {}

    def collect(self, *, wait: bool = True) -> None:
        """Take the verdicts that are there; wait for all that has begun, unless told not to."""
        for batch in tuple(self._running):
            if wait or batch.done:
                (verdict,) = batch.finish()
                self.judged += verdict.outcome is not Outcome.UNSCORABLE
                self.correct += verdict.correct
                self._running.remove(batch)
