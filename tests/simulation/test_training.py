"""How long updates take: the planner's arithmetic on one rank, and what more ranks change."""

from itertools import pairwise

import pytest

from openklear.planner.costs import estimate, forward_load, training_load
from openklear.planner.machines import machine_named
from openklear.planner.published import published_shape
from openklear.simulation.fleet import gather_seconds, link
from openklear.simulation.lengths import DrawnRow
from openklear.simulation.training import GATHERS, OVERHEAD, TrainingWork

H200 = machine_named("h200")


def work(**changes) -> TrainingWork:
    shape = published_shape("Qwen/Qwen3-8B")
    assert shape is not None
    settings = {
        "shape": shape,
        "machine": H200,
        "dtype": "bfloat16",
        "microbatch_tokens": 10**9,
        "problems_per_update": 2,
        "checkpointing": True,
        "filtered": False,
        "old_logprobs": False,
    }
    return TrainingWork(**(settings | changes))


def rows(*groups: list[int], prompt: int = 100) -> list[DrawnRow]:
    found = []
    for number, lengths in enumerate(groups):
        found += [DrawnRow(0, number, prompt, length) for length in lengths]
    return found


def test_one_rank_takes_what_the_planner_says():
    mine = rows([1000, 3000], [2000, 500])
    tokens, losses = 6500 + 400, 6500
    pairs = (1100**2 + 3100**2 + 2100**2 + 600**2) / 2
    one = work()
    load = training_load(
        one.shape, tokens, losses, pairs, microbatches=1, updates=1, width=2, checkpointing=True
    )  # one update: 28 bytes a parameter, once
    again = 28 * one.shape.parameters / (H200.bandwidth * 0.6)
    found = one.seconds(mine, 1)
    without_elements = estimate(load, H200, "bfloat16", 1).expected
    assert found == pytest.approx(without_elements + OVERHEAD, abs=2 * again)


def test_a_mini_batch_has_so_many_problems_and_none_is_lost():
    mine = rows([1], [2], [3], [4], [5])
    found = [[row.group for row in update] for update in work().updates(mine)]
    assert found == [[0, 1], [2, 3], [4]]


def test_groups_without_an_advantage_are_left_out():
    assert [len(update) for update in work(filtered=True).updates(rows([1], [2], [3], [4], [5]))] == [2, 1]


def test_only_later_updates_need_old_logprobs():
    """A forward pass more for the second mini-batch of two alike ones, and none for the first."""
    mine = rows([4000, 4000], [4000, 4000], [4000, 4000], [4000, 4000])
    with_old, without = work(old_logprobs=True), work()
    shape, tokens = without.shape, 4 * 4100
    load = forward_load(shape, tokens, 4 * 4000, 4 * 4100**2 / 2, microbatches=1, width=2)
    more = with_old.seconds(mine, 1) - without.seconds(mine, 1)
    assert more == pytest.approx(estimate(load, H200, "bfloat16", 1).expected, rel=0.1)


def test_ranks_share_the_tokens_until_the_longest_row_is_what_counts():
    mine = rows(*[[2000] * 8] * 2)
    seconds = [work().seconds(mine, ranks) - OVERHEAD for ranks in (1, 2, 4, 8)]
    for fewer, more in pairwise(seconds):
        assert fewer / 2 * 0.99 < more < fewer
    long = rows([30_000] + [10] * 15)
    assert work().seconds(long, 8) == pytest.approx(work().seconds(long, 4), rel=0.05)


def test_what_ranks_send_follows_from_the_links():
    assert gather_seconds(H200, 1, 1e9) == 0.0
    assert gather_seconds(H200, 8, 8e9) == pytest.approx(7e9 / (0.7 * 450e9))
    assert gather_seconds(H200, 16, 16e9) == pytest.approx(15e9 / (0.7 * 50e9))
    assert link(machine_named("4090"), 2) == pytest.approx(0.7 * 25e9)


def test_short_rows_on_many_ranks_wait_for_the_weights():
    few = work()
    sent = gather_seconds(H200, 64, (GATHERS * 2 + 4) * few.shape.parameters)
    assert few.seconds(rows([10]), 64) == pytest.approx(sent + OVERHEAD, rel=0.01)
