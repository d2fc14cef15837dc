"""Steps of decoding in closed form, against adding them up one by one."""

import math

import pytest

from openklear.planner.machines import machine_named
from openklear.planner.published import published_shape
from openklear.simulation.decoding import StepTime, roofline_step

STEPS = {
    "reading counts": StepTime(weights=2.0, held=0.01, multiplied=0.1, row=0.02, start=0.5),
    "arithmetic counts": StepTime(weights=0.5, held=0.0001, multiplied=3.0, row=0.0, start=0.0),
    "first one, then the other": StepTime(weights=1.0, held=0.05, multiplied=1.5, row=0.3, start=0.1),
    "nothing is held": StepTime(weights=1.0, held=0.0, multiplied=0.7, row=0.0, start=0.0),
}


def one_by_one(step: StepTime, rows: int, held: int, steps: int) -> float:
    total = 0.0
    for number in range(steps):
        reading = step.weights + (held + number * rows) * step.held
        total += max(reading, rows * step.multiplied) + rows * step.row + step.start
    return total


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize(("rows", "held", "steps"), [(1, 0, 1), (1, 7, 40), (3, 0, 100), (8, 55, 17), (40, 400, 3)])
def test_many_steps_are_the_sum_of_single_ones(name, rows, held, steps):
    expected = one_by_one(STEPS[name], rows, held, steps)
    assert STEPS[name].seconds(rows, held, steps) == pytest.approx(expected, rel=1e-12)


def test_no_rows_and_no_steps_take_no_time():
    step = STEPS["reading counts"]
    assert step.seconds(0, 0, 9) == 0.0
    assert step.seconds(4, 10, 0) == 0.0


@pytest.mark.parametrize("name", STEPS)
def test_steps_within_a_time_are_those_whose_sum_fits(name):
    step = STEPS[name]
    for seconds in (0.0, 0.3, 4.0, 33.0, 1000.0):
        found = step.steps_within(5, 20, seconds, 60)
        assert one_by_one(step, 5, 20, found) <= seconds + 1e-9
        assert found == 60 or one_by_one(step, 5, 20, found + 1) > seconds


def test_one_row_of_an_8b_model_is_bound_by_reading_the_weights():
    """8.19e9 - 0.62e9 parameters of embeddings at 2 bytes, 60 % of 4.8e12 bytes a second: 5.3 ms; and 36 layers."""
    shape = published_shape("Qwen/Qwen3-8B")
    assert shape is not None
    step = roofline_step(shape, machine_named("h200"), "bfloat16")
    reading = 2 * (8.190e9 - 0.622e9) / (0.6 * 4.8e12)
    assert step.weights == pytest.approx(reading, rel=2e-3)
    assert 1.2 * reading < step.seconds(1, 0, 1) < 1.5 * reading


def test_more_gpus_read_faster_and_wait_for_each_other():
    shape = published_shape("Qwen/Qwen3-8B")
    assert shape is not None
    alone, eight = (roofline_step(shape, machine_named("h200"), "bfloat16", tensor_parallel=n) for n in (1, 8))
    assert eight.weights == pytest.approx(alone.weights / 8)
    assert eight.start > alone.start
    assert math.isclose(eight.held * 8, alone.held)
