from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openklear.curation.selection import kcenter
from openklear.curation.selection.kcenter import coverage, k_center_greedy
from openklear.errors import DataError


def unit(array):
    return (array / np.linalg.norm(array, axis=1, keepdims=True)).astype(np.float32)


def spread(n, d=16, seed=0, clusters=7):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((clusters, d))
    return unit(centres[rng.integers(0, clusters, n)] + rng.gamma(1.0, 0.4, (n, 1)) * rng.standard_normal((n, d)))


def plain(vectors, count):
    """Farthest-first by the book, one centre after the other, in float64 whole numbers of grid steps."""
    points = np.rint(vectors.astype(np.float64) * 2048)
    n = len(points)
    # n^2 times the squared distance to the mean: whole numbers too
    order = [int((((n * points - points.sum(axis=0)) ** 2).sum(axis=1)).argmin())]
    nearest, free = np.full(n, np.inf), np.ones(n, np.bool_)
    while True:
        nearest = np.minimum(nearest, ((points - points[order[-1]]) ** 2).sum(axis=1))
        if len(order) == min(count, n):
            return order
        free[order[-1]] = False
        order.append(int(np.where(free, nearest, -1.0).argmax()))


def check(vectors, count):
    assert k_center_greedy(vectors, count).tolist() == plain(vectors, count)


def radii(vectors, order):
    """After so many centres, the largest distance of a point to its nearest centre."""
    return np.array([coverage(vectors, order[: count + 1]).radius for count in range(len(order))])


@pytest.fixture
def small_rounds(monkeypatch):
    """So few points a round that every branch of a round is taken with few points in all."""
    monkeypatch.setattr(kcenter, "WIDTH", 24)
    monkeypatch.setattr(kcenter, "CENTRES", 3)


@pytest.mark.parametrize("seed", range(4))
def test_the_order_is_the_plain_ones(small_rounds, seed):
    check(spread(300, seed=seed), 90)


def test_the_order_is_the_plain_ones_at_the_real_sizes_of_a_round():
    check(spread(1500, d=128), 300)
    check(spread(9000, d=8, clusters=50), 60)  # more points than a round looks at


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_equals_are_decided_by_the_smallest_row(data):
    """Few distinct points, so nearly every choice is between equals; and rounds that hold some of them only."""
    corners = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0], [0.5, 0.5, 0.5], [0, 0, 0]], np.float32)
    rows = data.draw(st.lists(st.integers(0, len(corners) - 1), min_size=1, max_size=40))
    count = data.draw(st.integers(1, 45))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kcenter, "WIDTH", data.draw(st.integers(1, 12)))
        check(corners[rows], count)


@pytest.mark.parametrize("block_rows", [1, 7, 64, 100_000])
def test_no_block_size_changes_the_result(small_rounds, monkeypatch, block_rows):
    vectors = spread(400, seed=3)
    reference = k_center_greedy(vectors, 100)
    covered = coverage(vectors, reference)
    monkeypatch.setattr(kcenter, "BLOCK_ROWS", block_rows)
    found = k_center_greedy(vectors, 100)
    assert found.tolist() == reference.tolist()
    other = coverage(vectors, found)
    assert other._replace(mean=0, random_mean=0) == covered._replace(mean=0, random_mean=0)


def test_a_memory_map_gives_what_the_array_gives(tmp_path):
    vectors = spread(500)
    mapped = np.memmap(tmp_path / "vectors", np.float32, "w+", shape=vectors.shape)
    mapped[:] = vectors
    mapped.flush()
    again = np.memmap(tmp_path / "vectors", np.float32, "r", shape=vectors.shape)
    assert k_center_greedy(again, 50).tolist() == k_center_greedy(vectors, 50).tolist()
    assert coverage(again, np.arange(3)) == coverage(vectors, np.arange(3))


