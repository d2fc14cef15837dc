"""Scores by benchmark, computed by hand: no number mixes two of them."""

import numpy as np
import pytest

from openklear.evaluation.benchmarks import Benchmark
from openklear.evaluation.lines import gain_lines, score_lines
from openklear.evaluation.scores import asked_rows, labels, score_rows, totals
from openklear.types import (
    Completion,
    FormatFault,
    Outcome,
    Problem,
    Reward,
    Rollout,
    RolloutGroup,
    StopReason,
    Verdict,
)

RIGHT, WRONG, LOST = Outcome.CORRECT, Outcome.INCORRECT, Outcome.UNSCORABLE
HARD, EASY = Benchmark("hard", 4), Benchmark("easy", 2, limit=3, limit_by="seed", prompt_template="{problem}!")


def group(source, number, outcomes, *, domain="math", level=None, tokens=1, stop=StopReason.STOP, fault=""):
    problem = Problem(f"{source}/{number}", (), domain, level=level, source=source)
    ids = np.zeros(tokens, np.int32)
    completion = Completion(ids, ids.astype(np.float32), stop)
    verdicts = [Verdict(outcome, format_fault=FormatFault(fault)) for outcome in outcomes]
    rollouts = [
        Rollout(problem, index, ids, completion, "", verdict, Reward(0.0), 0) for index, verdict in enumerate(verdicts)
    ]
    return RolloutGroup(problem, tuple(rollouts))


GROUPS = [
    group("easy", 0, [RIGHT, RIGHT], level="1", tokens=10),
    group("hard", 0, [RIGHT, WRONG, WRONG, WRONG], tokens=3),
    group("easy", 1, [RIGHT, WRONG], level="2", tokens=20, fault="no </think>"),
    group("hard", 1, [WRONG] * 4, tokens=5, stop=StopReason.LENGTH),
    group("easy", 2, [RIGHT, RIGHT], level="2", tokens=30),
]


def scores(groups, *of):
    rows = score_rows("sft", of, groups)
    return {(r["benchmark"], r["domain"], r["level"], f"{r['metric']}@{r['k']}"): r["value"] for r in rows}


def test_each_benchmark_has_its_own_mean_and_k():
    """hard: (1/4 + 0) / 2. easy: (1 + 1/2 + 1) / 3. Their mean, and that over all five problems, say nothing."""
    found = scores(GROUPS, HARD, EASY)
    assert found["hard", "math", None, "avg@4"] == pytest.approx(0.125)
    assert found["easy", "math", None, "avg@2"] == pytest.approx(2.5 / 3)
    assert not any(value == pytest.approx(mixed) for value in found.values() for mixed in (0.55, (0.125 + 2.5 / 3) / 2))
    assert {key[0] for key in found} == {"hard", "easy"}


def test_pass_at_every_power_of_two_up_to_k():
    """One of four right: 1 - C(3, k) / C(4, k) is 1/4, 1/2, 1; the other problem has none."""
    found = scores(GROUPS, HARD)
    assert [found["hard", "math", None, f"pass@{k}"] for k in (1, 2, 4)] == pytest.approx([0.125, 0.25, 0.5])
    assert list(found) == [("hard", "math", None, name) for name in ("avg@4", "pass@1", "pass@2", "pass@4")]


def test_levels_stand_under_their_benchmark():
    found = scores(GROUPS, HARD, EASY)
    assert found["easy", "math", "1", "avg@2"] == 1.0
    assert found["easy", "math", "2", "avg@2"] == pytest.approx(0.75)
    assert found["easy", "math", "2", "pass@2"] == 1.0
    assert not [key for key in found if key[0] == "hard" and key[2] is not None]


def test_rows_stand_in_the_order_of_the_benchmarks_and_say_their_stage_and_size():
    rows = score_rows("rl-math", (EASY, HARD), GROUPS)
    assert list(dict.fromkeys(r["benchmark"] for r in rows)) == ["easy", "hard"]
    assert {r["stage"] for r in rows} == {"rl-math"}
    keys = ["stage", "benchmark", "domain", "level", "metric", "k", "value", "low", "high", "problems"]
    keys += ["of", "stopped_by_length", "unscorable"]
    assert all(list(row) == keys for row in rows)
    assert [(r["benchmark"], r["k"], r["problems"]) for r in totals(rows)] == [("easy", 2, 3), ("hard", 4, 2)]
    assert all(r["low"] <= r["value"] <= r["high"] for r in rows)


def test_a_benchmark_of_both_domains_has_rows_for_each():
    both = [*GROUPS, group("hard", 2, [RIGHT] * 4, domain="code")]
    found = scores(both, HARD)
    assert found["hard", "math", None, "avg@4"] == pytest.approx(0.125)
    assert found["hard", "code", None, "avg@4"] == 1.0
    assert labels(score_rows("base", (HARD, EASY), both)) == {
        ("hard", "math"): "hard (math)",
        ("hard", "code"): "hard (code)",
        ("easy", "math"): "easy",
    }


def test_a_score_over_no_problem_is_null():
    rows = score_rows("base", (HARD,), [group("hard", 0, [LOST, LOST])])
    assert (rows[0]["metric"], rows[0]["value"], rows[0]["low"], rows[0]["problems"]) == ("avg", None, None, 0)
    assert totals(rows) == []


