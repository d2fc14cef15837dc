import numpy as np
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from openklear.models.batching import by_content, pad_right, plan_microbatches, plan_packs


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


def unlike(lengths):
    """Rows of these lengths, no two of which begin with the same token."""
    return [np.arange(number * 100, number * 100 + length, dtype=np.int32) for number, length in enumerate(lengths)]


def test_packs_by_hand():
    # 28 tokens in packs of at most 16: two, of about 14 each. 9 5, then 5 5 2 2.
    assert plan_packs(unlike([5, 2, 9, 5, 5, 2]), 16) == [(2, 0), (3, 4, 1, 5)]
    assert plan_packs([], 8) == []
    assert plan_packs(unlike([100, 1]), 8) == [(0,), (1,)]
    assert plan_packs(unlike([4, 4]), 8) == [(0, 1)]


@given(st.lists(st.integers(1, 40), max_size=40), st.integers(1, 100))
def test_every_sequence_is_in_one_pack_within_the_budget(lengths, budget):
    packs = plan_packs(unlike(lengths), budget)
    assert [lengths[i] for pack in packs for i in pack] == sorted(lengths, reverse=True)
    assert sorted(i for pack in packs for i in pack) == list(range(len(lengths)))
    sizes = [sum(lengths[i] for i in pack) for pack in packs]
    assert all(len(pack) == 1 or size <= budget for pack, size in zip(packs, sizes, strict=True))
    assert len(packs) <= 2 * -(-sum(lengths) // budget) + sum(length > budget for length in lengths)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=60), st.integers(16, 100))
def test_as_few_packs_as_the_budget_takes_are_of_like_size(lengths, budget):
    """Each pack may pass its share of what is left by one sequence, which the packs after it have less."""
    packs = plan_packs(unlike(lengths), budget)
    sizes = [sum(lengths[i] for i in pack) for pack in packs]
    assume(len(packs) == -(-sum(lengths) // budget))
    passed_on = sum(1 / left for left in range(1, len(packs)))
    assert max(sizes) - min(sizes) <= max(lengths) * (1 + passed_on)


def test_what_begins_alike_comes_together():
    """Two prompts of 10 tokens with completions of 1 to 4: 15 computed tokens each, and 45 in all sequences."""
    prompts = [np.arange(10, dtype=np.int32), np.arange(50, 60, dtype=np.int32)]
    ends = [1, 4, 2, 3, 2, 1]
    rows = [np.r_[prompts[i % 2], np.full(n, 90 + i)].astype(np.int32) for i, n in enumerate(ends)]
    assert plan_packs(rows, 20) == [(2, 4, 0), (1, 3, 5)]
    assert plan_packs(rows, 100) == [(1, 3, 2, 4, 0, 5)]
    assert plan_packs(rows, 40, share=False) == [(1, 3, 2), (4, 0, 5)]


def test_equal_sequences_are_one_pack():
    assert plan_packs([np.arange(5, dtype=np.int32)] * 3, 100) == [(0, 1, 2)]


def test_tokens_that_attention_repeats_are_bounded():
    """A long prompt with 20 short ends: few computed tokens, but attention has the prompt each time."""
    prompt = np.arange(50, dtype=np.int32)
    packs = plan_packs([np.r_[prompt, 100 + i].astype(np.int32) for i in range(20)], 100)
    assert max(map(len, packs)) * 51 <= 200


words = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), max_size=12)


@given(words)
def test_neighbours_by_content_have_most_in_common(rows):
    arrays = [np.array(row, np.int32) for row in rows]
    order, common = by_content(arrays)
    assert sorted(order) == list(range(len(rows)))
    distinct = {tuple(row[:n]) for row in rows for n in range(1, len(row) + 1)}
    assert sum(map(len, rows)) - sum(common) == len(distinct)  # each beginning once: nothing is computed twice
    for place, shared in enumerate(common):
        assert place == 0 or rows[order[place]][:shared] == rows[order[place - 1]][:shared]


def test_a_short_common_beginning_counts_as_none():
    rows = [np.array(row, np.int32) for row in ([7, 1], [7, 2, 3, 4], [7, 2, 3, 5], [7, 2, 3, 5, 6])]
    assert by_content(rows) == ([0, 1, 2, 3], [0, 1, 3, 4])
    assert by_content(rows, 4) == ([0, 1, 2, 3], [0, 0, 0, 4])


def test_pad_right():
    ids = pad_right([np.array([1, 2, 3], dtype=np.int32), [4]], 9, torch.int64)
    assert ids.dtype == torch.int64
    assert ids.tolist() == [[1, 2, 3], [4, 9, 9]]
    mask = pad_right([np.array([False, True]), np.array([True])], False, torch.bool)
    assert mask.tolist() == [[False, True], [True, False]]
    assert pad_right([np.array([0.5], dtype=np.float32)], 0.0, torch.float32).dtype == torch.float32
    assert pad_right([], 0, torch.int64).shape == (0, 0)
