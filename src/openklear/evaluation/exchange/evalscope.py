"""evalscope: predictions/, reviews/ and reports/, read. Reviews hold the verdicts; the others make them whole.

A problem is what evalscope calls a group, and its repeats are samples; a subset is a level.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
    count_or_none,
    first_score,
    items,
    mapping,
    mark_of,
    messages_of,
    other_scores,
    share_or_none,
    stop_of,
    text_of,
    text_or_none,
)
from openklear.evaluation.stored import Asked
from openklear.types import Outcome

LOOKED_FOR = (
    "rows with `sample_score` (reviews) or with `index` and `model_output` (predictions), "
    "or a document with `metrics` and `dataset_name` (reports)"
)
_PLACE = re.compile(r"(?:.*_)?(?:reviews|predictions)_(.+)")


@dataclass(frozen=True, slots=True)
class ReviewedSet:
    """What one file of reviews is about."""

    benchmark: str
    subset: str | None


def role(file: OpenedFile) -> str | None:
    """What a file is to this tool; None: nothing."""
    first = file.first()
    if isinstance(file.document, dict) and {"metrics", "dataset_name"} <= first.keys():
        return "report"
    if "sample_score" in first:
        return "reviews"
    return "predictions" if {"index", "model_output"} <= first.keys() else None


def read(files: Sequence[tuple[str, OpenedFile]], choice: ImportChoice) -> ImportedFiles:
    """The rows of all reviews, with what predictions say of how they ended, and the reports' scores."""
    reports = [file.document for kind, file in files if kind == "report"]
    predictions, reviews = _by_stem(files, "predictions"), _by_stem(files, "reviews")
    if not reviews and not predictions:
        raise DataError(f"{files[0][1].path}: a report holds sums alone; give its reviews too")
    names = list(chain.from_iterable(map(_scores, reviews.values())))
    score = first_score(names, choice, str(files[0][1].path))
    notes, rows = other_scores(names, score), []
    for stem in dict.fromkeys((*reviews, *predictions)):
        about = _about(stem, reports, choice)
        drawn = dict(_predicted(predictions.get(stem)))
        judged = list(_rows(reviews.get(stem), drawn, about, score, choice))
        lost = list(_unjudged(drawn, about, choice))
        rows += judged + lost
        if lost:
            notes.append(f"{stem}: {len(lost):,} predictions have no review, and are unscorable")
    first = next(chain(reviews.values(), predictions.values())).first()
    return ImportedFiles(
        tool="evalscope",
        version=None,
        model=next((str(one["model_name"]) for one in reports if one.get("model_name")), None) or _model(first),
        rows=rows,
        claims=list(_claims(reports, score, choice)),
        score=score,
        notes=notes,
    )


def _by_stem(files: Sequence[tuple[str, OpenedFile]], wanted: str) -> dict[str, OpenedFile]:
    """DataError where two are of one set: those of several models are several evaluations."""
    found: dict[str, OpenedFile] = {}
    for kind, file in files:
        if kind == wanted:
            other = found.setdefault(_stem(file.path), file)
            if other is not file:
                said = f"is of the same set as {other.path}; import each model, and each run, by itself"
                raise DataError(f"{file.path}: {said}")
    return found


def _stem(path: Path) -> str:
    """`DATASET_SUBSET`: predictions and reviews of one set have it in common."""
    found = _PLACE.fullmatch(path.stem)
    return found[1] if found else path.stem


def _about(stem: str, reports: Sequence[Fields], choice: ImportChoice) -> ReviewedSet:
    """Which data set and subset a file is of; only a report says where the one's name ends."""
    for report in reports:
        name = str(report["dataset_name"])
        if stem == name or stem.startswith(f"{name}_"):
            return ReviewedSet(choice.benchmark or name, stem[len(name) + 1 :] or None)
    return ReviewedSet(choice.benchmark or stem, None)


def _scores(file: OpenedFile) -> Iterator[str]:
    for _, row in file.lines:
        score = mapping(mapping(row.get("sample_score")).get("score"))
        main = score.get("main_score_name")
        yield from ([main] if isinstance(main, str) else [])
        yield from mapping(score.get("value"))


def _predicted(file: OpenedFile | None) -> Iterator[tuple[str, Fields]]:
    for _, row in file.lines if file else ():
        yield str(row.get("index")), row


