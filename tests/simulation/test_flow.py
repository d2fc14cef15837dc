"""The simulation against timelines worked out by hand, and against one that goes on token by token."""

from collections import deque
from dataclasses import dataclass

import numpy as np
import pytest

from openklear.simulation.decoding import StepTime
from openklear.simulation.fleet import Placement
from openklear.simulation.flow import simulated
from openklear.simulation.lengths import DrawnRow

SECOND = StepTime(weights=0.0, held=0.0, multiplied=0.0, row=0.0, start=1.0)
"""A step takes a second, whatever it holds."""


@dataclass
class Takes:
    """Training of so many seconds, and weights that are there at once or after `publishing`."""

    training: float
    publishing: float = 0.0

    def seconds(self, rows, ranks):
        return self.training

    def publish_seconds(self, gpus):
        return self.publishing


def iteration(number: int, *groups: list[int]) -> list[DrawnRow]:
    rows = []
    for group, lengths in enumerate(groups):
        rows += [DrawnRow(number, group, 0, length) for length in lengths]
    return rows


def run(iterations, placement, work, slots=8, skipped=0, step=SECOND):
    return simulated(iterations, placement, step, work, slots=slots, cache_tokens=10**9, skipped=skipped)


def test_taking_turns_adds_up():
    """The longest row of 5, then 4 of training: twice. Engines hold rows 5 of 9 seconds."""
    found = run([iteration(0, [3, 5]), iteration(1, [5, 1])], Placement(1, 1), Takes(4.0))
    assert found.seconds == 9.0
    assert found.tokens_per_second == pytest.approx(14 / 18)
    assert found.sampling_idle == pytest.approx(4 / 9)
    assert found.training_idle == pytest.approx(5 / 9)
    assert found.idle == pytest.approx(0.0)
    assert found.staleness == 0.0


def test_apart_and_synchronous_one_waits_for_the_other():
    found = run([iteration(0, [3, 5]), iteration(1, [5, 1])], Placement(2, 1), Takes(4.0))
    assert found.seconds == 9.0
    assert found.idle == pytest.approx(0.5)


def test_new_weights_take_their_time_before_the_next_rows():
    found = run([iteration(0, [5]), iteration(1, [5])], Placement(2, 1), Takes(4.0, publishing=2.0))
    assert found.seconds == (5 + 4 + 2 + 5 + 4) / 2


def test_one_update_behind_the_longer_of_both_counts():
    """Rows of 0 and 1 begin at once and end at 5. Trained: 0 at 9, 1 at 13. Rows of 2 begin at 9 and end at 14,
    trained at 18; rows of 3 begin at 13, end at 18, trained at 22."""
    work = [iteration(number, [5, 5]) for number in range(4)]
    found = run(work, Placement(2, 1, staleness=1), Takes(4.0))
    assert found.seconds == 22 / 4
    assert found.staleness == (0 + 1 + 1 + 1) / 4


def test_a_freed_slot_is_taken_at_once():
    """Two slots, rows of 6, 1, 1, 1: the second slot ends them one after the other while the first goes on."""
    assert run([iteration(0, [6, 1, 1, 1])], Placement(1, 1), Takes(0.0), slots=2).seconds == 6.0


def test_a_long_row_does_not_idle_the_pool():
    """Two engines of one slot: the first has the row of 9, the second all others."""
    assert run([iteration(0, [9, 3, 3, 3])], Placement(3, 1), Takes(0.0), slots=1).seconds == 9.0


def test_a_prompt_is_computed_once_for_its_group_and_again_after_an_update():
    """Two groups with prompts of 10 tokens at 0.1 s: rows begin after 2 s and end after 4 more."""
    step = StepTime(0.0, 0.0, 0.0, 0.0, start=1.0, prefill=0.1)
    rows = [DrawnRow(0, 0, 10, 4), DrawnRow(0, 0, 10, 4), DrawnRow(0, 1, 10, 4)]
    assert run([rows], Placement(1, 1), Takes(0.0), step=step).seconds == pytest.approx(6.0)


def test_a_full_cache_makes_rows_wait():
    rows = iteration(0, [4, 4])
    found = simulated([rows], Placement(1, 1), SECOND, Takes(0.0), slots=8, cache_tokens=7)
    assert found.seconds == 8.0


def token_by_token(iterations, engines: int, slots: int, training: int, staleness: int) -> list[int]:
    """When each iteration is trained, if a second is a token of every row: no events, no closed form."""
    running: list[list[list]] = [[] for _ in range(engines)]
    waiting, left = deque(), [len(rows) for rows in iterations]
    started = version = clock = 0
    ends, trained = None, []
    while len(trained) < len(iterations):
        if ends is not None and clock == ends:
            trained.append(clock)
            version, ends = version + 1, None
        while started < min(version + staleness + 1, len(iterations)):
            waiting.extend(iterations[started])
            started += 1
        while waiting and min(map(len, running)) < slots:
            row = waiting.popleft()
            min(running, key=len).append([row, row.completion])
        if ends is None and version < len(iterations) and left[version] == 0:
            ends = clock + training
        clock += 1
        for rows in running:
            for entry in rows:
                entry[1] -= 1
                left[entry[0].iteration] -= entry[1] == 0
            rows[:] = [entry for entry in rows if entry[1]]
    return trained


@pytest.mark.parametrize("seed", range(30))
def test_events_end_where_single_tokens_end(seed):
    generator = np.random.default_rng(seed)
    engines, slots = int(generator.integers(1, 5)), int(generator.integers(1, 4))
    training, staleness = int(generator.integers(1, 20)), int(generator.integers(0, 3))
    iterations = []
    for number in range(4):
        iterations.append(iteration(number, *generator.integers(1, 25, (3, 4)).tolist()))
    placement = Placement(engines + 1, 1, staleness=staleness)
    found = run(iterations, placement, Takes(float(training)), slots=slots)
    expected = token_by_token(iterations, engines, slots, training, staleness)
    assert found.seconds * 4 == pytest.approx(expected[-1])


def test_what_fills_the_pipeline_is_not_counted():
    work = [iteration(number, [5, 5]) for number in range(8)]
    found = run(work, Placement(2, 1, staleness=1), Takes(5.0), skipped=2)
    assert found.seconds == 5.0
    assert found.training_idle == pytest.approx(0.0)
