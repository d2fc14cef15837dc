"""Shares of a step: every sequence once, none empty, nearly as many tokens on each."""

from itertools import chain, product

from hypothesis import given
from hypothesis import strategies as st

from openklear.training.dealing import dealt


@given(st.integers(1, 8), st.lists(st.integers(1, 10_000), min_size=8, max_size=60))
def test_every_sequence_is_dealt_once_and_no_rank_is_left_without(ranks, lengths):
    shares = dealt(lengths, ranks)
    assert sorted(chain.from_iterable(shares)) == list(range(len(lengths)))
    assert all(shares)
    assert shares == dealt(lengths, ranks)


@given(st.integers(1, 3), st.lists(st.integers(1, 40), min_size=3, max_size=7))
def test_the_fullest_rank_has_at_most_four_thirds_of_the_fairest_division(ranks, lengths):
    """Against trying all divisions. Graham: 4/3 - 1/(3 m)."""
    best = min(
        max(sum(n for n, rank in zip(lengths, chosen, strict=True) if rank == one) for one in range(ranks))
        for chosen in product(range(ranks), repeat=len(lengths))
    )
    fullest = max(sum(lengths[i] for i in share) for share in dealt(lengths, ranks))
    assert fullest <= best * (4 / 3 - 1 / (3 * ranks)) + 1e-9


def test_by_hand():
    assert dealt([5, 9, 1, 4], 2) == [[1, 2], [0, 3]]


def test_fewer_sequences_than_ranks_leave_some_without():
    assert dealt([5], 3) == [[0], [], []]
