"""Two evaluations: the sign-flip test against all choices of signs, Holm by hand, and what is over which problems."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openklear.evaluation.comparison import Moved, compare
from openklear.evaluation.results import ProblemResult
from openklear.evaluation.statistics import difference_interval, holm, mean_interval, sign_flip

SHARES = st.builds(Fraction, st.integers(-12, 12), st.sampled_from([1, 2, 3, 4, 8])).filter(lambda d: abs(d) <= 1)


def result(name: str, correct: int, scorable: int = 4, benchmark: str = "aime", domain: str = "math") -> ProblemResult:
    return ProblemResult(name, benchmark, domain, None, 4, scorable, correct, 0, 100)


@given(st.lists(SHARES, max_size=9))
def test_all_choices_of_signs(differences):
    observed = abs(sum(differences))
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in product((1, -1), repeat=len(differences))
    ]
    assert sign_flip(differences) == pytest.approx(sum(one >= observed for one in sums) / len(sums))


def test_sign_flip_by_hand():
    assert sign_flip([Fraction(1, 2)] * 8) == pytest.approx(2 / 2**8), "8 pairs can reach .0078"
    assert sign_flip([Fraction(1, 4)] * 4) == pytest.approx(0.125)
    assert sign_flip([Fraction(0)] * 30) == sign_flip([]) == 1.0
    assert sign_flip([Fraction(1), Fraction(-1)]) == 1.0


def test_a_grid_too_fine_is_made_coarser():
    """200 problems whose samples are all unlike in number: the same p as on a grid of like ones, to 1 %."""
    alike = [Fraction((-1) ** (i % 3 == 0) * (50 + i % 7), 100) for i in range(200)]
    unlike = [one + Fraction(1, 10**6 + 2 * i + 1) for i, one in enumerate(alike)]
    assert sign_flip(unlike) == pytest.approx(sign_flip(alike), rel=0.01)


def test_holm_by_hand():
    """Holm 1979: the smallest times 3, the next times 2, never less than the one before."""
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.6]) == pytest.approx([1.0, 1.0])
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_scores_are_over_the_problems_that_both_could_score():
    before = [result("a", 4), result("b", 0), result("c", 2), result("gone", 4), result("lost", 0, 0)]
    after = [result("c", 4), result("a", 3), result("b", 2, 3), result("lost", 4)]
    (found,) = compare(before, after)
    assert (found.benchmark, found.domain, found.only_before, found.only_after) == ("aime", "math", 1, 1)
    assert found.before.value == pytest.approx((1 + 0 + 0.5) / 3)
    assert found.after.value == pytest.approx((0.75 + 2 / 3 + 1) / 3)
    changes = [-0.25, 2 / 3, 0.5]
    assert found.difference == difference_interval(np.array(changes))
    assert found.p == sign_flip([Fraction(-1, 4), Fraction(2, 3), Fraction(1, 2)])
    assert found.moved == [Moved("b", 0.0, pytest.approx(2 / 3)), Moved("c", 0.5, 1.0), Moved("a", 1.0, 0.75)]
    assert found.before == mean_interval(np.array([1, 0, 0.5]), 4)


def test_benchmarks_are_apart_and_adjusted_together():
    first = [result(f"m{i}", 0) for i in range(8)] + [
        result(f"c{i}", 0, benchmark="lcb", domain="code") for i in range(8)
    ]
    last = [result(f"m{i}", 4) for i in range(8)] + [
        result(f"c{i}", int(i < 6), benchmark="lcb", domain="code") for i in range(8)
    ]
    math, code = compare(first, last)
    assert (math.benchmark, code.benchmark) == ("aime", "lcb")
    assert (math.p, code.p) == (pytest.approx(2 / 2**8), pytest.approx(2 / 2**6))
    assert (math.adjusted, code.adjusted) == (pytest.approx(4 / 2**8), pytest.approx(2 / 2**6))
    assert math.moved[0] == Moved("m0", 0.0, 1.0)


def test_nothing_in_common_is_no_comparison():
    assert compare([result("a", 1)], [result("b", 1)]) == []
    assert compare([], []) == []


def test_the_same_twice_has_no_difference():
    (found,) = compare([result("a", 1), result("b", 3)], [result("a", 1), result("b", 3)])
    assert (found.difference.value, found.p, found.moved) == (0.0, 1.0, [])
    assert found.difference.low < 0 < found.difference.high
