"""A study's report on disk: reports/NAME with its pages and all that they were made of, and the index of all reports.

reports/index.md                 every study: its question and its finding, with links
reports/NAME/page.md, page.html  the page in both forms
reports/NAME/study.toml          the study
reports/NAME/scores.jsonl        a finished run a line
reports/NAME/study.json          runs that failed or are missing, facts of the run, the finding in a sentence
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from openklear.ablation.definition import Study, load_study
from openklear.ablation.findings import Findings
from openklear.ablation.page import html_page, markdown_page
from openklear.ablation.scores import FailedRun, StudyScores, scores_of
from openklear.durable.files import (
    read_json,
    read_jsonl,
    whole_directory,
    write_atomic,
    write_json,
    write_jsonl_atomic,
)
from openklear.errors import DataError
from openklear.recipe.keys import toml_value
from openklear.reporting.pages import page

STUDY, SCORES, FACTS, INDEX = "study.toml", "scores.jsonl", "study.json", "index.md"
HTML, MARKDOWN = "page.html", "page.md"


def publish(study: Study, scores: StudyScores, found: Findings, reports: Path) -> Path:
    """Write reports/NAME, whole or not at all, in place of what stood there; then the index anew. Its directory.

    Raises NoSpace where the disk is full, DataError where another report in `reports` cannot be read.
    """
    place = reports / study.name
    with whole_directory(place) as made:
        write_atomic(made / STUDY, study_toml(study))
        write_jsonl_atomic(made / SCORES, map(asdict, scores.runs))
        failed = [asdict(one) for one in scores.failed]
        facts = {"headline": found.headline, "failed": failed, "missing": scores.missing, "facts": dict(scores.facts)}
        write_json(made / FACTS, facts)
        write_atomic(made / HTML, html_page(study, scores, found))
        write_atomic(made / MARKDOWN, markdown_page(study, scores, found))
    write_index(reports)
    return place


def leave(study: Study, scores: StudyScores, found: Findings, directory: Path) -> list[Path]:
    """Write the pages alone into the directory in which the study was run. Their paths."""
    pages = {HTML: html_page(study, scores, found), MARKDOWN: markdown_page(study, scores, found)}
    for name, text in pages.items():
        write_atomic(directory / name, text)
    return [directory / name for name in pages]


def read_published(directory: Path) -> tuple[Study, StudyScores]:
    """What `publish` wrote: the study and its scores, from which its pages can be made again, byte by byte.

    DataError or RecipeError where a file is missing or damaged: which, and what to do.
    """
    study, told = load_study(directory / STUDY), _told(directory)
    path = directory / SCORES
    runs = tuple(scores_of(row, path) for row in read_jsonl(path))
    try:
        failed = tuple(FailedRun(**one) for one in told["failed"])
        return study, StudyScores(runs, failed, told["missing"], told["facts"])
    except (TypeError, KeyError) as error:
        raise _damaged(directory / FACTS, error) from error


def write_index(reports: Path) -> None:
    """Write index.md from all reports in the directory, in the order of their names."""
    write_atomic(reports / INDEX, page("studies-index.md", reports=list(_reports(reports))))


def study_toml(study: Study) -> str:
    """The study as a file that `load_study` reads back equal. Keys that are not set, or empty, are left out."""
    return "\n".join(_lines(study)) + "\n"


def _reports(reports: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(reports.glob(f"*/{FACTS}")):
        if path.parent.name.startswith("."):  # what a killed process left half written
            continue
        study, told = load_study(path.parent / STUDY), _told(path.parent)
        yield {"study": study, "place": path.parent.name, "headline": told["headline"]}


def _told(directory: Path) -> dict[str, Any]:
    told = read_json(directory / FACTS)
    if not isinstance(told, dict) or not isinstance(told.get("headline"), str):
        raise _damaged(directory / FACTS, "it has no headline")
    return told


def _damaged(path: Path, fault: object) -> DataError:
    return DataError(f"{path}: not the facts of a study's report ({fault}); publish the study again")


def _lines(study: Study) -> Iterator[str]:
    """Leaves first, as TOML demands, then the tables."""
    below = []
    for name in type(study).model_fields:
        value = getattr(study, name)
        is_table = isinstance(value, BaseModel)
        if is_table or (isinstance(value, tuple) and value and isinstance(value[0], BaseModel)):
            below += [(f"[{name}]" if is_table else f"[[{name}]]", one) for one in ((value,) if is_table else value)]
        else:
            yield from _leaf(name, value)
    for head, table in below:
        yield from ("", head)
        for name in type(table).model_fields:
            yield from _leaf(name, getattr(table, name))


def _leaf(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_defaults=True)
    if value not in (None, (), {}):
        yield f"{name} = {toml_value(value)}"
