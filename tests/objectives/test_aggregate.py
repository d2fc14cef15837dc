"""Three means by hand, and the shares of any split add up to them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from openklear.objectives.aggregate import AGGREGATIONS, Denominators, group_token_mean, sequence_mean, token_mean

# Three sequences, groups 7, 7, 9; losses 1 2 3 | 4 | 10 20.
LOSSES = torch.tensor([[1.0, 2.0, 3.0], [math.nan, 4.0, 99.0], [10.0, 20.0, math.inf]])
MASK = torch.tensor([[1, 1, 1], [0, 1, 0], [1, 1, 0]], dtype=torch.bool)
GROUPS = [7, 7, 9]
COUNTS = Denominators.count([3, 1, 2], GROUPS)


def test_denominators():
    assert Denominators(tokens=6, sequences=3, groups=2, tokens_of_group={7: 4, 9: 2}) == COUNTS


def test_sequences_without_tokens_are_not_counted():
    counted = Denominators.count([3, 0, 2, 0], [0, 0, 1, 2])
    assert counted == Denominators(tokens=5, sequences=2, groups=2, tokens_of_group={0: 3, 1: 2})


def test_denominators_need_a_group_for_every_sequence():
    with pytest.raises(ValueError, match="zip"):
        Denominators.count([1, 2], [0])


@pytest.mark.parametrize(
    ("aggregate", "expected"),
    [
        (token_mean, 40 / 6),  # (1 + 2 + 3 + 4 + 10 + 20) / 6
        (group_token_mean, (10 / 4 + 30 / 2) / 2),
        (sequence_mean, (6 / 3 + 4 / 1 + 30 / 2) / 3),
    ],
)
def test_by_hand(aggregate, expected):
    assert aggregate(LOSSES, MASK, GROUPS, COUNTS).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_every_token_has_the_weight_the_name_says(name):
    losses = torch.zeros(3, 3, requires_grad=True)
    AGGREGATIONS[name](losses, MASK, GROUPS, COUNTS).backward()
    weight = {
        "token_mean": [1 / 6, 1 / 6, 1 / 6],
        "group_token_mean": [1 / 8, 1 / 8, 1 / 4],
        "sequence_mean": [1 / 9, 1 / 3, 1 / 6],
    }[name]
    torch.testing.assert_close(losses.grad, torch.where(MASK, torch.tensor(weight)[:, None], 0.0))


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_an_all_masked_share_is_zero(name):
    nothing = torch.zeros_like(MASK)
    assert AGGREGATIONS[name](LOSSES, nothing, GROUPS, COUNTS).item() == 0.0
    assert AGGREGATIONS[name](LOSSES, nothing, GROUPS, Denominators.count([0, 0, 0], GROUPS)).item() == 0.0


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_shapes_are_checked(name):
    with pytest.raises(ValueError, match="one shape"):
        AGGREGATIONS[name](LOSSES, MASK[0], GROUPS, COUNTS)
    with pytest.raises(ValueError, match="one group a row"):
        AGGREGATIONS[name](LOSSES, MASK, [7], COUNTS)


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
    return losses, torch.tensor(bits).reshape(rows, columns), groups, parts


@settings(max_examples=60, deadline=None, derandomize=True)
@given(steps())
def test_shares_of_any_split_add_up(step):
    losses, mask, groups, parts = step
    counts = Denominators.count([int(n) for n in mask.sum(dim=1)], groups)
    for name, aggregate in AGGREGATIONS.items():
        whole = aggregate(losses, mask, groups, counts)
        shares = [aggregate(losses[p], mask[p], [groups[i] for i in p], counts) for p in parts if p]
        assert float(sum(shares)) == pytest.approx(float(whole), rel=1e-12, abs=1e-12), name
        assert float(whole) == pytest.approx(slow(name, losses, mask, groups), rel=1e-12, abs=1e-12), name


def slow(name, losses, mask, groups):
    """The three means with loops and nothing else."""
    rows = [[float(x) for x, m in zip(r, k, strict=True) if m] for r, k in zip(losses, mask, strict=True)]
    if name == "token_mean":
        units = [[x for row in rows for x in row]]
    elif name == "sequence_mean":
        units = rows
    else:
        units = [[x for row, g in zip(rows, groups, strict=True) if g == group for x in row] for group in set(groups)]
    means = [sum(unit) / len(unit) for unit in units if unit]
    return sum(means) / len(means) if means else 0.0
