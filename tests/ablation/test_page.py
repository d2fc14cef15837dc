"""The page of a study: its numbers are those that were found, everything is escaped, and it stands alone."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from tests.ablation import made

from openklear.ablation.definition import Arm, Contrast, Measure, Note, Quoted, Study, StudySeeds
from openklear.ablation.findings import Findings, findings
from openklear.ablation.page import html_page, markdown_page
from openklear.ablation.scores import StudyScores


class Read(HTMLParser):
    """A page's tables, its texts, and whatever could reach out of it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._cell = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self._cell = True
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data):
        self.text += data
        if self._cell:
            self.tables[-1][-1][-1] += data.replace("\N{NO-BREAK SPACE}", " ")


def both(study: Study, scores: StudyScores) -> tuple[Findings, str, str]:
    found = findings(study, scores)
    return found, html_page(study, scores, found), markdown_page(study, scores, found)


def markdown_tables(page: str) -> list[list[list[str]]]:
    tables: list[list[list[str]]] = []
    for before, line in pairwise(["", *page.split("\n")]):
        if line.startswith("|"):
            if not before.startswith("|"):
                tables.append([])
            if not line.startswith("|--"):
                cells = re.split(r"(?<!\\)\|", line)[1:-1]
                tables[-1].append([re.sub(r"\\(.)", r"\1", cell.strip()) for cell in cells])
    return tables


@pytest.fixture(scope="module")
def pages() -> tuple[Study, StudyScores, Findings, str, str]:
    study = made.study()
    scores = made.scores(study)
    return study, scores, *both(study, scores)


def test_the_numbers_are_those_that_were_found(pages):
    study, scores, found, html, markdown = pages
    quoted, ours, runs, compared = Read(html).tables[:4]
    assert quoted[1:] == [list(row) for row in study.quoted.rows]
    for row, one in zip(ours[1:], found.scores, strict=True):
        values = [value for _, value in one.by_seed]
        assert float(row[2]) == pytest.approx(100 * one.mean, abs=0.051)
        assert row[3] == f"[{100 * one.low:.1f}, {100 * one.high:.1f}]"
        assert row[4] == f"{100 * min(values):.1f} to {100 * max(values):.1f}"
    for row, one in zip(runs[1:], found.scores, strict=True):
        of_arm = [run.of("rl-math", "math").mean for run in scores.runs if run.arm == one.arm]
        assert row[1:] == [f"{100 * value:.1f}" for value in of_arm]
    for row, one in zip(compared[1:], found.compared, strict=True):
        assert row[0] == f"{one.label_before} → {one.label_after}"
        assert float(row[1]) == pytest.approx(100 * one.effect.value, abs=0.051)
        assert [float(end) for end in row[2].strip("[]").split(",")] == pytest.approx(
            [100 * one.effect.low, 100 * one.effect.high], abs=0.051
        )
        assert [float(end) for end in row[3].strip("[]").split(",")] == pytest.approx(
            [100 * one.these.low, 100 * one.these.high], abs=0.051
        )
        assert float(row[8]) == pytest.approx(100 * one.smallest, abs=0.051)
    assert markdown_tables(markdown)[:4] == [quoted, ours, runs, compared]


def test_both_say_what_was_found_first_and_everything_a_reader_needs(pages):
    study, _, found, html, markdown = pages
    text = Read(html).text
    plain = re.sub(r"\\(.)", r"\1", markdown)
    for page in (text, plain):
        places = [page.index(some) for some in (study.question, found.headline, "Figure 2", "[-")]
        assert places == sorted(places)
        for one in found.compared:
            assert one.sentence in page
        for some in (*study.differs, *study.undisclosed, "A second paragraph.", 'rl.objective.type = "cispo"'):
            assert some in page
        assert "48 runs, 98 stages, 1 h 7 min of computing. Machine: Some CPU @ 2.50GHz, 2 cores." in page
        assert "openklear ablate studies/small/clipping.toml --output runs/clipping" in page
        assert "revision dfc0985ecbd2" in page
    assert "(page.html)" in markdown


def test_a_stage_that_several_runs_share_costs_once(pages):
    cost = Read(pages[3]).tables[-1]
    assert cost[1:3] == [["prepare", "1", "2.5 s", "2.5 s"], ["sft", "1", "1 min 28 s", "1 min 28 s"]]
    each = [31 + place for place in range(6)]
    assert cost[3] == [
        "rl-math",
        "48",
        f"{round(sum(each) / 6)} s",
        f"{8 * sum(each) // 60} min {8 * sum(each) % 60} s",
    ]


def test_equal_input_gives_equal_bytes(pages):
    study, scores, found, html, markdown = pages
    assert html_page(study, scores, found) == html
    assert markdown_page(study, scores, found) == markdown


