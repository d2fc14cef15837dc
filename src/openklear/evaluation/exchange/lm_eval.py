"""lm-evaluation-harness: results_*.json and samples_TASK_*.jsonl, read.

A filter makes another answer of the same completion: one of them is taken, since two filters are not two samples.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from openklear.errors import DataError
from openklear.evaluation.exchange.opening import OpenedFile
from openklear.evaluation.exchange.rows import (
    Claim,
    Fields,
    ImportChoice,
    ImportedFiles,
    JudgedRow,
    Mark,
    answer_of,
    count_or_none,
    first_score,
    items,
    mapping,
    mark_of,
    messages_of,
    other_scores,
    share_or_none,
    stop_of,
    text_or_none,
)
from openklear.evaluation.stored import Asked
from openklear.types import Message, Outcome

LOOKED_FOR = (
    "a document with `results` and `configs` (results_*.json), or rows with `doc_id` and `resps` (samples_*.jsonl)"
)
OURS = "openklear"
"""Under this name the rows that we write keep what the harness has no place for."""
_NAME = re.compile(r"samples_(.+?)(?:_\d{4}-\d\d-\d\dT[\d.-]+)?\.jsonl")


def role(file: OpenedFile) -> str | None:
    """What a file is to this tool; None: nothing."""
    if isinstance(file.document, dict) and {"results", "configs"} <= file.document.keys():
        return "results"
    return "samples" if {"doc_id", "resps"} <= file.first().keys() else None


def read(files: Sequence[tuple[str, OpenedFile]], choice: ImportChoice) -> ImportedFiles:
    """The rows of all tasks, and what the results say of these tasks."""
    results = _merged([file for kind, file in files if kind == "results"])
    samples = [file for kind, file in files if kind == "samples"]
    if not samples:
        raise DataError(f"{files[0][1].path}: holds sums alone; give its samples_*.jsonl too (lm_eval --log_samples)")
    names = list(dict.fromkeys(chain.from_iterable(map(_scores, samples))))
    score = first_score(names, choice, str(samples[0].path))
    rows: list[JudgedRow] = []
    tasks: list[tuple[str, str]] = []  # in the results, and here
    for file in samples:
        task = _task(file.path)
        tasks.append((task, choice.benchmark or task))
        rows += _rows(file, tasks[-1][1], score, choice)
    config = mapping(results.get("config"))
    notes = other_scores(names, score) + _drawn(samples)
    return ImportedFiles(
        tool="lm-eval",
        version=text_or_none(results.get("lm_eval_version")),
        model=text_or_none(results.get("model_name")) or text_or_none(config.get("model")),
        rows=rows,
        claims=list(_claims(results, tasks, score)),
        sampling=_sampling(samples[0], results, tasks[0][0]),
        score=score,
        notes=notes,
    )


def _merged(files: Sequence[OpenedFile]) -> dict[str, Any]:
    """The results of several runs of one model as one. DataError where they are of several."""
    found: dict[str, Any] = {}
    for file in files:
        name, before = file.document.get("model_name"), found.get("model_name")
        if found and name != before:
            raise DataError(f"{file.path}: is of {name}, and others are of {before}; import each model by itself")
        for key in _BY_TASK:
            found[key] = {**mapping(found.get(key)), **mapping(file.document.get(key))}
        found = {**file.document, **{key: found[key] for key in _BY_TASK}}
    return found


_BY_TASK = ("results", "configs", "n-samples")


def _task(path: Path) -> str:
    found = _NAME.fullmatch(path.name)
    return found[1] if found else path.stem


def _scores(file: OpenedFile) -> Iterator[str]:
    """`metric,filter` of every row."""
    for _, row in file.lines:
        listed = items(row.get("metrics")) or [name for name in ("acc", "exact_match") if name in row]
        yield from (f"{metric},{row.get('filter', 'none')}" for metric in listed)


def _rows(file: OpenedFile, benchmark: str, score: str | None, choice: ImportChoice) -> Iterator[JudgedRow]:
    metric, _, kept = (score or "").rpartition(",")
    for number, row in file.lines:
        where = f"{file.path}:{number}"
        if text_or_none(row.get("doc_id")) is None:
            raise DataError(f"{where}: has no doc_id; it is no row of lm-evaluation-harness")
        if score is None or row.get("filter", "none") == kept:
            yield from _row(row, where, benchmark, metric, choice)


def _row(row: Fields, where: str, benchmark: str, metric: str, choice: ImportChoice) -> Iterator[JudgedRow]:
    doc, ours = mapping(row.get("doc")), mapping(row.get(OURS))
    asked = Asked(
        benchmark,
        text_or_none(ours.get("problem")) or str(row["doc_id"]),
        choice.domain or text_or_none(ours.get("domain")) or "math",
        _prompt(row.get("arguments")),
        level=text_or_none(doc.get("level")),
        reference=text_or_none(row.get("target")),
    )
    drawn = items(row.get("resps"))
    texts = items(drawn[0]) if drawn else []
    answers = items(row.get("filtered_resps"))
    outcomes = items(ours.get("outcomes"))
    if texts and len(outcomes) == len(texts) == len(answers):
        yield from _own(asked, texts, answers, ours)
        return
    yield JudgedRow(
        asked,
        mark_of(row.get(metric), where),
        answer_of(texts[0]) if texts else None,
        extracted=answers[0] if answers and isinstance(answers[0], str) else None,
        beside={"doc_hash": row["doc_hash"]} if isinstance(row.get("doc_hash"), str) else {},
    )


def _own(asked: Asked, texts: list[Any], answers: list[Any], ours: Fields) -> Iterator[JudgedRow]:
    """The samples of a row that we have written ourselves."""
    reasons, stops, tokens = (items(ours.get(name)) for name in ("reasons", "stops", "tokens"))
    for place, text in enumerate(texts):
        mark = mark_of(_OWN.get(str(ours["outcomes"][place])), asked.problem)
        reason = str(reasons[place]) if place < len(reasons) else ""
        yield JudgedRow(
            asked,
            Mark(mark.outcome, reason, mark.score),
            text_or_none(text),
            place,
            extracted=text_or_none(answers[place]),
            stop_reason=stop_of(stops[place] if place < len(stops) else None),
            tokens=count_or_none(tokens[place]) if place < len(tokens) else None,
        )


_OWN = {str(Outcome.CORRECT): True, str(Outcome.INCORRECT): False}


def _prompt(arguments: object) -> tuple[Message, ...]:
    """Of the first request: text, messages, or messages as a JSON text (chat models behind an interface)."""
    first = next(iter(arguments.values()), None) if isinstance(arguments, Mapping) else arguments
    while isinstance(first, list) and first and not isinstance(first[0], Mapping):
        first = first[0]
    if isinstance(first, Mapping):
        first = first.get("arg_0")
    if isinstance(first, str) and first.startswith('[{"role"'):
        try:
            first = json.loads(first)
        except ValueError:  # a prompt that only begins like one
            return messages_of(first)
    return messages_of(first)


def _drawn(samples: Sequence[OpenedFile]) -> list[str]:
    """Says where several completions have one score: which of them it is of is the filter's affair."""
    several = 0
    for file in samples:
        for _, row in file.lines:
            drawn = items(row.get("resps"))
            several += bool(drawn) and len(items(drawn[0])) > 1 and OURS not in row
    said = "rows hold several completions and one score, which is the filter's; each is one sample, with the first text"
    return [f"{several:,} {said}"] if several else []


def _sampling(file: OpenedFile, results: Fields, task: str) -> Fields:
    config = mapping(mapping(mapping(results.get("configs")).get(task)).get("generation_kwargs"))
    arguments = file.first().get("arguments")
    first = next(iter(arguments.values()), None) if isinstance(arguments, Mapping) else None
    return dict(mapping(mapping(first).get("arg_1")) or config)


def _claims(results: Fields, tasks: Sequence[tuple[str, str]], score: str | None) -> Iterator[Claim]:
    for task, benchmark in tasks:
        size = mapping(mapping(results.get("n-samples")).get(task))
        for name, value in mapping(mapping(results.get("results")).get(task)).items():
            number = share_or_none(value)
            if number is not None and "," in name:
                ours = ("avg", 0) if name == score else None
                yield Claim(benchmark, name, number, ours, over=count_or_none(size.get("effective")))
