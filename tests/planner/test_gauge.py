"""A running phase beside its floor, by hand."""

from __future__ import annotations

import pytest

from openklear.planner.gauge import Gauge
from openklear.planner.machines import Machine
from openklear.planner.shape import ModelShape

# one layer: 2 x 10 x (10 + 10) of attention, 3 x 10 x 20 of the MLP = 1,000; head and embeddings 5 x 10, tied
SHAPE = ModelShape(1050, 5, 1, 10, 1, 1, 10, 20, None, True)
MACHINE = Machine("toy", "cpu", 10**9, 1e6, {"float32": 1e6}, cores=2)
GAUGE = Gauge(SHAPE, MACHINE, "float32", 1, slots=2)


def test_training_by_hand() -> None:
    # 6 x 1000 x 12 tokens, 6 x 50 x 5 with a loss, 12 x 10 x (64 + 16) / 2 pairs
    flops = 72_000 + 1_500 + 12 * 10 * 40
    found = GAUGE.trained([(8, 3), (4, 2)], updates=1, seconds=2.0)
    assert found["training_mfu"] == pytest.approx(flops / 1e6 / 2)
    assert found["training_floor_share"] == pytest.approx(found["training_mfu"])  # compute is the larger
    half = Gauge(SHAPE, MACHINE, "float32", 2, slots=2).trained([(8, 3), (4, 2)], 1, 2.0)
    assert half["training_mfu"] == pytest.approx(found["training_mfu"] / 2)
    # many updates of few tokens: weights thrice and 28 bytes a parameter each time
    read = 10 * 1050 * (3 * 4 + 28)
    assert GAUGE.trained([(8, 3), (4, 2)], 10, 2.0)["training_floor_share"] == pytest.approx(read / 1e6 / 2)


def test_sampling_by_hand() -> None:
    """Two completions of 4 and 6 tokens after one prompt of 3."""
    tokens = 10
    held = 4 * (3 + 2) + 6 * (3 + 3)  # tokens behind each new one, summed
    flops = 2 * 1000 * (tokens + 3) + 2 * 50 * (tokens + 1) + 4 * 10 * (held + 9 / 2)
    read = 6 * 1050 * 4 + held * 2 * 10 * 4  # six steps read the weights; keys and values of what is held
    found = GAUGE.sampled([(3, [4, 6])], seconds=0.5)
    assert found["sampling_mfu"] == pytest.approx(flops / 1e6 / 0.5)
    assert found["sampling_floor_share"] == pytest.approx(max(flops, read) / 1e6 / 0.5)
    assert read > flops
    one = Gauge(SHAPE, MACHINE, "float32", 1, slots=1).sampled([(3, [4, 6])], 0.5)
    assert one["sampling_floor_share"] > found["sampling_floor_share"]  # ten steps in one slot


def test_nothing_done_says_nothing() -> None:
    assert GAUGE.trained([], 0, 1.0) == {}
    assert GAUGE.sampled([], 1.0) == {}
    assert GAUGE.sampled([(3, [4])], 0.0) == {}
