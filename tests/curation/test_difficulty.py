"""Pass rates and labels, by hand and by law."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openklear.curation.vetting.responses import GradedResponse, labels, pass_rates


def response(key: str, correct: bool | None) -> GradedResponse:
    return GradedResponse(key, 0, correct, int(correct is True), 1)


def label(rate: float, easy: float = 0.75, hard: float = 0.25) -> str:
    return labels({"": rate}, easy, hard)[""]


def test_pass_rates() -> None:
    said = [("a", True), ("b", None), ("a", False), ("a", None), ("c", False), ("a", True)]
    found = pass_rates(response(*one) for one in said)
    assert found == {"a": 2 / 3, "c": 0.0}  # nothing could be scored of b
    assert labels(found, 0.75, 0.25) == {"a": "medium", "c": "hard"}
    assert labels(found, 0.6, 0.25) == {"a": "easy", "c": "hard"}


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(0.0, "hard"), (0.2499, "hard"), (0.25, "medium"), (0.7499, "medium"), (0.75, "easy"), (1.0, "easy")],
)
def test_labels_at_the_thresholds(rate: float, expected: str) -> None:
    assert label(rate) == expected


def test_equal_thresholds_leave_no_middle() -> None:
    assert [label(rate, 0.5, 0.5) for rate in (0.49, 0.5)] == ["hard", "easy"]


@given(st.lists(st.builds(response, st.sampled_from("abc"), st.sampled_from([True, False, None]))), st.randoms())
def test_order_does_not_matter_and_nothing_is_lost(records: list[GradedResponse], random: object) -> None:
    found = pass_rates(records)
    shuffled = list(records)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert pass_rates(shuffled) == found
    for key in "abc":
        mine = [record.correct for record in records if record.key == key and record.correct is not None]
        if mine:
            assert Fraction(found[key]).limit_denominator(1000) == Fraction(sum(mine), len(mine))
        else:
            assert key not in found
