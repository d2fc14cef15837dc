"""-log pi over global counts."""

import math

import pytest
import torch

from openklear.objectives.supervised import negative_log_likelihood

LOGPROBS = torch.tensor([[-1.0, -2.0, math.nan], [-4.0, -math.inf, -8.0]])
MASK = torch.tensor([[1, 1, 0], [1, 0, 1]], dtype=torch.bool)


def test_by_hand_and_by_shares():
    assert negative_log_likelihood(LOGPROBS, MASK, 4).item() == 15 / 4
    shares = [negative_log_likelihood(LOGPROBS[i : i + 1], MASK[i : i + 1], 4).item() for i in (0, 1)]
    assert shares == [3 / 4, 12 / 4]


def test_gradient_raises_the_probability_of_what_is_imitated():
    logprobs = LOGPROBS.clone().requires_grad_()
    negative_log_likelihood(logprobs, MASK, 4).backward()
    assert torch.equal(logprobs.grad, torch.where(MASK, -0.25, 0.0))


def test_nothing_to_imitate_is_zero():
    assert negative_log_likelihood(LOGPROBS, torch.zeros_like(MASK), 0).item() == 0.0


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="one shape"):
        negative_log_likelihood(LOGPROBS, MASK[0], 4)
