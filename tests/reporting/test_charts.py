"""Figures hold what they are given: the marks of an SVG are counted, and their texts read in order."""

import re

import pytest

from openklear.reporting import charts, curves, standings
from openklear.reporting.card.figures import fates


def score(stage, value, *, level=None, metric="avg", k=8, problems=50):
    place = {"stage": stage, "benchmark": "sums", "domain": "math", "level": level, "metric": metric, "k": k}
    low, high = (None, None) if value is None else (value - 0.05, value + 0.05)
    return {**place, "value": value, "low": low, "high": high, "problems": problems}


def gain(before, after, value, width):
    return {"from": before, "to": after, "gain": value, "low": value - width, "high": value + width, "problems": 9}


def asked(stage, **shares):
    form = {"well_formed": 0.9, "stopped_by_length": 0.1, "unscorable": 0.0, "mean_tokens": 31.0}
    return {"stage": stage, "completions": 16, **form, **shares}


def labels(svg):
    return re.findall(r">([^<>]+)</t(?:ext|span)>", svg)


def marks(svg, kind):
    return len(re.findall(f'aria-roledescription="{kind}"', svg))


def test_accuracy_shows_every_stage_and_value_with_its_interval():
    panel = standings.accuracy([score("base", 0.1), score("sft", 0.456), score("sft", 0.2, level="1")])
    assert panel.title == "Accuracy: avg@8"
    assert {"base", "sft", "10.0%", "45.6%", "0%", "100%"} <= set(labels(panel.svg))
    assert marks(panel.svg, "rule mark") == 2


def test_gains_stand_on_both_sides_of_zero():
    rows = [gain("base", "sft", 0.2, 0.05), gain("sft", "rl-code", -0.064, 0.02), gain("base", "rl-code", 0.01, 0.02)]
    panel = standings.gained(rows)
    assert {"+20.0", "-6.4", "+1.0", "base → sft", "sft → rl-code", "base → rl-code"} <= set(labels(panel.svg))
    assert [standings.direction(row) for row in rows] == ["better", "worse", "open"]
    assert marks(panel.svg, "rule mark") == 3 + 1, "an interval each, and the line at zero"
    assert standings.gained([]) is None


def test_levels_are_in_the_order_of_numbers_and_say_how_many_problems_they_hold():
    rows = [score("sft", 0.5, level=level, problems=n) for level, n in (("10", 3), ("2", 40), ("1", 1_200))]
    panel = standings.by_level(rows)
    shown = [text for text in labels(panel.svg) if text in ("1", "2", "10") or text.startswith("n = ")]
    assert shown == ["1", "n = 1,200", "2", "n = 40", "10", "n = 3"]
    assert marks(panel.svg, "rule mark") == marks(panel.svg, "bar") == 3
    assert standings.by_level([score("sft", 0.5)]) is None


def test_more_levels_than_can_be_read_are_said():
    panel = standings.by_level([score("sft", 0.5, level=f"{n}") for n in range(20)])
    assert "The first 8 of 20 levels." in panel.note
    assert sum(text.startswith("n = ") for text in labels(panel.svg)) == 8


def test_pass_at_k_needs_more_than_one_k():
    rows = [score("sft", 0.2 + k / 20, metric="pass", k=k) for k in (1, 2, 4, 8)]
    panel = standings.passes(rows)
    assert {"1", "2", "4", "8"} <= set(labels(panel.svg))
    assert panel.legend[0][0] == "sft"
    assert standings.passes(rows[:1]) is None


def test_the_form_shows_what_was_cut_and_what_could_not_be_scored():
    panel = standings.stopped([asked("base", stopped_by_length=0.65), asked("sft", unscorable=0.02)])
    assert [label for label, _ in panel.legend] == ["stopped by length", "well formed", "unscorable"]
    assert {"65%", "10%", "90%", "2%"} <= set(labels(panel.svg))
    assert [label for label, _ in standings.stopped([asked("sft")]).legend] == ["stopped by length", "well formed"]
    nothing = asked("sft", completions=0, well_formed=None, stopped_by_length=None, unscorable=None, mean_tokens=None)
    assert standings.stopped([nothing]) is standings.tokens([nothing]) is None


def test_a_benchmark_of_which_nothing_was_scored_has_no_empty_panel():
    assert standings.panels([score("sft", None)], [], []) == []


def test_lines_need_a_key_that_some_row_has():
    rows = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]
    assert curves.lines("Loss", rows, {"absent": "absent"}, "step") is None
    panel = curves.lines("Loss", rows, {"loss": "loss", "absent": "absent"}, "step")
    assert (panel.title, [label for label, _ in panel.legend]) == ("Loss", ["loss"])


@pytest.mark.parametrize(("values", "top"), [([0.86, 0.87], "80%"), ([0.02, 0.021], "2%"), ([0.0, 0.0], "100%")])
def test_an_axis_begins_at_zero_and_is_never_without_height(values, top):
    rows = [{"step": n, "share": value} for n, value in enumerate(values, 1)]
    texts = labels(curves.lines("Share", rows, {"share": "share"}, "step", "~%").svg)
    assert "0%" in texts
    assert top in texts
    assert len(texts) == len(set(texts)), "no tick is there twice"


