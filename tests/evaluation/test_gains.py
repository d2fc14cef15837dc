"""Gains between the stages of a run: by hand, in the right pairs, and from files without rollouts."""

import numpy as np
import pytest
from tests.evaluation.test_scores import PROBLEMS
from tests.samples import LOST, RIGHT, WRONG, asked, together

from openklear.evaluation.gains import gains, pairs
from openklear.evaluation.lines import gain_lines, points
from openklear.evaluation.results import ProblemResult, read_results, results, write_results
from openklear.evaluation.statistics import paired_difference


def result(name, correct, *, scorable=4, domain="math"):
    return ProblemResult(f"b/{name}", "b", domain, None, 4, scorable, correct, 0, 40)


BASE = [result("x", 0), result("y", 0), result("z", 4)]
SFT = [result("z", 4), result("x", 2), result("y", 1)]
RL = [result("x", 4), result("y", 1), result("z", 2)]


def test_results_count_the_completions_of_each_problem():
    one = asked("easy", 3, [RIGHT, WRONG, LOST], level="2", tokens=7)
    assert results(one) == [ProblemResult("easy/3", "easy", "math", "2", 3, 2, 1, 0, 21)]
    assert [r.stopped_by_length for r in results(together(PROBLEMS))] == [0, 0, 0, 4, 0]


def test_results_come_back_from_their_file(tmp_path):
    found = results(together(PROBLEMS))
    write_results(tmp_path / "problems.jsonl", found)
    assert read_results(tmp_path / "problems.jsonl") == found
    assert read_results(tmp_path / "absent.jsonl") == []


def test_a_gain_is_the_paired_difference_whatever_the_order_of_the_problems():
    rows = gains({"base": BASE, "sft": SFT})
    table = paired_difference(*(np.array([[c / 4] for c in counts]) for counts in ((0, 0, 4), (2, 1, 4))))
    expected = {"benchmark": "b", "domain": "math", "from": "base", "to": "sft", "problems": 3}
    assert rows == [{**expected, "gain": pytest.approx(0.25), "low": table.low, "high": table.high}]


def test_losses_are_rows_like_gains():
    """From sft to RL: x +1/2, y 0, z -1/2 in one case; x alone falls in the other."""
    assert gains({"sft": SFT, "rl-code": RL})[0]["gain"] == pytest.approx(0.0)
    (fall,) = gains({"sft": SFT, "rl-code": [result("x", 0), result("y", 1), result("z", 4)]})
    assert fall["gain"] == pytest.approx(-0.5 / 3)
    assert fall["low"] < fall["gain"] < fall["high"]


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        (["base"], []),
        (["base", "sft"], ["base sft"]),
        (["base", "rl-math"], ["base rl-math"]),
        (["base", "sft", "rl-math"], ["base sft", "sft rl-math", "base rl-math"]),
        (
            ["base", "sft", "rl-math", "rl-code"],
            ["base sft", "sft rl-math", "rl-math rl-code", "base rl-code", "sft rl-code"],
        ),
        (["sft", "rl-math"], ["sft rl-math"]),
    ],
)
def test_every_stage_is_held_against_the_one_before_and_the_last_against_the_first(stages, expected):
    assert [" ".join(pair) for pair in pairs(stages)] == expected


def test_problems_that_one_side_lacks_or_could_not_score_are_in_no_pair():
    after = [result("x", 4), result("y", 0, scorable=0), result("new", 4)]
    (row,) = gains({"base": BASE, "sft": after})
    assert (row["gain"], row["problems"]) == (1.0, 1)
    assert (row["low"], row["high"]) == (-1.0, 1.0), "one problem says nothing of problems like it"
    assert gains({"base": [result("x", 0, scorable=0)], "sft": SFT}) == []
    assert gains({"base": [], "sft": SFT}) == gains({}) == []


def test_benchmarks_and_domains_are_kept_apart():
    code = [result("p", 4, domain="code")]
    rows = gains({"base": [*BASE, result("p", 0, domain="code")], "sft": [*SFT, *code]})
    assert [(r["domain"], r["gain"], r["problems"]) for r in rows] == [
        ("math", pytest.approx(0.25), 3),
        ("code", 1.0, 1),
    ]


def test_gains_have_lines():
    lines = gain_lines({"gains": gains({"base": BASE, "sft": SFT, "rl-code": RL})})
    assert [line.split("  ")[0] for line in lines] == ["base -> sft", "sft -> rl-code", "base -> rl-code"]
    assert lines[1].startswith("sft -> rl-code   b  0.0 points (-")
    assert all(line.endswith(" on 3 problems") for line in lines)


@pytest.mark.parametrize(("share", "text"), [(0.184, "+18.4"), (-0.038, "-3.8"), (0.0004, "0.0"), (-0.0004, "0.0")])
def test_points_have_a_sign_unless_they_are_none(share, text):
    assert points(share) == text
