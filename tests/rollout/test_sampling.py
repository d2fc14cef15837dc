"""Logits -> log-probabilities -> tokens, against hand-computed values and exact frequencies."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from openklear.rollout.sampling import Cuts, draw, likeliest, next_token_probabilities
from openklear.rollout.seeds import uniforms


def ones(rows: int) -> torch.Tensor:
    return torch.ones(rows)


def test_temperature_divides_the_logits():
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    got = next_token_probabilities(logits, torch.tensor([0.5]))[0].tolist()
    weights = [1.0, math.exp(2.0), math.exp(4.0)]
    assert got == pytest.approx([w / sum(weights) for w in weights], abs=1e-6)


def test_each_row_has_its_own_temperature_and_nucleus():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2]] * 3))
    got = next_token_probabilities(logits, torch.tensor([1.0, 1.0, 1e9]), Cuts(torch.tensor([0.6, 1.0, 1.0])))
    assert got[0].tolist() == pytest.approx([0.625, 0.375, 0.0], abs=1e-6)
    assert got[1].tolist() == pytest.approx([0.5, 0.3, 0.2], abs=1e-6)
    assert got[2].tolist() == pytest.approx([1 / 3] * 3, abs=1e-6)


def test_tiny_and_huge_numbers_do_not_overflow():
    logits = torch.tensor([[3e38, -3e38, 2.9e38], [-1e30, -1e30, -2e30]])
    got = next_token_probabilities(logits, torch.tensor([1.2e-38, 1e-6]))
    assert got[0].tolist() == [1.0, 0.0, 0.0]
    assert got[1].tolist() == pytest.approx([0.5, 0.5, 0.0])


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(0.4, [1]), (0.499, [1]), (0.501, [1, 3]), (0.749, [1, 3]), (0.751, [1, 3, 0]), (0.99, [1, 3, 0, 2]), (1e-9, [1])],
)
def test_nucleus_is_the_smallest_set_that_reaches_top_p(top_p: float, kept: list[int]):
    probabilities = torch.tensor([[0.125, 0.5, 0.125, 0.25]])  # the tie goes to the smaller id
    got = next_token_probabilities(probabilities.log(), ones(1), Cuts(torch.tensor([top_p], dtype=torch.float64)))[0]
    expected = [float(probabilities[0, i]) if i in kept else 0.0 for i in range(4)]
    assert got.tolist() == pytest.approx([p / sum(expected) for p in expected], abs=1e-6)


def test_greedy_takes_the_largest_logit_and_of_equals_the_smallest_id():
    logits = torch.tensor([[1.0, 3.0, 2.0, 3.0], [0.0, 0.0, 0.0, 0.0], [-5.0, float("-inf"), -4.0, -4.5]])
    for dtype in (torch.float32, torch.bfloat16):
        assert likeliest(logits.to(dtype)).tolist() == [1, 0, 2]


def test_draw_inverts_the_cumulative_distribution():
    probabilities = torch.tensor([[0.125, 0.5, 0.0, 0.375]])
    edges = {0.0: 0, 0.1249: 0, 0.125: 1, 0.6249: 1, 0.625: 3, 1 - 2**-53: 3}
    for uniform, token in edges.items():
        assert draw(probabilities, torch.tensor([uniform], dtype=torch.float64)).tolist() == [token], uniform


def test_impossible_tokens_are_never_drawn():
    # Zero probability first, last and between; the extreme uniforms; a distribution that does not sum to one exactly.
    probabilities = torch.zeros(4, 1000)
    probabilities[:, 1:999:2] = 1 / 499
    extremes = torch.tensor([0.0, 1 - 2**-53, 0.5, 2**-53], dtype=torch.float64)
    tokens = draw(probabilities, extremes)
    assert tokens.tolist()[:2] == [1, 997]
    assert (probabilities.gather(1, tokens[:, None]) > 0.0).all()


def test_frequencies_match_the_softmax():
    n, vocabulary = 20_000, 12
    logits = torch.randn(vocabulary, generator=torch.Generator().manual_seed(3)) * 1.5
    probabilities = next_token_probabilities(logits.expand(n, -1), torch.full((n,), 0.8))
    keys = np.arange(n, dtype=np.uint64)
    tokens = draw(probabilities, torch.from_numpy(uniforms(keys, np.zeros(n, np.int64))))
    expected = torch.softmax(logits.double() / 0.8, 0).numpy() * n
    observed = np.bincount(tokens.numpy(), minlength=vocabulary)
    chi_square = float(((observed - expected) ** 2 / expected).sum())
    assert 1.0 < chi_square < 31.3  # 11 degrees of freedom: 99.9 % below 31.3


def test_one_temperature_a_row():
    with pytest.raises(ValueError, match="one temperature per row"):
        next_token_probabilities(torch.zeros(3, 5), torch.ones(5))
