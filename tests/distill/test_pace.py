import pytest
from hypothesis import given
from hypothesis import strategies as st

from openklear.distill.pace import Pace, backoff, estimated_tokens

HASH = "0123456789abcdef"


def test_requests_are_spaced():
    pace = Pace(30)  # one every 2 s
    assert [pace.reserve(1, 100.0) for _ in range(4)] == [100.0, 102.0, 104.0, 106.0]
    assert pace.reserve(1, 200.0) == 200.0  # what was not used is not saved up


def test_without_a_rate_nothing_waits():
    pace = Pace(None)
    assert [pace.reserve(1e9, 5.0) for _ in range(3)] == [5.0] * 3


def test_settling_moves_the_next_start():
    pace = Pace(60)
    pace.reserve(10, 0.0)
    pace.settle(-4)  # it took 6
    assert pace.reserve(1, 0.0) == 6.0
    pace.settle(+2)
    assert pace.reserve(1, 0.0) == 9.0


@given(
    st.floats(0.5, 1e5),
    st.lists(st.tuples(st.floats(0.0, 30.0), st.floats(0.1, 100.0)), min_size=1, max_size=25),
)
def test_no_span_of_time_gets_more_than_its_rate(per_minute, arrivals):
    """All spans between two grants, the slow way: their costs but the last fit into the span."""
    pace, now, grants = Pace(per_minute), 0.0, []
    for later, cost in arrivals:
        now += later
        start = pace.reserve(cost, now)
        assert start >= now
        grants.append((start, cost))
    assert grants == sorted(grants, key=lambda one: one[0])
    for i in range(len(grants)):
        for j in range(i, len(grants)):
            used = sum(cost for _, cost in grants[i:j])
            assert used <= per_minute / 60 * (grants[j][0] - grants[i][0]) * (1 + 1e-9) + 1e-6


@given(st.integers(1, 60), st.floats(0.001, 10.0), st.integers(0, 5))
def test_waits_lie_in_their_window(tries, first, sample):
    assert 0.0 <= backoff(first, tries, None, 7, HASH, sample) < min(60.0, first * 2.0 ** (tries - 1))
    assert 5.0 <= backoff(first, tries, 5.0, 7, HASH, sample) <= 5.0 + first


def test_waits_are_seeded_and_differ():
    waits = [backoff(1.0, 5, None, 7, HASH, sample) for sample in range(200)]
    assert waits == [backoff(1.0, 5, None, 7, HASH, sample) for sample in range(200)]
    assert len(set(waits)) == 200
    # Full jitter: the whole window of 16 s is used, with its middle as the mean (sd of the mean: 0.33).
    assert sum(waits) / 200 == pytest.approx(8.0, abs=1.3)
    assert min(waits) < 1.0
    assert max(waits) > 15.0
    assert waits != [backoff(1.0, 5, None, 8, HASH, sample) for sample in range(200)]


def test_tokens_are_estimated_upwards():
    assert [estimated_tokens(n) for n in (0, 1, 4, 5, 400)] == [1, 1, 1, 2, 100]