def test_a_single_step_has_an_axis_with_a_width():
    panel = curves.lines("Loss", [{"step": 7, "loss": 2.0}], {"loss": "loss"}, "step")
    assert {"6", "7", "8"} <= set(labels(panel.svg))
    assert "NaN" not in panel.svg


def test_a_curve_that_is_told_of_seldom_stands_on_the_axis_of_the_whole_stage():
    rows = [{"iteration": n, **({"validation": 0.5} if n in (50, 100) else {})} for n in range(1, 121)]
    texts = labels(curves.lines("Validation", rows, {"validation": "math"}, "iteration", "%").svg)
    assert {"20", "120"} <= set(texts)


def test_large_numbers_are_written_out():
    rows = [{"step": 1, "length": 1200.0}, {"step": 2, "length": 12_400.0}]
    texts = labels(curves.lines("Tokens", rows, {"length": "mean"}, "step").svg)
    assert "10,000" in texts
    assert not [text for text in texts if re.fullmatch(r"\d+e[+-]?\d+|\d+m", text)]


def test_values_that_are_not_finite_are_left_out():
    rows = [{"step": n, "loss": value} for n, value in enumerate((float("nan"), 1.0, float("inf"), 2.0), 1)]
    panel = curves.lines("Loss", rows, {"loss": "loss"}, "step")
    assert "NaN" not in panel.svg
    assert "Infinity" not in panel.svg


def test_long_runs_are_drawn_by_means_in_a_band_that_hides_no_peak():
    rows = [{"iteration": n, "norm": 9.0 if n == 3333 else 1.0} for n in range(1, 5001)]
    panel = curves.lines("Norm", rows, {"norm": "norm"}, "iteration")
    assert len(panel.svg) < 40_000
    assert panel.note.startswith("Each point is the mean of 21 iterations")
    points = curves.thinned([(row["iteration"], row["norm"]) for row in rows], 21)
    assert len(points) == 239
    assert max(point["high"] for point in points) == 9.0
    assert max(point["y"] for point in points) == pytest.approx(1 + 8 / 21)
    assert points[-1]["x"] == 5000


def test_funnel_has_a_bar_for_what_was_kept_and_for_each_step_that_dropped():
    rows = [
        {"dataset": "problems", "source": "a", "step": "read", "read": 10, "kept": 10, "dropped": 0},
        {"dataset": "problems", "source": "a", "step": "dedup", "read": 10, "kept": 7, "dropped": 3},
    ]
    svg = fates(rows, share=False).svg
    assert {"problems: a", "kept", "dedup"} <= set(labels(svg))
    assert "read" not in labels(svg)
    widths = [float(w) for w in re.findall(r'aria-label="rows read: (\d+)', svg)]
    assert sorted(widths) == [3.0, 7.0]


def test_histogram_leaves_empty_bins_at_the_ends_out():
    edges = [0.0, 0.5, 1.5, float("inf")]
    svg = curves.histogram("Ratio", edges, {"A > 0": [0, 5, 1], "A < 0": [0, 2, 0]}).svg
    assert "0.00 - 0.50" not in labels(svg)
    assert "0.50 - 1.50" in labels(svg)


def test_bins_stand_in_their_order_whichever_series_fills_them():
    """The bin of 1.00 is full in one series and the first in none: a sort by sums over both series moved it."""
    edges = [0.1, 0.2, 0.4, 0.8, 1.0, 1.2, 2.0, float("inf")]
    counts = {"A > 0": [0, 0, 7, 90_000, 5, 0, 1], "A < 0": [2, 0, 10, 40_000, 0, 0, 0]}
    texts = labels(curves.histogram("Ratio", edges, counts).svg)
    bins = [text for text in texts if " - " in text]
    assert bins == [
        "0.10 - 0.20",
        "0.20 - 0.40",
        "0.40 - 0.80",
        "0.80 - 1.00",
        "1.00 - 1.20",
        "1.20 - 2.00",
        "2.00 - inf",
    ]
    assert {"0", "10", "1k", "10k"} <= set(texts)


def test_the_last_bits_of_a_number_are_not_in_a_figure():
    """They are not the same on every processor: pages that are made again elsewhere would be others."""
    third, other = 1 / 3, 1 / 3 + 1e-16
    assert third != other
    drawn = [
        charts.svg(charts.table([{"x": x, "y": 2.0}, {"x": 1.0, "y": 3 * x}]).mark_point().encode(x="x:Q", y="y:Q"))
        for x in (third, other)
    ]
    assert drawn[0] == drawn[1]
    assert charts.rounded({"a": [1 / 3, 7, None], "b": (2.5, True)}) == {"a": [0.333333333, 7, None], "b": [2.5, True]}
