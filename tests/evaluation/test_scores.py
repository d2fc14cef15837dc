"""Scores by benchmark, computed by hand: no number mixes two of them."""

import pytest
from tests.samples import LOST, RIGHT, WRONG, asked, refused, together

from openklear.evaluation.lines import gain_lines, score_lines
from openklear.evaluation.scores import asked_rows, labels, score_rows, totals
from openklear.types import StopReason

PROBLEMS = [
    asked("easy", 0, [RIGHT, RIGHT], level="1", tokens=10),
    asked("hard", 0, [RIGHT, WRONG, WRONG, WRONG], tokens=3),
    asked("easy", 1, [RIGHT, WRONG], level="2", tokens=20, fault="no </think>"),
    asked("hard", 1, [WRONG] * 4, tokens=5, stop=StopReason.LENGTH),
    asked("easy", 2, [RIGHT, RIGHT], level="2", tokens=30),
]
BOTH = ("hard", "easy")


def scores(problems, *names):
    rows = score_rows("sft", together(problems), names)
    return {(r["benchmark"], r["domain"], r["level"], f"{r['metric']}@{r['k']}"): r["value"] for r in rows}


def test_each_benchmark_has_its_own_mean_and_k():
    """hard: (1/4 + 0) / 2. easy: (1 + 1/2 + 1) / 3. Their mean, and that over all five problems, say nothing."""
    found = scores(PROBLEMS, *BOTH)
    assert found["hard", "math", None, "avg@4"] == pytest.approx(0.125)
    assert found["easy", "math", None, "avg@2"] == pytest.approx(2.5 / 3)
    assert not any(value == pytest.approx(mixed) for value in found.values() for mixed in (0.55, (0.125 + 2.5 / 3) / 2))
    assert {key[0] for key in found} == {"hard", "easy"}


def test_pass_at_every_power_of_two_up_to_k():
    """One of four right: 1 - C(3, k) / C(4, k) is 1/4, 1/2, 1; the other problem has none."""
    found = scores(PROBLEMS[1:4:2], "hard")
    assert [found["hard", "math", None, f"pass@{k}"] for k in (1, 2, 4)] == pytest.approx([0.125, 0.25, 0.5])
    names = [name for *_, name in found]
    assert names[:4] == ["avg@4", "pass@1", "pass@2", "pass@4"]


def test_votes_and_steadiness_stand_over_all_levels_alone():
    """hard: one right against three equal wrong answers, and four of them. In pairs the right one ties in half of the
    six pairs and earns a half each: 1/2 * 1/2, over two problems 1/8; in fours it loses. At least 2 of 4 right: none."""
    found = scores(PROBLEMS, *BOTH)
    votes = {key[3]: value for key, value in found.items() if key[0] == "hard" and key[3].startswith("maj")}
    assert votes == {"maj@2": pytest.approx(0.125), "maj@4": 0.0}
    assert found["hard", "math", None, "gpass0.5@4"] == 0.0
    assert found["easy", "math", None, "gpass0.5@2"] == 1.0
    assert found["easy", "math", None, "gpass1@2"] == pytest.approx(2 / 3)
    assert not [key for key in found if key[2] is not None and not key[3].startswith(("avg", "pass"))]
    assert not [key for key in scores([asked("c", 0, [RIGHT, WRONG], domain="code")]) if key[3].startswith("maj")]


def test_the_error_of_sampling_stands_beside_the_average():
    """Of problems with 1/2 and 1 right of two samples: SE^2 = (1/2 * 1/2 / 1) / 4."""
    rows = score_rows("sft", together([asked("b", 0, [RIGHT, WRONG]), asked("b", 1, [RIGHT, RIGHT])]))
    assert rows[0]["sampling_error"] == pytest.approx(0.25)
    assert "; resampling +-0.490), pass@2 1.000, maj@2 0.750, 2 problems" in score_lines({"scores": rows})[0]
    assert all("sampling_error" not in row for row in rows[1:])