def test_what_was_asked_and_the_form_of_what_came_back():
    """easy: 2 of 6 completions have a fault, (10 + 20 + 30) / 3 tokens. hard: 4 of 8 stopped by length, 4 tokens."""
    easy, hard = asked_rows("sft", (EASY, HARD), [*GROUPS[:4], group("easy", 2, [RIGHT, LOST], tokens=30)])
    assert easy == {
        "stage": "sft",
        "benchmark": "easy",
        "domain": "math",
        "samples": 2,
        "limit": 3,
        "limit_by": "seed",
        "prompt_template": "{problem}!",
        "system_prompt": None,
        "prompt_suffix": None,
        "problems": 3,
        "of": 3,
        "dropped": {},
        "completions": 6,
        "well_formed": pytest.approx(4 / 6),
        "stopped_by_length": 0.0,
        "unscorable": pytest.approx(1 / 6),
        "mean_tokens": 20.0,
    }
    assert (hard["problems"], hard["completions"], hard["limit"]) == (2, 8, None)
    assert (hard["well_formed"], hard["stopped_by_length"], hard["mean_tokens"]) == (1.0, 0.5, 4.0)


TOO_LONG = "prompt of 31 tokens; max_prompt_tokens is 30"


def unasked(source, number, reason=TOO_LONG, level=None):
    return Problem(f"{source}/{number}", (), "math", level=level, source=source), reason


def test_a_score_says_of_how_many_problems_it_is():
    """hard: 2 asked, 1 too long, 1 refused. easy at level 2: 2 asked, 1 too long, 1 of the asked not scorable."""
    gone = [
        unasked("hard", 7),
        unasked("hard", 8, "the template refuses: no system turn"),
        unasked("easy", 9, level="2"),
    ]
    groups = [*GROUPS[:4], group("easy", 2, [LOST, LOST], level="2")]
    rows = {
        (r["benchmark"], r["level"]): r for r in score_rows("sft", (HARD, EASY), groups, gone) if r["metric"] == "avg"
    }
    counts = {place: (r["problems"], r["of"], r["value"]) for place, r in rows.items()}
    assert counts == {
        ("hard", None): (2, 4, pytest.approx(0.125)),
        ("easy", None): (2, 4, pytest.approx(0.75)),
        ("easy", "1"): (1, 1, 1.0),
        ("easy", "2"): (1, 3, 0.5),
    }
    assert (rows["hard", None]["stopped_by_length"], rows["hard", None]["unscorable"]) == (0.5, 0.0)
    assert (rows["easy", None]["stopped_by_length"], rows["easy", None]["unscorable"]) == (0.0, pytest.approx(2 / 6))
    hard, easy = asked_rows("sft", (HARD, EASY), groups, gone)
    assert (hard["problems"], hard["of"], hard["dropped"]) == (2, 4, {"prompt too long": 1, "the template refuses": 1})
    assert (easy["problems"], easy["of"], easy["dropped"]) == (3, 4, {"prompt too long": 1})


def test_a_benchmark_of_which_nothing_can_be_asked_still_has_its_rows():
    gone = [unasked("hard", number) for number in range(3)]
    rows = score_rows("sft", (HARD, EASY), GROUPS[:1], gone)
    hard = [r for r in rows if r["benchmark"] == "hard"]
    assert [(r["metric"], r["k"]) for r in hard] == [("avg", 4), ("pass", 1), ("pass", 2), ("pass", 4)]
    assert {(r["value"], r["low"], r["problems"], r["of"], r["stopped_by_length"]) for r in hard} == {
        (None, None, 0, 3, None)
    }
    asked = asked_rows("sft", (HARD,), [], gone)
    assert [(r["problems"], r["of"], r["completions"], r["well_formed"]) for r in asked] == [(0, 3, 0, None)]
    assert [r["benchmark"] for r in totals(rows)] == ["easy"]
    lines = score_lines({"scores": rows, "benchmarks": asked})
    assert lines[0] == "sft  hard  avg@4 none, 0 of 3 problems (3 dropped: prompt too long)"


def test_lines_say_what_a_score_is_over():
    gone = [unasked("hard", 7), unasked("hard", 8, "the template refuses: no system turn"), unasked("easy", 9)]
    groups = [*GROUPS[:4], group("easy", 2, [RIGHT, LOST])]
    rows, asked = (make("sft", (HARD, EASY), groups, gone) for make in (score_rows, asked_rows))
    hard, easy = score_lines({"scores": rows, "benchmarks": asked})
    assert hard.startswith("sft  hard  avg@4 0.125 (")
    assert hard.endswith(
        "), 2 of 4 problems (2 dropped: prompt too long: 1, the template refuses: 1), 50.0 % stopped by length"
    )
    assert easy.endswith("), 3 of 4 problems (1 dropped: prompt too long), 0.0 % stopped by length, 16.7 % unscorable")
    whole = score_lines({"scores": score_rows("sft", (HARD,), GROUPS)})
    assert whole[0].endswith("), 2 problems, 50.0 % stopped by length")


def test_rows_of_older_runs_have_lines_too():
    row = {"stage": "sft", "benchmark": "b", "domain": "math", "level": None, "metric": "avg", "k": 2}
    line = score_lines({"scores": [{**row, "value": 0.5, "low": None, "high": None, "problems": 1}]})
    assert line == ["sft  b  avg@2 0.500, 1 problem"]
    assert score_lines({}) == gain_lines({}) == []
