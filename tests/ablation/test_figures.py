"""Figures of a study hold what they are given: marks are counted, bands computed by hand, lines told apart."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.chromium import Browser, found
from tests.ablation import made

from openklear.ablation import figures
from openklear.ablation.curves import Trainees, band, shared_stages, stage_curves, trainees
from openklear.ablation.definition import Arm, StudySeeds
from openklear.ablation.findings import findings
from openklear.ablation.looks import SOLID, Look, chance, looks
from openklear.ablation.page import html_page
from openklear.ablation.units import NATS, SHARE


def labels(svg):
    return re.findall(r">([^<>]+)</t(?:ext|span)>", svg)


def marks(svg, kind):
    return len(re.findall(f'aria-roledescription="{kind}"', svg))


def drawn_at(svg, kind, name="percentage points"):
    """Where marks stand: the numbers that each says of itself to who cannot see it."""
    told = re.findall(rf'aria-label="([^"]*)"[^>]*aria-roledescription="{kind}"', svg)
    found = [re.search(rf"(?:^|; ){name}: ([^;]+)", text.replace("\N{MINUS SIGN}", "-")) for text in told]
    return [float(one[1]) for one in found if one]


def test_marks_stand_where_the_findings_say():
    study = made.study()
    told = findings(study, made.scores(study, problems=40))
    svg = figures.forest(study, study.measure[0], told).svg
    seeds = [100 * value for one in told.compared for _, value in one.by_seed]
    assert drawn_at(svg, "circle") == pytest.approx(seeds)
    assert sorted(drawn_at(svg, "point")) == pytest.approx(sorted(100 * one.effect.value for one in told.compared))
    lows = [0.0] * 5 + [100 * one.effect.low for one in told.compared]
    assert drawn_at(svg, "rule mark") == pytest.approx(lows)
    assert drawn_at(svg, "rule mark", "high") == pytest.approx([100 * one.effect.high for one in told.compared])
    svg = figures.scores_by_seed(study, study.measure[0], told, 8).svg
    assert drawn_at(svg, "point", "avg@8, %") == pytest.approx([100 * one.mean for one in told.scores])


def test_a_row_a_comparison_a_point_a_seed():
    study = made.study()
    told = findings(study, made.scores(study, problems=40))
    panel = figures.forest(study, study.measure[0], told)
    assert panel.title == "Difference from PPO clip-higher, mathematics"
    assert marks(panel.svg, "circle") == 5 * 8
    assert marks(panel.svg, "point") == 5
    assert marks(panel.svg, "rule mark") == 5 + 5, "an interval each, and its part of the line at zero"
    first = told.compared[0]
    assert f"{SHARE.difference(first.effect.value)} " in " ".join(labels(panel.svg))


def test_a_point_a_run_and_the_interval_of_its_arm():
    study = made.study()
    told = findings(study, made.scores(study, problems=40, leave_out=[("gppo", 2)]))
    panel = figures.scores_by_seed(study, study.measure[0], told, 8)
    assert marks(panel.svg, "circle") == 6 * 8 - 1
    assert marks(panel.svg, "rule mark") == 6
    assert {"CISPO", "avg@8, %"} <= set(labels(panel.svg))


def test_one_seed_is_drawn_without_an_interval():
    study = made.study(seeds=StudySeeds(values=(3,), vary=("rl",)))
    panel = figures.forest(study, study.measure[0], findings(study, made.scores(study, problems=40)))
    assert marks(panel.svg, "circle") == 5
    assert marks(panel.svg, "rule mark") == 5, "the zero line alone"


def test_a_band_by_hand():
    """Place 2: 1, 2, 6 have the mean 3 and the standard deviation sqrt(7); the least of them bounds the band."""
    curves = [
        {"at": (1, 2, 3), "a": (0.0, 0.5, None), "b": (0.0, 0.5, 1.0)},
        {"at": (1, 2), "a": (0.0, 1.0), "b": (0.0, 1.0)},
        {"at": (1, 2), "a": (3.0, 3.0), "b": (None, 3.0)},
    ]
    line = Trainees("x", Look("#000000", SOLID), curves)
    first, second = band(line, ("a", "b"))
    assert first == {"x": 1, "y": 0.0, "low": 0.0, "high": 0.0}
    assert second == {"x": 2, "y": 3.0, "low": 1.0, "high": pytest.approx(3 + math.sqrt(7))}
    assert [one["x"] for one in band(line, ("a", "b"), share=True)] == [pytest.approx(100 / 3), pytest.approx(200 / 3)]
    assert band(line, ("a", "not logged")) == []


def test_arms_that_log_no_clip_are_named_not_drawn():
    study = made.study()
    (stage,) = stage_curves(study, made.scores(study, problems=5))
    by_title = {panel.title: panel for panel in stage.panels}
    clip = by_title["Clip rate: both cells that act"]
    assert clip.note == "Not logged by REINFORCE."
    assert marks(clip.svg, "line mark") == 5
    assert marks(by_title["Reward of rollouts"].svg, "line mark") == 6
    assert sum(title.startswith(("Clip fraction", "Gradient share")) for title in by_title) == 8


def test_a_stage_that_all_runs_share_is_left_out_and_arms_that_share_one_are_one_line():
    study = made.study()
    scores = made.scores(study, problems=5)
    assert shared_stages(scores) == ["sft"]
    assert [stage.name for stage in stage_curves(study, scores)] == ["rl-math"]
    runs = [replace(run, stages={**run.stages, "sft": f"{run.arm == 'ppo'}{run.seed}"}) for run in scores.runs]
    lines = trainees(study, runs, "sft")
    assert [len(line.trainings) for line in lines] == [8, 8]
    assert lines[0].label == "PPO clip-higher"
    assert lines[1].label.startswith("GPPO, GPPO, high side")
    assert stage_curves(made.study(curves=False), scores) == []


def test_arms_of_unequal_length_are_drawn_over_their_own_training():
    study = made.study()
    runs = [made.run(arm.name, 0, problems=5, iterations=12 * (1 + (arm.name == "gppo"))) for arm in study.arm]
    (stage,) = stage_curves(study, replace(made.scores(study, problems=5), runs=tuple(runs)))
    assert stage.text.endswith("over its own training: to iteration 12; GPPO to iteration 24.")
    assert "% of the training" in labels(stage.panels[0].svg)
    assert "100" in labels(stage.panels[0].svg)


def test_twenty_arms_are_told_apart():
    arms = tuple(Arm(name=f"a{number}") for number in range(20))
    seen = {(look.colour, look.kind) for look in looks(made.study(arm=arms, baseline=None)).values()}
    assert len(seen) == 20


def test_numbers_are_written_one_way():
    assert [chance(p) for p in (0.034, 0.0078, 0.0004, 0.049, 0.0508, 1.0, 0.62, math.nan)] == [
        *(".03", ".008", "< .001", ".049", ".051", "1", ".62", "–")
    ]
    assert [SHARE.difference(value) for value in (-0.0972, 0.0001, -0.0001, math.nan)] == ["-9.7", "0.0", "0.0", "–"]
    assert [NATS.difference(value) for value in (-0.0972, 1.5, -0.0001, math.nan)] == ["-0.097", "+1.500", "0.000", "–"]
    assert (SHARE.level(0.6912), SHARE.level(math.nan), NATS.level(0.6912)) == ("69.1", "–", "0.691")


WIDE = """[...document.querySelectorAll('svg')].flatMap(svg => {
  const box = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter(text => {
    const own = text.getBoundingClientRect();
    return own.left < box.left - 1 || own.right > box.right + 1 || own.bottom > box.bottom + 1 || own.top < box.top - 1;
  }).map(text => text.textContent);
})"""
OVER = """[...document.querySelectorAll('svg')].flatMap(svg => {
  const boxes = [...svg.querySelectorAll('text:not([stroke])')].filter(text => text.textContent)
    .map(text => [text.textContent, text.getBoundingClientRect()]);
  return boxes.flatMap(([one, a], place) => boxes.slice(place + 1).filter(([two, b]) =>
    a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3)
    .map(([two, b]) => one + ' / ' + two));
})"""


@pytest.mark.browser
def test_nothing_is_cut_off_or_overlaps_at_either_width(tmp_path: Path):
    path = found()
    if path is None:
        pytest.skip("no Chromium on this machine: the page is not looked at")
    names = ("MMM, number 0, with alpha alpha 0.05 and more", "One more arm, number 0, with alpha .1")
    arms = [Arm(name=name, label=names[place % 2]) for place, name in enumerate(made.TITLES)]
    studies = [made.study(), made.study(arm=tuple(arms)), made.models_of_one_arm()]
    with Browser(path) as browser:
        for number, study in enumerate(studies):
            scores = made.scores(study)
            file = tmp_path / f"{number}.html"
            file.write_text(html_page(study, scores, findings(study, scores)))
            for width in (390, 1280):
                browser.shape(width, 900)
                browser.open(file.as_uri())
                browser.wait("document.readyState === 'complete'")
                assert browser.run("document.documentElement.scrollWidth") == width
                assert browser.run(WIDE) == []
                assert browser.run(OVER) == []
        assert browser.messages == []
        assert [one for one in browser.requests if not one.startswith(("file://", "about:", "data:"))] == []
