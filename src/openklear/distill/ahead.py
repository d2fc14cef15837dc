"""Responses judged while others are sampled, so that little is left to judge at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openklear.types import Attempt, Outcome, Problem, StopReason
from openklear.verifiers.judge import AttemptBatch, Judge

MOST_WAITING = 512
"""Responses that wait for the judge in memory; further ones are judged from the disk at the end."""
_STOPS = {"length": StopReason.LENGTH}


def attempt_of(problem: Problem, row: Mapping[str, Any]) -> Attempt:
    """A response, as responses.jsonl holds it, for the judge."""
    return Attempt(problem, row["response"], stop_reason=_STOPS.get(row["finish_reason"] or "", StopReason.STOP))


class Ahead:
    """Starts to judge responses as they come. Their verdicts stand in the judge's journal, where the end finds them."""

    def __init__(self, judge: Judge):
        self._judge = judge
        self._running: list[AttemptBatch] = []
        self.judged = self.correct = 0

    def add(self, attempt: Attempt) -> None:
        """Start to judge a response that has just come. Raises what judging an earlier one raised."""
        self._collect(wait=False)
        if len(self._running) < MOST_WAITING:
            batch = self._judge.begin()
            batch.add(attempt)
            self._running.append(batch)

    def finish(self) -> None:
        """Wait for all that has begun."""
        self._collect(wait=True)

    def figures(self) -> dict[str, float | str]:
        """For the screen."""
        return {"correct": f"{self.correct / self.judged:.1%}"} if self.judged else {}

    def _collect(self, *, wait: bool) -> None:
        running: list[AttemptBatch] = []
        for batch in self._running:
            if not wait and not batch.done:
                running.append(batch)
                continue
            (verdict,) = batch.finish()
            self.judged += verdict.outcome is not Outcome.UNSCORABLE
            self.correct += verdict.correct
        self._running = running
