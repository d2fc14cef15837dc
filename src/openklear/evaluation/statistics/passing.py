"""What k samples of a problem reach: one that is correct (pass@k), most of them (G-Pass@k), their vote (maj@k).

Each is the share of the k-subsets of the n samples that were taken which reach it, counted exactly: what k draws
without replacement would give on average. So one sampling of n serves every k up to n.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

import numpy as np

from openklear.evaluation.statistics.intervals import Estimate, Table, mean_interval


def pass_at_k(table: Table, k: int) -> Estimate:
    """Mean over problems of 1 - C(n - c, k) / C(n, k): the unbiased estimator of Chen et al. (arXiv 2107.03374, Eq. 1).

    Each problem counts with its own number n of scorable samples; those with fewer than k are left out. Raises
    ValueError when k exceeds the samples taken.
    """
    return _mean_share(table, k, "pass", pass_share)


def g_pass_at_k(table: Table, k: int, tau: float) -> Estimate:
    """Mean over problems of G-Pass@k_tau (Liu et al. 2024, arXiv 2412.13147): at least ceil(tau k) of k are correct.

    tau in (0, 1]: 1 asks all k to be correct, a tau of at most 1/k is pass@k. Problems with fewer than k scorable
    samples are left out. Raises ValueError when k exceeds the samples taken.
    """
    return _mean_share(table, k, f"G-Pass_{tau:g}", lambda n, c, k: g_pass_share(n, c, k, tau))


def mg_pass_at_k(table: Table, k: int) -> Estimate:
    """Mean over problems of mG-Pass@k (Liu et al. 2024, arXiv 2412.13147): G-Pass@k_tau over tau from 1/2 to 1.

    Problems with fewer than k scorable samples are left out. Raises ValueError when k exceeds the samples taken, and
    for k = 1, where its sum is empty.
    """
    return _mean_share(table, k, "mG-Pass", mg_pass_share)


def pass_share(samples: int, correct: int, k: int) -> float:
    """Of one problem with `correct` ones among its `samples`: the share of their k-subsets that hold one of these."""
    if samples - correct < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(samples - correct + 1, samples + 1)))


def g_pass_share(samples: int, correct: int, k: int, tau: float) -> float:
    """Of one problem: the share of the k-subsets of its `samples` with at least ceil(tau k) correct ones.

    The upper tail of a hypergeometric distribution: sum over j >= ceil(tau k) of C(c, j) C(n - c, k - j) / C(n, k).
    """
    if not 0 < tau <= 1:
        raise ValueError(f"G-Pass@k takes a tau above 0 and at most 1, not {tau}")
    return float(_at_least(samples, correct, k, math.ceil(tau * k - 1e-9)))  # 0.56 * 25 is a little above 14


def mg_pass_share(samples: int, correct: int, k: int) -> float:
    """Of one problem: 2/k times the sum over i from ceil(k/2) + 1 to k of G-Pass@k_(i/k).

    As published it reaches 1 for even k alone: for odd k the sum lacks half a term, and its most is 1 - 1/k.
    """
    if k < 2:
        raise ValueError("mG-Pass@k is a sum over more than k/2 correct ones of k; k = 1 has none")
    terms = [_at_least(samples, correct, k, least) for least in range(math.ceil(k / 2) + 1, k + 1)]
    return float(Fraction(2, k) * sum(terms, Fraction(0)))


def majority_share(classes: Sequence[int | None], correct: int, k: int) -> float:
    """maj@k of one problem: how often the vote of k of its n samples is for the correct answer.

    `classes` (n,) holds the class of each sample's answer, equal answers being one class, and `correct` says which of
    them is right; None stands for no answer. Every k-subset of the samples votes, each sample for its class; without
    an answer it takes a place and votes for nothing. The class with most votes wins.

    The tie rule: among classes that tie for most votes the winner is drawn, so a right answer that ties with t others
    counts 1 / (t + 1), whatever the order of samples. Where nobody answered, nothing wins, and that counts 0.

    Exact: subsets are counted in integers. Raises ValueError for a k that is not from 1 to n.
    """
    if not 1 <= k <= len(classes):
        raise ValueError(f"maj@{k} needs at least {k} samples; there are {len(classes)}")
    sizes = Counter(classes)
    silent, right = sizes.pop(None, 0), sizes.pop(correct, 0)
    won = Fraction(0)
    for votes in range(1, min(right, k) + 1):
        ways = _ways(list(sizes.values()), silent, votes, k - votes)
        shared = sum((Fraction(count, tied + 1) for tied, count in ways), Fraction(0))
        won += math.comb(right, votes) * shared
    return float(won / math.comb(len(classes), k))


def _ways(sizes: Sequence[int], silent: int, most: int, places: int) -> Iterator[tuple[int, int]]:
    """(how many classes get exactly `most` votes, in how many ways) `places` samples can be chosen from other classes
    of these sizes and from `silent` ones, no class getting more than `most`."""
    free = silent + sum(size for size in sizes if size < most)  # these can neither win nor tie
    found: dict[tuple[int, int], int] = {(0, 0): 1}  # (places taken, classes tied) -> ways
    for size in (size for size in sizes if size >= most):
        chosen = [math.comb(size, votes) for votes in range(most + 1)]
        longer: dict[tuple[int, int], int] = {}
        for (taken, tied), ways in found.items():
            for votes in range(min(most, places - taken) + 1):
                place = (taken + votes, tied + (votes == most))
                longer[place] = longer.get(place, 0) + ways * chosen[votes]
        found = longer
    for (taken, tied), ways in found.items():
        yield tied, ways * math.comb(free, places - taken)


def _at_least(samples: int, correct: int, k: int, least: int) -> Fraction:
    """The chance that k of the samples hold at least `least` correct ones."""
    ways = sum(math.comb(correct, j) * math.comb(samples - correct, k - j) for j in range(least, k + 1))
    return Fraction(ways, math.comb(samples, k))


def _mean_share(table: Table, k: int, metric: str, share: Callable[[int, int, int], float]) -> Estimate:
    """The mean of `share` (samples, correct, k) over the problems of a table with at least k scorable samples."""
    if not 1 <= k <= table.shape[1]:
        raise ValueError(f"{metric}@{k} needs at least {k} samples per problem; there are {table.shape[1]}")
    scorable = (~np.isnan(table)).sum(axis=1)  # (problems,)
    right = np.nansum(table, axis=1)  # (problems,)
    values = [share(int(n), int(c), k) for n, c in zip(scorable, right, strict=True) if n >= k]
    return mean_interval(np.array(values, dtype=np.float64), table.shape[1])