def test_the_page_stands_alone(pages):
    html = pages[3]
    read = Read(html)
    assert not read.tags & {"script", "img", "iframe", "object", "embed", "base", "form", "image", "use"}
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert {value for name, value in read.attributes if name in ("href", "src")} == {"data:,"}
    assert set(re.findall(r"https?://[^\"\s<]*", html)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def hostile() -> Study:
    bad = made.HOSTILE
    return made.study(
        title=bad,
        question=bad,
        arm=(Arm(name="ppo", label=bad, set={bad: bad}), Arm(name="gppo", label=f"2 {bad}")),
        seeds=StudySeeds(values=(0, 1), vary=("rl",)),
        measure=(Measure(name="math", label=bad, model="rl-math", domain="math"),),
        set={bad: [bad, {bad: 1}]},
        recipe=bad,
        quoted=Quoted(where=bad, claim=bad, columns=(bad, bad), rows=((bad, bad),), note=bad),
        differs=(bad,),
        undisclosed=(bad,),
        note=(Note(title=bad, text=bad),),
    )


def test_nothing_is_left_unescaped():
    study = hostile()
    bad = made.HOSTILE
    facts = {"command": bad, "cpu": bad, "recipe": bad, "git": {"revision": bad, "dirty": True}}
    scores = made.with_facts(made.scores(study, leave_out=[("gppo", 1)], problems=20), **facts)
    _, html, markdown = both(study, scores)
    read = Read(html)
    assert not read.tags & {"script", "b1", "x"}
    assert read.text.count(made.HOSTILE) >= 20
    assert "<script" not in html.replace("&lt;script", "")
    assert unescape(html).count("<script>") > 20, "it is shown, as text"
    outside = re.sub(r"(?s)```text\n.*?\n```", "", markdown)
    assert "<script" not in outside.replace(r"\<script", "")
    assert not re.search(r"(?<!\\)\]\((?!page\.html)", outside)
    assert "http://" not in outside


def test_one_arm_whose_models_are_compared():
    study = made.models_of_one_arm()
    found, html, markdown = both(study, made.scores(study, problems=60))
    tables = Read(html).tables
    assert [row[0] for row in tables[0][1:]] == ["quickstart, rl-math", "quickstart, sft"]
    assert tables[2][1][0] == "quickstart (sft) → quickstart (rl-math)"
    assert found.headline in re.sub(r"\\(.)", r"\1", markdown)
    assert "baseline" not in html


def test_failed_and_missing_runs_are_said_aloud():
    study = made.study(curves=False)
    scores = made.scores(study, leave_out=[("gppo", 3), ("cispo", 0)], missing=1, problems=40)
    scores = StudyScores(scores.runs[:-1], scores.failed, 1, scores.facts)
    found, html, markdown = both(study, scores)
    assert len(found.warnings) >= 3
    for warning in found.warnings:
        assert warning in Read(html).text
        assert warning in re.sub(r"\\(.)", r"\1", markdown)
    assert html.index("Read this first") < html.index("<table")
    assert Read(html).tables[2][2][4] == "–", "the run of seed 3 has no score"
    assert [row[1] for row in Read(html).tables[1][1:]] == ["8", "7", "8", "8", "7", "7"]


def test_one_seed_has_no_interval_over_seeds():
    study = made.study(seeds=StudySeeds(values=(4,), vary=("rl",)), curves=False)
    found, html, _ = both(study, made.scores(study, problems=60))
    rows = Read(html).tables[3][1:]
    assert [row[2:4] + row[5:7] + row[8:] for row in rows] == [["–"] * 5] * 5
    assert "it says nothing of another training" in html
    assert "[-100.0, +100.0]" not in html
    assert found.headline in Read(html).text


def test_a_study_without_a_finished_run_has_a_page():
    study = made.study()
    found, html, markdown = both(study, StudyScores((), (), 48, {}))
    for page in (Read(html).text, re.sub(r"\\(.)", r"\1", markdown)):
        assert found.headline in page
        assert "GPPO was not run yet with seeds 0, 1, 2, 3, 4, 5, 6 and 7" in page
    assert "<svg" not in html


def test_several_measures_have_tables_of_their_own():
    measures = (
        Measure(name="math", label="mathematics", model="rl-math", domain="math"),
        Measure(name="start", label="the start", model="sft", domain="math"),
    )
    study = made.study(
        curves=False,
        baseline=None,
        measure=measures,
        comparison=(Contrast(before="ppo", after="gppo", measure="start"),),
    )
    _, html, markdown = both(study, made.scores(study, problems=30))
    assert html.count("The score of every run") == 2
    assert [len(table) for table in Read(html).tables[:6]] == [4, 7, 7, 7, 7, 2]
    assert "## This study: the start" in markdown
