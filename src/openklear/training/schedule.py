"""Which rows come when: pure functions of (seed, epoch), so that a resumed run sees the same order.

A place in it is told in rows seen, not in batches: with batches of another size the rows to come are the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Lengths = Sequence[int] | NDArray[np.int64]
"""Tokens of each row."""


@dataclass(frozen=True, slots=True)
class Place:
    """Whole epochs done, and how many rows of the present one's order were seen."""

    epoch: int = 0
    offset: int = 0

    def after(self, rows: int, size: int) -> Place:
        """The place when that many rows more were seen, of `size` in an epoch."""
        seen = self.offset + rows
        return Place(self.epoch, seen) if seen < size else Place(self.epoch + 1)


_BEGINNING = Place()


def permutation(size: int, seed: int, purpose: str, epoch: int) -> list[int]:
    """A seeded order of `range(size)`, another one for every purpose and epoch."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{epoch}".encode(), digest_size=8).digest()
    order = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big"))).permutation(size)
    return [int(i) for i in order]


def rows_hash(seed: int, rows: Iterable[bytes]) -> str:
    """What an order is over: a place in it means nothing over other rows, or with another seed."""
    digest = hashlib.blake2b(f"{seed}".encode(), digest_size=16)
    for row in rows:
        digest.update(len(row).to_bytes(8, "big") + row)
    return digest.hexdigest()


def token_batches(lengths: Lengths, batch_tokens: int, seed: int, epoch: int, offset: int = 0) -> list[list[int]]:
    """One epoch of SFT: every row once in a seeded order, cut into steps of at most `batch_tokens` tokens.

    A row longer than `batch_tokens` is a step of its own; the last step of an epoch may be smaller. The first `offset`
    rows of the order are left out, as they were seen; if they were whole steps of this size, the others stay the same.
    """
    order = permutation(len(lengths), seed, "sft", epoch)[offset:]
    ends = np.cumsum(np.asarray(lengths, np.int64)[order])  # (rows left,) tokens up to and with each
    batches: list[list[int]] = []
    start = before = 0
    while start < len(order):
        stop = max(start + 1, int(np.searchsorted(ends, before + batch_tokens, side="right")))
        batches.append(order[start:stop])
        start, before = stop, int(ends[stop - 1])
    return batches


def batches_ahead(
    lengths: Lengths, batch_tokens: int, seed: int, epochs: int, place: Place = _BEGINNING
) -> Iterator[list[int]]:
    """The steps from `place` to the end of the last of `epochs`: what was not seen in this epoch, then the others.

    The order of one epoch is in memory at a time.
    """
    for epoch in range(place.epoch, epochs):
        yield from token_batches(lengths, batch_tokens, seed, epoch, place.offset if epoch == place.epoch else 0)


def problem_batch(size: int, batch: int, seed: int, purpose: str, place: Place) -> tuple[list[int], Place]:
    """The problems of the RL iteration at `place`, and the place after it: seeded epochs without replacement.

    An epoch has `size // batch` iterations, so that no iteration holds a problem twice; the few that are left over
    are others in every epoch. `size` must be at least `batch`.
    """
    if place.offset + batch > size:
        place = Place(place.epoch + 1)
    chosen = permutation(size, seed, purpose, place.epoch)[place.offset : place.offset + batch]
    return chosen, place.after(batch, size)


def iteration_batch(
    domains: Sequence[str],
    counts: Mapping[str, int],
    seed: int,
    purpose: str,
    iteration: int,
    places: Mapping[str, Place],
) -> tuple[list[int], dict[str, Place]]:
    """So many problems of each domain, or of all together under "", and the places after them; `domains` are theirs."""
    if "" not in counts:
        return mixed_batch(domains, counts, seed, purpose, iteration, places)
    chosen, place = problem_batch(len(domains), counts[""], seed, purpose, places.get("", Place()))
    return chosen, {"": place}


def mixed_batch(
    domains: Sequence[str],
    counts: Mapping[str, int],
    seed: int,
    purpose: str,
    iteration: int,
    places: Mapping[str, Place],
) -> tuple[list[int], dict[str, Place]]:
    """The same where each domain has a fixed number of problems in every iteration; `domains` are the problems'.

    Each domain has epochs and a place of its own, which depend on no other domain's problems. The order is drawn, so
    that mini-batches, which are cut from it, are mixed too.
    """
    drawn: list[int] = []
    after = dict(places)
    for domain, count in counts.items():
        own = [index for index, one in enumerate(domains) if one == domain]
        key = f"{purpose}/{domain}"
        chosen, after[domain] = problem_batch(len(own), count, seed, key, places.get(domain, Place()))
        drawn += [own[i] for i in chosen]
    return [drawn[i] for i in permutation(len(drawn), seed, f"{purpose}/order", iteration)], after
