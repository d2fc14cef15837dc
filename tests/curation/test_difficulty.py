"""Pass rates and labels, by hand and by law."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openklear.curation.vetting.difficulty import PassRate, label, labels, pass_rates


@dataclass(frozen=True)
class Record:
    key: str
    correct: bool | None


def test_pass_rates() -> None:
    said = [("a", True), ("b", None), ("a", False), ("a", None), ("c", False), ("a", True)]
    found = pass_rates(Record(*one) for one in said)
    assert found == {"a": PassRate(2, 3), "b": PassRate(0, 0), "c": PassRate(0, 1)}
    assert [found[key].rate for key in "abc"] == [2 / 3, None, 0.0]
    assert labels(found) == {"a": "medium", "c": "hard"}
    assert labels(found, easy=0.6) == {"a": "easy", "c": "hard"}


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(0.0, "hard"), (0.2499, "hard"), (0.25, "medium"), (0.7499, "medium"), (0.75, "easy"), (1.0, "easy")],
)
def test_labels_at_the_thresholds(rate: float, expected: str) -> None:
    assert label(rate) == expected


def test_equal_thresholds_leave_no_middle() -> None:
    assert [label(rate, 0.5, 0.5) for rate in (0.49, 0.5)] == ["hard", "easy"]


@pytest.mark.parametrize(("easy", "hard"), [(0.2, 0.5), (1.5, 0.5), (0.5, -0.1)])
def test_impossible_thresholds(easy: float, hard: float) -> None:
    with pytest.raises(ValueError, match="must not be above"):
        label(0.5, easy, hard)


@given(st.lists(st.builds(Record, st.sampled_from("abc"), st.sampled_from([True, False, None]))), st.randoms())
def test_order_does_not_matter_and_nothing_is_lost(records: list[Record], random: object) -> None:
    found = pass_rates(records)
    shuffled = list(records)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert pass_rates(shuffled) == found
    assert sum(one.total for one in found.values()) == sum(record.correct is not None for record in records)
    for key, one in found.items():
        mine = [record.correct for record in records if record.key == key and record.correct is not None]
        assert one.correct == sum(mine)
        assert (
            one.rate is None
            if not mine
            else Fraction(one.rate).limit_denominator(1000) == Fraction(sum(mine), len(mine))
        )
