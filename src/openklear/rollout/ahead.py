"""How much of a sampling is still ahead, in tokens. Counting finished rollouts misleads: the short ones finish first.

A rollout is taken to end with the same chance at every token, so that the mean length is the tokens drawn so far over
the rollouts that ended by themselves: those under way and those cut by length count as lived through, not as ended.
Where an earlier sampling of the same kind is known, its mean weighs as much as WEIGHT rollouts of now.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from openklear.types import StopReason

WEIGHT = 32
_STEPS = 200
"""Pieces of the integral over lengths."""


@dataclass(slots=True)
class TokensAhead:
    """A sampling of `total` rollouts, at most `width` of them at once and none longer than `limit` tokens."""

    total: int
    width: int
    limit: int
    earlier: float | None = None
    """Tokens drawn per rollout that ended by itself, in an earlier sampling."""
    ended: int = 0
    stopped: int = 0
    """Of those that ended: by themselves."""

    def add(self, reason: StopReason) -> None:
        """One more rollout has ended, for that reason."""
        self.ended += 1
        self.stopped += reason is not StopReason.LENGTH

    def rate(self, tokens: int) -> float:
        """Chance of a rollout to end at its next token, `tokens` having been drawn."""
        known = WEIGHT if self.earlier else 0
        return (self.stopped + known) / (tokens + known * (self.earlier or 0.0)) if tokens or known else 0.0

    def tokens(self, drawn: int) -> float:
        """Tokens' worth of time ahead, `drawn` being behind.

        Once no rollout waits, slots idle until the longest one ends. How much dearer a token is then depends on the
        machine: between not at all, and by as much as slots are idle. It is the mean of the two.
        """
        chance, going = self.rate(drawn), min(self.width, self.total - self.ended)
        each, longest = _mean(chance, self.limit), _longest(chance, self.limit, going)
        waiting = (self.total - self.ended - going) * each
        return waiting + (going * each + longest * self.width) / 2


def _mean(chance: float, limit: int) -> float:
    """Expected tokens of a rollout that is cut at `limit`; also of the rest of one, as its past says nothing."""
    return (1.0 - math.exp(-chance * limit)) / chance if chance > 0.0 else float(limit)


def _longest(chance: float, limit: int, rollouts: int) -> float:
    """Expected tokens of the longest of some: the integral of the chance that one is still going."""
    width = limit / _STEPS
    going = [1.0 - (1.0 - math.exp(-chance * (step + 0.5) * width)) ** rollouts for step in range(_STEPS)]
    return width * math.fsum(going)
