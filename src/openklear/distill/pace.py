"""How fast and how much may be asked: rates and waits. Pure: clocks are given, nothing sleeps here."""

from __future__ import annotations

from openklear.rollout.seeds import rollout_key

LONGEST_WAIT = 60.0
"""Seconds between two tries, at most, unless the server asks for more."""
CHARACTERS_PER_TOKEN = 4
"""What a token is worth before the server has said it."""


class Pace:
    """A token bucket for a rate per minute, in its virtual-scheduling form (GCRA, ITU-T I.371) without bursts.

    In any time span the costs of what was granted are at most rate x span and one cost more.
    """

    def __init__(self, per_minute: float | None):
        """None: no limit."""
        self._seconds = 0.0 if per_minute is None else 60.0 / per_minute
        self._free = float("-inf")

    def reserve(self, cost: float, now: float) -> float:
        """Take `cost` of the rate; the time, `now` or later, at which it may be used."""
        start = max(now, self._free)
        self._free = start + cost * self._seconds
        return start

    def settle(self, difference: float) -> None:
        """The cost of something granted was `difference` more than reserved."""
        self._free += difference * self._seconds


def backoff(first: float, tries: int, asked: float | None, seed: int, content_hash: str, sample: int) -> float:
    """Seconds to wait after the `tries`-th failure of a response.

    Exponential with full jitter: uniform in [0, min(LONGEST_WAIT, first x 2^(tries - 1))), drawn from what names the
    response. Where the server `asked` for a time, that much, and at most `first` seconds of jitter on top.
    """
    uniform = rollout_key(seed, "distill wait", tries, content_hash, sample) / 2.0**64
    if asked is not None:
        return asked + uniform * min(first, LONGEST_WAIT)
    return uniform * min(LONGEST_WAIT, first * 2.0 ** min(tries - 1, 32))


def estimated_tokens(characters: int) -> int:
    """Tokens of so many characters, roughly and at least 1."""
    return max(1, -(-characters // CHARACTERS_PER_TOKEN))
