import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from openklear.models.batching import pad_right, plan_microbatches, plan_packs


def test_by_hand():
    # Longest first: 9 alone (2 x 9 > 16), then 5 5 5 (15 <= 16), then 2 2.
    assert plan_microbatches([5, 2, 9, 5, 5, 2], 16) == [[2], [0, 3, 4], [1, 5]]
    assert plan_microbatches([], 8) == []
    assert plan_microbatches([100, 1], 8) == [[0], [1]]
    assert plan_microbatches([4, 4], 8) == [[0, 1]]


@given(st.lists(st.integers(1, 40), max_size=40), st.integers(1, 100))
def test_every_row_once_within_the_budget(lengths, budget):
    plan = plan_microbatches(lengths, budget)
    assert sorted(i for part in plan for i in part) == list(range(len(lengths)))
    for part in plan:
        assert len(part) == 1 or len(part) * max(lengths[i] for i in part) <= budget
    flat = [lengths[i] for part in plan for i in part]
    assert flat == sorted(flat, reverse=True)
    # No two neighbours could have shared a micro-batch.
    for part in plan[:-1]:
        assert (len(part) + 1) * lengths[part[0]] > budget


def test_packs_by_hand():
    # 28 tokens in packs of at most 16: two, of about 14 each. 9 5, then 5 5 2 2.
    assert plan_packs([5, 2, 9, 5, 5, 2], 16) == [(2, 0), (3, 4, 1, 5)]
    assert plan_packs([], 8) == []
    assert plan_packs([100, 1], 8) == [(0,), (1,)]
    assert plan_packs([4, 4], 8) == [(0, 1)]


@given(st.lists(st.integers(1, 40), max_size=40), st.integers(1, 100))
def test_every_sequence_is_in_one_pack_within_the_budget(lengths, budget):
    packs = plan_packs(lengths, budget)
    assert [lengths[i] for pack in packs for i in pack] == sorted(lengths, reverse=True)
    assert sorted(i for pack in packs for i in pack) == list(range(len(lengths)))
    sizes = [sum(lengths[i] for i in pack) for pack in packs]
    assert all(len(pack) == 1 or size <= budget for pack, size in zip(packs, sizes, strict=True))
    # No more of them than twice what the tokens ask for, and where sequences are short against the budget, near it.
    assert len(packs) <= 2 * -(-sum(lengths) // budget) + sum(length > budget for length in lengths)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=60), st.integers(16, 100))
def test_packs_of_short_sequences_are_of_equal_size(lengths, budget):
    packs = plan_packs(lengths, budget)
    sizes = [sum(lengths[i] for i in pack) for pack in packs]
    assert max(sizes) - min(sizes) <= 2 * max(lengths)


def test_pad_right():
    ids = pad_right([np.array([1, 2, 3], dtype=np.int32), [4]], 9, torch.int64)
    assert ids.dtype == torch.int64
    assert ids.tolist() == [[1, 2, 3], [4, 9, 9]]
    mask = pad_right([np.array([False, True]), np.array([True])], False, torch.bool)
    assert mask.tolist() == [[False, True], [True, False]]
    assert pad_right([np.array([0.5], dtype=np.float32)], 0.0, torch.float32).dtype == torch.float32
    assert pad_right([], 0, torch.int64).shape == (0, 0)
