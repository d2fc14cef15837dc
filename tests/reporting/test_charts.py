"""Figures hold what they are given: the marks of an SVG are counted and placed."""

import re

from openklear.reporting import charts
from openklear.reporting.card.figures import fates


def score(stage, domain, value, level=None):
    return {
        "stage": stage,
        "benchmark": f"{domain} set",
        "domain": domain,
        "level": level,
        "metric": "avg",
        "k": 8,
        "value": value,
        "low": value - 0.05,
        "high": value + 0.05,
        "problems": 200,
    }


def labels(svg):
    return re.findall(r">([^<>]+)</text>", svg)


def test_accuracy_shows_every_stage_and_value():
    svg = charts.accuracy([score("base", "math", 0.1), score("sft", "math", 0.456), score("sft", "code", 0.789)])
    assert {"base", "sft", "math set, avg@8", "code set, avg@8", "10.0%", "45.6%", "78.9%"} <= set(labels(svg))
    assert svg.count('aria-roledescription="rule mark"') + svg.count("mark-rule") >= 1


def test_scores_without_a_value_are_left_out():
    empty = {**score("base", "math", 0.5), "value": None}
    svg = charts.accuracy([empty, score("sft", "math", 0.25)])
    assert "base" not in labels(svg)
    assert "25.0%" in labels(svg)


def test_lines_need_a_key_that_some_row_has():
    rows = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]
    assert charts.lines("Loss", rows, {"absent": "absent"}, "step") is None
    svg = charts.lines("Loss", rows, {"loss": "loss", "absent": "absent"}, "step")
    assert "Loss" in labels(svg)


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


def test_histogram_leaves_empty_bins_out():
    svg = charts.histogram("Ratio", [0.0, 0.5, 1.5, float("inf")], {"A > 0": [0, 5, 1], "A < 0": [0, 2, 0]})
    assert "0.00 - 0.50" not in labels(svg)
    assert "0.50 - 1.50" in labels(svg)
