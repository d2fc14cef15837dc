"""Scores by benchmark, computed by hand: no number mixes two of them."""

import numpy as np
import pytest

from openklear.evaluation.benchmarks import Benchmark
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
        "problems": 3,
        "completions": 6,
        "well_formed": pytest.approx(4 / 6),
        "stopped_by_length": 0.0,
        "unscorable": pytest.approx(1 / 6),
        "mean_tokens": 20.0,
    }
    assert (hard["problems"], hard["completions"], hard["limit"]) == (2, 8, None)
    assert (hard["well_formed"], hard["stopped_by_length"], hard["mean_tokens"]) == (1.0, 0.5, 4.0)