def test_the_first_is_nearest_to_the_mean_and_the_next_farthest_from_it():
    angles = np.radians([0, 10, 60, 20, 350])  # the mean points to about 16 degrees
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = k_center_greedy(vectors, 3)
    assert found.tolist() == [3, 2, 4]
    chord = 2 * np.sin(np.radians([40, 30, 10]) / 2)  # 60 from 20, then 350 from 20, then 0 or 10 from its neighbour
    np.testing.assert_allclose(radii(vectors, found), chord, atol=1e-3)


def test_of_points_equally_near_to_the_mean_the_smallest_row_is_first(monkeypatch):
    vectors = np.array([[1, 0], [0, 1], [0.5, 0.5], [0, 1], [0.5, 0.5]], np.float32)
    for block_rows in (1, 2, 5):
        monkeypatch.setattr(kcenter, "BLOCK_ROWS", block_rows)
        assert k_center_greedy(vectors, 1).tolist() == [2]


def test_no_point_is_farther_than_twice_the_best_radius():
    vectors = spread(12, d=3, seed=5).astype(np.float64)
    distances = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    found = radii(vectors.astype(np.float32), k_center_greedy(vectors.astype(np.float32), 5))
    for count in range(1, 6):
        best = min(distances[list(chosen)].min(axis=0).max() for chosen in combinations(range(12), count))
        assert best - 0.01 <= found[count - 1] <= 2 * best + 0.01


def test_a_shorter_selection_is_the_start_of_a_longer_one():
    vectors = spread(700, seed=2)
    longer = k_center_greedy(vectors, 300)
    assert (np.diff(radii(vectors, longer)) <= 0).all()
    shorter = k_center_greedy(vectors, 40)
    assert shorter.tolist() == longer[:40].tolist()


@pytest.mark.parametrize("count", [20, 21, 1000])
def test_all_are_taken_where_there_are_no_more(count):
    vectors = np.repeat(spread(10), 2, axis=0)
    found = k_center_greedy(vectors, count)
    assert sorted(found.tolist()) == list(range(20))
    assert (radii(vectors, found)[9:] == 0).all()  # by then every distinct point is a centre
    assert (radii(vectors, found)[:9] > 0).all()
    assert found[10:].tolist() == sorted(found[10:].tolist())


def test_one_point():
    assert k_center_greedy(np.array([[0.6, 0.8]], np.float32), 1).tolist() == [0]


def test_progress_adds_up(small_rounds):
    told = []
    k_center_greedy(spread(200), 60, progress=told.append)
    assert sum(told) == 60
    assert len(told) > 1
    assert min(told) >= 0


def test_the_radius_of_the_selection_is_its_coverage_and_beats_chance():
    vectors = spread(800, seed=1)
    found = k_center_greedy(vectors, 80)
    seen = coverage(vectors, found, seed=4)
    assert (seen.centres, seen.points) == (80, 800)
    distances = np.linalg.norm(vectors[:, None].astype(np.float64) - vectors[found][None], axis=2).min(axis=1)
    assert seen.mean == pytest.approx(distances.mean(), abs=1e-3)
    assert seen.radius == pytest.approx(distances.max(), abs=1e-3)
    assert seen.radius < seen.random_radius
    assert seen == coverage(vectors, found, seed=4)
    assert seen.random_mean != coverage(vectors, found, seed=5).random_mean


def test_coverage_by_hand():
    vectors = np.array([[1, 0], [0, 1], [-1, 0], [1, 0]], np.float32)
    seen = coverage(vectors, np.array([0]))
    assert seen.radius == 2.0
    assert seen.mean == pytest.approx((0 + 2**0.5 + 2 + 0) / 4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1.5])
def test_vectors_that_are_none_of_length_one_are_refused(monkeypatch, bad):
    monkeypatch.setattr(kcenter, "BLOCK_ROWS", 8)
    vectors = spread(50)
    vectors[17, 3] = bad
    with pytest.raises(DataError, match="rows 16 to 23 hold a vector that is not finite or longer than 1"):
        k_center_greedy(vectors, 5)


def test_nothing_to_choose():
    with pytest.raises(DataError, match="no vectors"):
        k_center_greedy(np.zeros((0, 4), np.float32), 5)
    with pytest.raises(DataError, match="at least 1"):
        k_center_greedy(spread(4), 0)
