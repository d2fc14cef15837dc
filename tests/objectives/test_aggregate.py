"""Five aggregations by hand; the shares of any split add up to four of them, and not to the released one."""

import math
import typing

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from openklear.objectives.aggregate import AGGREGATION_NOTES, AGGREGATIONS, Counts, aggregate, token_weights
from openklear.recipe.schema import Phase

# Three sequences, groups 7, 7, 9; losses 1 2 3 | 4 | 10 20.
LOSSES = torch.tensor([[1.0, 2.0, 3.0], [math.nan, 4.0, 99.0], [10.0, 20.0, math.inf]])
MASK = torch.tensor([[1, 1, 1], [0, 1, 0], [1, 1, 0]], dtype=torch.bool)
LENGTHS, GROUPS = [3, 1, 2], [7, 7, 9]
COUNTS = Counts.of(LENGTHS, GROUPS, constant=10)
LAWFUL = [name for name in AGGREGATIONS if name != "klear_released"]


def share(name, losses, mask, lengths, groups, counts):
    weights = torch.tensor(token_weights(name, lengths, groups, counts), dtype=losses.dtype)
    return aggregate(losses, weights[:, None].expand_as(losses), mask)


def test_every_aggregation_can_be_written_and_is_described():
    written = typing.get_args(Phase.model_fields["aggregation"].annotation)
    assert set(written) == set(AGGREGATIONS) == set(AGGREGATION_NOTES)


def test_counts():
    assert Counts(tokens=6, sequences=3, tokens_of_group={7: 4, 9: 2}, microbatches=1, constant=10) == COUNTS


def test_sequences_without_tokens_are_not_counted():
    counted = Counts.of([3, 0, 2, 0], [0, 0, 1, 2], microbatches=2)
    assert counted == Counts(tokens=5, sequences=2, tokens_of_group={0: 3, 1: 2}, microbatches=2)


def test_counts_need_a_group_for_every_sequence():
    with pytest.raises(ValueError, match="zip"):
        Counts.of([1, 2], [0])


def test_counts_of_ranks_are_the_steps():
    """Also where a group is spread over ranks."""
    parts = [Counts.of([3], [7], constant=10), Counts.of([1, 2], [7, 9], microbatches=2, constant=10)]
    assert Counts.together(parts) == Counts.of(LENGTHS, GROUPS, microbatches=3, constant=10)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("token_mean", 40 / 6),  # (1 + 2 + 3 + 4 + 10 + 20) / 6
        ("group_token_mean", (10 / 4 + 30 / 2) / 2),
        ("sequence_mean", (6 / 3 + 4 / 1 + 30 / 2) / 3),
        ("constant", 40 / 3 / 10),
        ("klear_released", 40 / 6),
    ],
)
def test_by_hand(name, expected):
    assert share(name, LOSSES, MASK, LENGTHS, GROUPS, COUNTS).item() == pytest.approx(expected, rel=1e-6)


def test_the_released_mean_by_hand():
    """Two micro-batches: (1+2+3)/3 and (4+10+20)/3, then their mean."""
    counts = Counts.of(LENGTHS, GROUPS, microbatches=2)
    first = share("klear_released", LOSSES[:1], MASK[:1], [3], [7], counts)
    rest = share("klear_released", LOSSES[1:], MASK[1:], [1, 2], [7, 9], counts)
    assert float(first + rest) == pytest.approx((6 / 3 + 34 / 3) / 2, rel=1e-6)


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_every_token_has_the_weight_the_name_says(name):
    losses = torch.zeros(3, 3, requires_grad=True)
    share(name, losses, MASK, LENGTHS, GROUPS, COUNTS).backward()
    weight = {
        "token_mean": [1 / 6, 1 / 6, 1 / 6],
        "group_token_mean": [1 / 8, 1 / 8, 1 / 4],
        "sequence_mean": [1 / 9, 1 / 3, 1 / 6],
        "constant": [1 / 30, 1 / 30, 1 / 30],
        "klear_released": [1 / 6, 1 / 6, 1 / 6],
    }[name]
    torch.testing.assert_close(losses.grad, torch.where(MASK, torch.tensor(weight)[:, None], 0.0))


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_sequences_without_tokens_weigh_nothing(name):
    weights = token_weights(name, [3, 0, 2], [7, 8, 9], Counts.of([3, 0, 2], [7, 8, 9]))
    assert weights[1] == 0.0
    assert min(weights[0], weights[2]) > 0
    assert token_weights(name, [0], [8], Counts.of([0, 1], [8, 9])) == [0.0]


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_shapes_are_checked(wrong):
    inputs = [LOSSES, torch.ones(3, 3), MASK]
    inputs[wrong] = inputs[wrong][0]
    with pytest.raises(ValueError, match="one shape"):
        aggregate(*inputs)


@pytest.mark.parametrize("which", [0, 1])
def test_what_stands_outside_the_mask_is_not_looked_at(which):
    inputs = [torch.ones(3, 3), torch.ones(3, 3)]
    inputs[which][~MASK] = math.nan
    inputs[0].requires_grad_()
    total = aggregate(*inputs, MASK)
    total.backward()
    assert total.item() == 6.0
    assert torch.equal(inputs[0].grad, MASK.float())


@st.composite
def steps(draw):
    rows = draw(st.integers(1, 6))
    columns = draw(st.integers(1, 5))
    bits = draw(st.lists(st.booleans(), min_size=rows * columns, max_size=rows * columns))
    groups = draw(st.lists(st.integers(0, 2), min_size=rows, max_size=rows))
    order = draw(st.permutations(range(rows)))
    cuts = sorted(draw(st.sets(st.integers(1, max(rows - 1, 1)))))
    seed = draw(st.integers(0, 1000))
    losses = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    parts = [order[a:b] for a, b in zip([0, *cuts], [*cuts, rows], strict=True)]
    return losses, torch.tensor(bits).reshape(rows, columns), groups, [p for p in parts if p]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(steps())
def test_shares_of_any_split_add_up(step):
    losses, mask, groups, parts = step
    lengths = [int(n) for n in mask.sum(dim=1)]
    counts = Counts.of(lengths, groups, microbatches=len(parts), constant=7)
    for name in LAWFUL:
        whole = float(share(name, losses, mask, lengths, groups, counts))
        shares = [
            share(name, losses[p], mask[p], [lengths[i] for i in p], [groups[i] for i in p], counts) for p in parts
        ]
        assert float(sum(shares)) == pytest.approx(whole, rel=1e-12, abs=1e-12), name
        assert whole == pytest.approx(slow(name, losses, mask, groups), rel=1e-12, abs=1e-12), name


def slow(name, losses, mask, groups):
    """With loops and nothing else."""
    rows = [[float(x) for x, m in zip(r, k, strict=True) if m] for r, k in zip(losses, mask, strict=True)]
    if name == "constant":
        sums = [sum(row) / 7 for row in rows if row]
        return sum(sums) / len(sums) if sums else 0.0
    if name == "token_mean":
        units = [[x for row in rows for x in row]]
    elif name == "sequence_mean":
        units = rows
    else:
        units = [[x for row, g in zip(rows, groups, strict=True) if g == group for x in row] for group in set(groups)]
    means = [sum(unit) / len(unit) for unit in units if unit]
    return sum(means) / len(means) if means else 0.0
