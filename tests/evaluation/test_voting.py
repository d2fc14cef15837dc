"""Classes of equal answers: hand-made problems, real ones of another tool, and laws of order."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.shared_data import shared

from openklear.evaluation import voting
from openklear.evaluation.statistics import majority_share
from openklear.evaluation.stored import Sample
from openklear.evaluation.voting import classes, majority_shares
from openklear.types import Outcome, Verdict
from openklear.verifiers.mathematics.grader import MathGrader


def sample(extracted: str | None, outcome: str = "incorrect", domain: str = "math", number: int = 0) -> Sample:
    return Sample("aime", "1", domain, number, Outcome(outcome), extracted=extracted)


def wrong(*texts: str | None) -> list[Sample]:
    return [sample(text, number=i) for i, text in enumerate(texts)]


class Told:
    """Stands for math-verify: says what it is told, and counts what it is asked."""

    def __init__(self, *equal: set[str], fails: str = ""):
        self.equal, self.fails, self.asked = equal, fails, []

    def grade(self, reference, answer):
        self.asked.append((reference, answer))
        if self.fails in (reference, answer):
            whose = Outcome.UNSCORABLE if reference == self.fails else Outcome.INCORRECT
            return Verdict(whose, "the text cannot be graded: too hard")
        right = any({reference, answer} <= one for one in self.equal)
        return Verdict(Outcome.CORRECT if right else Outcome.INCORRECT, "" if right else "wrong answer")


def test_answers_that_are_written_differently_vote_together():
    found = classes(wrong(r"\frac{1}{2}", "0.5", "1/2", "2", "2.0", "(1, 2)", r"\left(1,2\right)", "0.5"))
    assert found == [1, 1, 1, 3, 3, 2, 2, 1], "0.5 is the commonest text; the others follow by their text"


def test_correct_answers_are_one_class_and_no_wrong_one_joins_them():
    samples = [sample("7", "correct"), sample("7"), sample("7.0", "correct"), sample(None, "correct")]
    assert classes(samples) == [0, 1, 0, 0]


def test_no_answer_and_no_verdict_vote_for_nothing():
    assert classes([sample(None), sample(" "), sample("3", "unscorable"), sample("3")]) == [None, None, None, 1]


def test_unscorable_samples_take_no_place_in_a_vote():
    samples = [sample("7", "correct"), sample("8", "unscorable"), sample("9"), sample("9")]
    assert majority_shares(samples, [1, 2, 3, 4]) == {
        k: pytest.approx(majority_share([0, 1, 1], 0, k)) for k in (1, 2, 3)
    }


def test_programs_have_no_vote():
    program = sample("print(1)", domain="code")
    assert majority_shares([program], [1]) is None
    with pytest.raises(ValueError, match="not defined"):
        classes([program])


@given(
    st.lists(st.sampled_from(["1/2", "0.5", "2", "x+1", "1+x", "(1,2)", "12", None, "1e400", "x" * 300]), max_size=9)
)
def test_the_order_of_samples_changes_no_class(texts):
    forward, backward = classes(wrong(*texts)), classes(wrong(*texts[::-1]))
    assert forward == backward[::-1]


UNDECIDED = [r"\sin(x)^2", r"1-\cos(x)^2", r"\tan(x)^2\cos(x)^2"]
"""One value, which the exact rules leave to math-verify to say."""


def test_what_the_exact_rules_leave_open_is_asked_once_a_pair():
    first, *others = sorted(UNDECIDED)
    told = Told({first, others[1]})
    found = dict(zip(UNDECIDED, classes(wrong(*UNDECIDED, *UNDECIDED), told), strict=False))
    assert found == {first: 1, others[0]: 2, others[1]: 1}
    assert told.asked == [(first, others[0]), (first, others[1])], "a class is known by its first text"
    assert classes(wrong(*sorted(UNDECIDED))) == [1, 2, 3], "without it they are different"


def test_a_problem_may_ask_only_so_much(monkeypatch):
    told = Told()
    monkeypatch.setattr(voting, "MOST_ASKED", 2)
    assert classes(wrong(*UNDECIDED), told) == classes(wrong(*UNDECIDED))
    assert len(told.asked) == 2, "of three pairs"
    monkeypatch.setattr(voting, "PATIENCE", -1.0)
    told.asked.clear()
    classes(wrong(*UNDECIDED), told)
    assert told.asked == []


def test_a_text_that_cannot_be_compared_is_not_put_to_it_again():
    first, second, third = sorted(UNDECIDED)
    told = Told(fails=first)
    assert classes(wrong(first, second, third), told) == [1, 2, 3]
    assert told.asked == [(first, second), (second, third)], "the first pair failed by its first text"
    told = Told(fails=second)
    classes(wrong(first, second, third), told)
    assert told.asked == [(first, second), (first, third)], "by its second text"


def test_texts_over_the_limits_are_only_compared_as_texts():
    huge = "9" * 300
    assert classes(wrong(f"{huge} + 1", f"{huge}+1", f"1 + {huge}")) == [2, 2, 1]


@pytest.mark.slow
def test_math_verify_joins_what_it_finds_equal():
    grader = MathGrader(1, 5.0)
    try:
        assert classes(wrong(*UNDECIDED, r"\cos(x)^2"), grader) == [1, 1, 1, 2]
    finally:
        grader.close()


def test_another_tools_votes():
    """NeMo-Skills' AIME25 example: 71.43, 76.19 and 85.71 are its own numbers. It splits ties evenly, as we do."""
    runs = [shared(f"evaluation/nemo_skills/math-aime25-rs{i}.jsonl") for i in range(3)]
    rows = [[json.loads(line) for line in path.read_text().splitlines()] for path in runs]
    avg = majority = passed = 0.0
    problems = list(zip(*rows, strict=True))
    for answers in problems:
        samples = [
            sample(row["predicted_answer"], "correct" if row["symbolic_correct"] else "incorrect") for row in answers
        ]
        avg += sum(one.correct for one in samples) / 3
        passed += any(one.correct for one in samples)
        majority += majority_shares(samples, [3])[3]
    found = [round(100 * one / len(problems), 2) for one in (avg, majority, passed)]
    assert found == [71.43, 76.19, 85.71]


def test_other_domains_compare_texts():
    assert classes([sample("1/2", domain="chess"), sample("0.5", domain="chess"), sample("1/2 ", domain="chess")]) == [
        1,
        2,
        1,
    ]