def test_levels_stand_under_their_benchmark():
    found = scores(PROBLEMS, *BOTH)
    assert found["easy", "math", "1", "avg@2"] == 1.0
    assert found["easy", "math", "2", "avg@2"] == pytest.approx(0.75)
    assert found["easy", "math", "2", "pass@2"] == 1.0
    assert not [key for key in found if key[0] == "hard" and key[2] is not None]


def test_rows_stand_in_the_order_of_the_benchmarks_and_say_their_stage_and_size():
    rows = score_rows("rl-math", together(PROBLEMS), ("easy", "hard"))
    assert list(dict.fromkeys(r["benchmark"] for r in rows)) == ["easy", "hard"]
    assert {r["stage"] for r in rows} == {"rl-math"}
    keys = ["stage", "benchmark", "domain", "level", "metric", "k", "value", "low", "high", "problems"]
    keys += ["of", "stopped_by_length", "no_answer", "unscorable", "stands", "mean_tokens", "worst", "best"]
    assert all(list(row)[: len(keys)] == keys for row in rows)
    assert [(r["benchmark"], r["k"], r["problems"]) for r in totals(rows)] == [("easy", 2, 3), ("hard", 4, 2)]
    assert all(r["low"] <= r["value"] <= r["high"] for r in rows)


def test_a_benchmark_of_both_domains_has_rows_for_each():
    both = [*PROBLEMS, asked("hard", 2, [RIGHT] * 4, domain="code")]
    found = scores(both, *BOTH)
    assert found["hard", "math", None, "avg@4"] == pytest.approx(0.125)
    assert found["hard", "code", None, "avg@4"] == 1.0
    assert labels(score_rows("base", together(both), BOTH)) == {
        ("hard", "math"): "hard (math)",
        ("hard", "code"): "hard (code)",
        ("easy", "math"): "easy",
    }


def test_a_score_over_no_problem_is_null():
    rows = score_rows("base", asked("hard", 0, [LOST, LOST]))
    assert (rows[0]["metric"], rows[0]["value"], rows[0]["low"], rows[0]["problems"]) == ("avg", None, None, 0)
    assert totals(rows) == []


def test_what_was_asked_and_the_form_of_what_came_back():
    """easy: 2 of 6 completions have a fault, (10 + 20 + 30) / 3 tokens. hard: 4 of 8 stopped by length, 4 tokens."""
    settings = {"easy": {"samples": 2, "limit": 3}, "hard": {"samples": 4, "limit": None}}
    every = together([*PROBLEMS[:4], asked("easy", 2, [RIGHT, LOST], tokens=30)])
    easy, hard = asked_rows("sft", every, settings)
    assert easy == {
        "stage": "sft",
        "benchmark": "easy",
        "domain": "math",
        "samples": 2,
        "limit": 3,
        "problems": 3,
        "not_asked": {},
        "completions": 6,
        "well_formed": pytest.approx(4 / 6),
        "stopped_by_length": 0.0,
        "no_answer": 0.0,
        "unscorable": pytest.approx(1 / 6),
        "stands": 0.0,
        "mean_tokens": 20.0,
    }
    assert (hard["problems"], hard["completions"], hard["limit"]) == (2, 8, None)
    assert (hard["well_formed"], hard["stopped_by_length"], hard["mean_tokens"]) == (1.0, 0.5, 4.0)


TOO_LONG = "prompt of 31 tokens; the model has 30 positions, and an answer needs room"
REFUSED = "the template refuses: no system turn"


