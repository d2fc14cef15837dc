"""A report on disk: its pages are made again from it byte by byte, and the index leads to every one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.ablation import made

from openklear.ablation.definition import Study, load_study
from openklear.ablation.findings import findings
from openklear.ablation.page import html_page, markdown_page
from openklear.ablation.reports import publish, read_published, study_toml, write_index
from openklear.ablation.scores import StudyScores
from openklear.errors import DataError, RecipeError

AGAIN = """
import sys
from pathlib import Path
from openklear.ablation.findings import findings
from openklear.ablation.page import html_page, markdown_page
from openklear.ablation.reports import read_published
place = Path(sys.argv[1])
told = read_published(place)
found = findings(*told)
assert html_page(*told, found).encode() == (place / "page.html").read_bytes(), "page.html"
assert markdown_page(*told, found).encode() == (place / "page.md").read_bytes(), "page.md"
"""


def published(study: Study, scores: StudyScores, reports: Path) -> Path:
    return publish(study, scores, findings(study, scores), reports)


def test_what_was_published_is_read_back_and_gives_the_same_bytes_in_another_process(tmp_path):
    study = made.study()
    scores = made.scores(study, leave_out=[("cispo", 5)], missing=2)
    place = published(study, scores, tmp_path)
    assert sorted(path.name for path in place.iterdir()) == [
        *("page.html", "page.md", "scores.jsonl", "study.json", "study.toml")
    ]
    read = read_published(place)
    assert read[0] == study
    assert read[1].failed == scores.failed
    assert (read[1].missing, read[1].facts) == (2, scores.facts)
    assert read[1].runs == scores.runs
    env = {**os.environ, "PYTHONHASHSEED": "3"}
    subprocess.run([sys.executable, "-c", AGAIN, str(place)], env=env, check=True)


def committed() -> list[Path]:
    return sorted((Path(__file__).parents[2] / "reports").glob("*/study.json"))


def in_turn(paths: list[Path]) -> list[Any]:
    """The first in make test, all others in .ci/run: a page takes seconds."""
    first, *others = paths
    return [first, *(pytest.param(path, marks=pytest.mark.long) for path in others)]


@pytest.mark.parametrize("path", in_turn(committed()), ids=lambda path: path.parent.name)
def test_every_committed_page_is_what_its_scores_give(path):
    study, scores = read_published(path.parent)
    found = findings(study, scores)
    assert html_page(study, scores, found).encode() == (path.parent / "page.html").read_bytes()
    assert markdown_page(study, scores, found).encode() == (path.parent / "page.md").read_bytes()


def test_a_study_is_written_as_it_was(tmp_path):
    changes = {"rl.a": (1, 2.5, "x"), "b.b": {"c": True, 'd "e"': "\x7f\u2028"}, "f": 1e-6}
    for study in (made.study(set=changes, curves=False, size="full"), made.models_of_one_arm()):
        path = tmp_path / "study.toml"
        path.write_text(study_toml(study))
        assert load_study(path) == study


def test_the_index_leads_to_every_report_in_order(tmp_path):
    first = made.study(curves=False)
    second = made.models_of_one_arm(curves=False, size="full", question=made.HOSTILE)
    for study in (second, first):
        published(study, made.scores(study, problems=20), tmp_path)
    (tmp_path / ".partial-old-clipping").mkdir()
    (tmp_path / ".partial-old-clipping" / "study.json").write_text("{")
    (tmp_path / "notes").mkdir()
    write_index(tmp_path)
    index = (tmp_path / "index.md").read_text()
    places = [index.index(text) for text in ("## Clipping", "(clipping/page.md)", "## The demonstration over seeds")]
    assert places == sorted(places)
    assert "(demonstration/page.html)" in index
    assert "small, 6 arms, 8 seeds" in index
    assert "full, 1 arm, 8 seeds" in index
    assert "<script" not in index.replace(r"\<script", "")
    assert findings(first, made.scores(first, problems=20)).headline.split("(")[0] in index.replace("\\", "")


def test_a_report_is_replaced_whole(tmp_path):
    study = made.study(curves=False)
    place = published(study, made.scores(study, problems=20), tmp_path)
    (place / "stale").touch()
    later = made.study(curves=False, title="Another title")
    assert published(later, made.scores(later, problems=20), tmp_path) == place
    assert not (place / "stale").exists()
    assert "Another title" in (tmp_path / "index.md").read_text()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("text", ["{}", "[]", '{"headline": "x"}', '{"headline": "x", "failed": [{}], "missing": 0}'])
def test_damaged_facts_are_named(tmp_path, text):
    study = made.study(curves=False)
    place = published(study, made.scores(study, problems=20), tmp_path)
    (place / "study.json").write_text(text)
    with pytest.raises(DataError, match=r"clipping/study\.json.*publish the study again"):
        read_published(place)


def test_a_missing_file_is_named(tmp_path):
    study = made.study(curves=False)
    place = published(study, made.scores(study, problems=20), tmp_path)
    (place / "scores.jsonl").unlink()
    with pytest.raises(DataError, match=r"scores\.jsonl: no such file"):
        read_published(place)
    (place / "study.toml").unlink()
    with pytest.raises(RecipeError, match=r"study\.toml"):
        read_published(place)


REPORTS = Path(__file__).parents[2] / "reports"
INTERVAL = re.compile(r"[+-]?\d+\.\d \[[^\]]*\]")


@pytest.mark.parametrize("page", ["README.md", "docs/paper_index.md"])
def test_figures_beside_a_link_to_a_report_stand_in_it(page):
    """A line that leads to a report quotes that report's differences, and no others."""
    quoted = 0
    for line in (REPORTS.parent / page).read_text().splitlines():
        linked = re.findall(r"reports/([a-z-]+)/page\.md", line)
        texts = [(REPORTS / name / "page.md").read_text().replace("\\", "").replace("| ", "") for name in linked]
        for figure in INTERVAL.findall(line) if linked else ():
            value, _, span = figure.partition(" ")
            assert any(f"{value} {span}" in text for text in texts), f"{figure} is in none of {linked}"
            quoted += 1
    assert quoted
