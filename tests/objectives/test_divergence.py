"""k1, k2, k3: by hand; k1 and k3 unbiased for KL(old || current) over samples from old."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from openklear.objectives.divergence import k1, k2, k3
from openklear.objectives.ratio import bounded_log_ratio


def test_by_hand():
    log_ratio = torch.tensor([0.0, math.log(2), -math.log(4)], dtype=torch.float64)
    torch.testing.assert_close(k1(log_ratio), torch.tensor([0, -math.log(2), math.log(4)], dtype=torch.float64))
    squares = [0, math.log(2) ** 2 / 2, math.log(4) ** 2 / 2]
    torch.testing.assert_close(k2(log_ratio), torch.tensor(squares, dtype=torch.float64))
    expected = [0, 2 - 1 - math.log(2), 0.25 - 1 + math.log(4)]
    torch.testing.assert_close(k3(log_ratio), torch.tensor(expected, dtype=torch.float64))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=2, max_size=6))
def test_exact_expectation_is_the_divergence(logits):
    old, new = (torch.tensor(x, dtype=torch.float64).log_softmax(0) for x in zip(*logits, strict=True))
    divergence = float((old.exp() * (old - new)).sum())
    for estimate in (k1, k3):
        assert float((old.exp() * estimate(new - old)).sum()) == pytest.approx(divergence, abs=1e-12)
    assert (k3(new - old) >= 0).all()


def test_k2_has_the_gradient_of_the_divergence():
    """Over tokens of the current policy, with log r = log pi_ref - log pi: E[grad k2] = grad KL(pi || pi_ref)."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, generator=generator, dtype=torch.float64, requires_grad=True)
    reference = torch.randn(7, generator=generator, dtype=torch.float64).log_softmax(0)
    log_pi = logits.log_softmax(0)
    (exact,) = torch.autograd.grad((log_pi.exp() * (log_pi - reference)).sum(), logits, retain_graph=True)
    (found,) = torch.autograd.grad((log_pi.exp().detach() * k2(reference - log_pi)).sum(), logits)
    torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-14)


def test_ratio_is_bounded_and_outside_the_graph():
    current = torch.tensor([-1.0, -1.0, -1.0, -math.inf], requires_grad=True)
    found = bounded_log_ratio(current, torch.tensor([-1.5, 100.0, -100.0, -1.0]))
    assert found.tolist() == [0.5, -20.0, 20.0, -20.0]
    assert not found.requires_grad
    assert bounded_log_ratio(current.bfloat16(), current.bfloat16()).dtype == torch.float32
    assert bounded_log_ratio(current.double(), current.double()).dtype == torch.float64
    with pytest.raises(ValueError, match="one shape"):
        bounded_log_ratio(current, current[:1])
