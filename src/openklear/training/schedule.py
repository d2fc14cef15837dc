"""Which rows come when: pure functions of (seed, epoch), so that a resumed run sees the same order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np


def permutation(size: int, seed: int, purpose: str, epoch: int) -> list[int]:
    """A seeded order of `range(size)`, another one for every purpose and epoch."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{epoch}".encode(), digest_size=8).digest()
    order = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big"))).permutation(size)
    return [int(i) for i in order]


def token_batches(lengths: Sequence[int], batch_tokens: int, seed: int, epoch: int) -> list[list[int]]:
    """One epoch of SFT: every row once in a seeded order, cut into steps of at most `batch_tokens` tokens.

    A row longer than `batch_tokens` is a step of its own; the last step of an epoch may be smaller.
    """
    batches: list[list[int]] = []
    filled = batch_tokens + 1
    for index in permutation(len(lengths), seed, "sft", epoch):
        if filled + lengths[index] > batch_tokens:
            batches.append([])
            filled = 0
        batches[-1].append(index)
        filled += lengths[index]
    return batches


def problem_batch(size: int, batch: int, seed: int, purpose: str, iteration: int) -> list[int]:
    """The problems of one RL iteration: seeded epochs without replacement.

    An epoch has `size // batch` iterations, so that no iteration holds a problem twice; the few that are left over
    are others in every epoch. `size` must be at least `batch`.
    """
    epoch, position = divmod(iteration, size // batch)
    return permutation(size, seed, purpose, epoch)[position * batch : (position + 1) * batch]


def mixed_batch(
    domains: Sequence[str], counts: Mapping[str, int], seed: int, purpose: str, iteration: int
) -> list[int]:
    """The same where each domain has a fixed number of problems in every iteration; `domains` are the problems'.

    Each domain has epochs of its own, which depend on no other domain's problems. The order is drawn, so that
    mini-batches, which are cut from it, are mixed too.
    """
    drawn: list[int] = []
    for domain, count in counts.items():
        places = [place for place, one in enumerate(domains) if one == domain]
        drawn += [places[i] for i in problem_batch(len(places), count, seed, f"{purpose}/{domain}", iteration)]
    return [drawn[i] for i in permutation(len(drawn), seed, f"{purpose}/order", iteration)]