def test_what_could_not_be_asked_counts_as_wrong_and_never_makes_a_smaller_n():
    """hard: (1/4 + 0 + 0 + 0) / 4. easy: 1, 1/2 and 0; of a fourth problem nothing could be scored."""
    every = [*PROBLEMS[:4], asked("easy", 2, [LOST, LOST], level="2")]
    every += [refused("hard", 7, 4, TOO_LONG), refused("hard", 8, 4, REFUSED), refused("easy", 9, 2, TOO_LONG, "2")]
    rows = score_rows("sft", together(every), BOTH)
    averages = {(r["benchmark"], r["level"]): r for r in rows if r["metric"] == "avg"}
    counts = {place: (r["problems"], r["of"], r["value"]) for place, r in averages.items()}
    assert counts == {
        ("hard", None): (4, 4, pytest.approx(0.0625)),
        ("easy", None): (3, 4, pytest.approx(0.5)),
        ("easy", "1"): (1, 1, 1.0),
        ("easy", "2"): (2, 3, 0.25),
    }
    assert averages["hard", None]["stopped_by_length"] == 0.25
    assert averages["easy", None]["unscorable"] == pytest.approx(2 / 8)
    hard, easy = asked_rows("sft", together(every), {"hard": {}, "easy": {}})
    assert (hard["problems"], hard["not_asked"]) == (4, {"prompt too long": 1, "the template refuses": 1})
    assert (easy["problems"], easy["not_asked"]) == (4, {"prompt too long": 1})
    lines = score_lines({"scores": rows, "benchmarks": [hard, easy]})
    assert (
        ", 4 problems (2 not asked, which counts as wrong: prompt too long: 1, the template refuses: 1), 25.0 % "
        "stopped by length" in lines[0]
    )
    assert "3 of 4 problems (1 not asked, which counts as wrong: prompt too long), 0.0 % stopped by length" in lines[1]


def test_the_bounds_are_the_scores_were_the_unscorable_all_wrong_or_all_right():
    """Two problems of two: 1 of 1 scorable, and 0 of 2. As it is (1 + 0) / 2; at worst (1/2 + 0) / 2, at best the
    same as it is. pass@2 needs two scorable samples: one problem has them; at worst and at best both do."""
    found = score_rows("sft", together([asked("b", 0, [RIGHT, LOST]), asked("b", 1, [WRONG, WRONG])]))
    average = found[0]
    assert (average["value"], average["worst"], average["best"]) == (0.5, 0.25, 0.5)
    passing = next(row for row in found if (row["metric"], row["k"]) == ("pass", 2))
    assert (passing["value"], passing["problems"], passing["worst"], passing["best"]) == (0.0, 1, 0.5, 0.5)
    whole = score_rows("sft", asked("b", 0, [RIGHT, WRONG]))
    assert {(row["worst"], row["best"]) for row in whole} == {(None, None)}


def test_what_became_of_completions_stands_beside_the_score():
    """Of eight: two were cut, one has no answer, three are not right though the answer stands in them."""
    every = [asked("b", 0, [WRONG] * 2, stop=StopReason.LENGTH, extracted=None, stands=True)]
    every += [asked("b", 1, [WRONG, RIGHT], extracted=None)]  # a right one without an answer has not lost it
    every += [asked("b", 2, [WRONG] * 2, tokens=None), asked("b", 3, [WRONG] * 1, stands=True)]
    (row, *_) = score_rows("sft", together(every))
    assert row["stopped_by_length"] == pytest.approx(2 / 7)
    assert row["no_answer"] == pytest.approx(1 / 7)
    assert row["stands"] == pytest.approx(3 / 7)
    assert row["mean_tokens"] == 1.0
    (line,) = score_lines({"scores": [row]})
    assert line.endswith(
        "28.6 % stopped by length, 14.3 % without an answer, 42.9 % not right though the answer stands in them, "
        "mean length 1 tokens"
    )


def test_rows_of_older_runs_have_lines_too():
    row = {"stage": "sft", "benchmark": "b", "domain": "math", "level": None, "metric": "avg", "k": 2}
    line = score_lines({"scores": [{**row, "value": 0.5, "low": None, "high": None, "problems": 1}]})
    assert line == ["sft  b  avg@2 0.500, 1 problem"]
    assert score_lines({}) == gain_lines({}) == []
