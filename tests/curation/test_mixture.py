import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openklear.curation.selection.mixture import draw, mixture

NAMES = st.sampled_from("abcdef")


@pytest.mark.parametrize(
    ("sources", "weights", "total", "taken"),
    [
        ({"a": 100, "b": 100}, {"a": 1, "b": 1}, 10, {"a": 5, "b": 5}),
        ({"a": 100, "b": 100}, {"a": 3, "b": 1}, 10, {"a": 8, "b": 2}),  # 7.5 and 2.5: equal remainders, the first name
        ({"a": 100, "b": 100}, {"b": 1, "a": 3}, 10, {"a": 8, "b": 2}),
        ({"a": 9, "b": 9, "c": 9}, {"a": 1, "b": 1, "c": 1}, 10, {"a": 4, "b": 3, "c": 3}),
        # Quotas 4.7, 1.6, 0.9, 2.8: down 4, 1, 0, 2, and the three left go to c, d and a.
        (dict.fromkeys("abcd", 99), {"a": 47, "b": 16, "c": 9, "d": 28}, 10, {"a": 5, "b": 1, "c": 1, "d": 3}),
        ({"a": 3, "b": 100}, {"a": 1, "b": 1}, 10, {"a": 3, "b": 5}),  # nobody makes up for what a lacks
        ({"a": 30, "b": 70}, {"a": 0.3, "b": 0.7}, 100, {"a": 30, "b": 70}),  # 0.3 is 3/10
        ({"a": 5, "b": 7}, {"a": 0, "b": 2}, 7, {"a": 0, "b": 7}),
        ({"a": 5}, {"a": 1, "gone": 1}, 8, {"a": 4, "gone": 0}),
        ({"a": 5}, {"a": 1}, 0, {"a": 0}),
        ({"a": 10**12}, {"a": 1e-300}, 10**12, {"a": 10**12}),
    ],
)
def test_by_hand(sources, weights, total, taken):
    assert mixture(sources, weights, total) == taken
    assert list(mixture(sources, weights, total)) == list(weights)


@given(
    st.dictionaries(NAMES, st.tuples(st.integers(1, 500), st.integers(1, 50)), min_size=1),
    st.integers(0, 2000),
)
def test_shares_are_right_to_the_row(given_, total):
    sources = {name: count for name, (count, _) in given_.items()}
    weights = {name: weight / 8 for name, (_, weight) in given_.items()}
    taken = mixture(sources, weights, total)
    whole = sum(weight for _, weight in given_.values())
    for name, count in taken.items():
        quota = total * given_[name][1] / whole
        assert count <= sources[name]
        assert abs(count - min(quota, sources[name])) < 1
    if all(total * given_[name][1] / whole <= sources[name] for name in taken):
        assert sum(taken.values()) == total


def numbered(n, seed=0):
    return np.arange(n) * 3, np.random.default_rng(seed).integers(0, 2**64, (n, 2), np.uint64)


def test_the_draw_depends_on_no_order():
    rows, digests = numbered(500)
    kept = draw(rows, digests, 100, seed=7, source="x")
    assert len(kept) == 100
    assert kept.tolist() == sorted(set(kept.tolist()) & set(rows.tolist()))
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(500)
        assert draw(rows[order], digests[order], 100, seed=7, source="x").tolist() == kept.tolist()


def test_it_depends_on_the_contents_and_not_on_the_numbers():
    rows, digests = numbered(500)
    other = np.random.default_rng(1).permutation(10_000)[:500]
    places = np.searchsorted(rows, draw(rows, digests, 100, seed=7, source="x"))
    assert sorted(other[places].tolist()) == draw(other, digests, 100, seed=7, source="x").tolist()


def test_a_larger_draw_keeps_the_smaller_and_a_row_that_goes_changes_one():
    rows, digests = numbered(300)
    some = set(draw(rows, digests, 50, seed=1, source="x").tolist())
    assert some < set(draw(rows, digests, 51, seed=1, source="x").tolist())
    left = set(draw(rows[1:], digests[1:], 50, seed=1, source="x").tolist())
    assert len(some ^ left) in (0, 2)


def test_seeds_and_sources_draw_apart_and_evenly():
    rows, digests = numbered(400)
    draws = [set(draw(rows, digests, 200, seed=s, source=n).tolist()) for s in range(20) for n in ("x", "y")]
    shared = [len(a & b) for i, a in enumerate(draws) for b in draws[:i]]
    assert 95 < np.mean(shared) < 105  # half of 200
    assert max(shared) < 140
    often = np.array([sum(row in draw for draw in draws) for row in rows])
    assert often.min() >= 5  # of 40, half on the average
    assert often.max() <= 35


def test_all_none_and_equal_digests():
    rows, digests = numbered(5)
    assert draw(rows, digests, 9, seed=0, source="x").tolist() == rows.tolist()
    assert draw(rows, digests, 0, seed=0, source="x").tolist() == []
    assert draw(rows[:0], digests[:0], 3, seed=0, source="x").tolist() == []
    assert draw(rows, digests[[0] * 5], 2, seed=0, source="x").tolist() == [0, 3]


def test_the_draw_is_the_same_in_every_version():
    digests = np.arange(40, dtype=np.uint64).reshape(20, 2)
    assert draw(np.arange(20), digests, 5, seed=3, source="math").tolist() == [2, 4, 7, 12, 19]