def _rows(
    file: OpenedFile | None, drawn: dict[str, Fields], about: ReviewedSet, score: str | None, choice: ImportChoice
) -> Iterator[JudgedRow]:
    """The reviewed rows; their predictions are taken out of `drawn`."""
    for number, row in file.lines if file else ():
        assert file is not None
        where = f"{file.path}:{number}"
        reviewed = mapping(row.get("sample_score"))
        name = text_or_none(reviewed.get("group_id", row.get("index")))
        if name is None:
            raise DataError(f"{where}: has neither a group_id nor an index; it is no review of evalscope")
        spoken = mapping(reviewed.get("score"))
        turns = items(row.get("messages"))
        answer = mapping(turns[-1]) if turns and mapping(turns[-1]).get("role") == "assistant" else {}
        prediction = drawn.pop(str(row.get("index")), {})
        output = mapping(prediction.get("model_output"))
        yield JudgedRow(
            _asked(name, about, choice, turns, row.get("target")),
            mark_of(mapping(spoken.get("value")).get(score) if score else None, where),
            _text(answer, output) or text_or_none(spoken.get("prediction")),
            extracted=text_or_none(spoken.get("extracted_prediction")),
            stop_reason=stop_of(_choice(output).get("stop_reason")),
            tokens=_tokens(output, answer),
        )


def _unjudged(drawn: Mapping[str, Fields], about: ReviewedSet, choice: ImportChoice) -> Iterator[JudgedRow]:
    for name, row in drawn.items():
        output = mapping(row.get("model_output"))
        yield JudgedRow(
            _asked(name, about, choice, items(row.get("messages")), None),
            Mark(Outcome.UNSCORABLE, "a prediction without a review"),
            _text({}, output),
            stop_reason=stop_of(_choice(output).get("stop_reason")),
            tokens=_tokens(output, {}),
        )


def _asked(name: str, about: ReviewedSet, choice: ImportChoice, turns: list[Any], target: object) -> Asked:
    problem = name if about.subset is None else f"{about.subset}/{name}"
    domain = choice.domain or "math"
    return Asked(about.benchmark, problem, domain, messages_of(turns), about.subset, text_or_none(target))


def _choice(output: Fields) -> Fields:
    choices = items(output.get("choices"))
    return mapping(choices[0]) if choices else {}


def _text(answer: Fields, output: Fields) -> str | None:
    message = answer or mapping(_choice(output).get("message"))
    return text_of(message.get("content"), message.get("reasoning_content")) if message else None


def _tokens(output: Fields, answer: Fields) -> int | None:
    used = mapping(output.get("usage")) or mapping(answer.get("perf_metrics"))
    return count_or_none(used.get("output_tokens"))


def _model(row: Fields) -> str | None:
    named = [mapping(one).get("model") for one in items(row.get("messages"))]
    return next((str(one) for one in (row.get("model"), *named) if one), None)


def _claims(reports: Sequence[Fields], score: str | None, choice: ImportChoice) -> Iterator[Claim]:
    for report in reports:
        benchmark = choice.benchmark or str(report["dataset_name"])
        whole = share_or_none(report.get("score"))
        metrics = [mapping(one) for one in items(report.get("metrics"))]
        kinds = [("avg", 0) if one.get("name") in (score, f"mean_{score}") else None for one in metrics]
        if whole is not None:
            yield Claim(benchmark, "score", whole, kinds[0] if kinds else None)
        for metric, ours in zip(metrics, kinds, strict=True):
            name = str(metric.get("name"))
            for one, level in _parts(metric):
                value = share_or_none(one.get("score"))
                if value is not None:
                    # `num` counts samples, not problems, where there are repeats.
                    yield Claim(benchmark, name, value, ours, level=level)


def _parts(metric: Fields) -> list[tuple[Fields, str | None]]:
    """A metric over everything, and over each subset where there are several."""
    categories = map(mapping, items(metric.get("categories")))
    subsets = list(chain.from_iterable(map(mapping, items(one.get("subsets"))) for one in categories))
    counted = Counter(str(one.get("name")) for one in subsets)
    alone = [(one, str(one["name"])) for one in subsets if counted[str(one.get("name"))] == 1]
    return [(metric, None), *(alone if len(subsets) > 1 else [])]
