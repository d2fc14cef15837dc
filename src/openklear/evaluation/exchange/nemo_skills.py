"""NeMo-Skills: output-rs*.jsonl, each file one sample of every problem, and metrics.json, read.

Rows are matched by id; by their problem's text where they have none; by position where they have neither.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
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
    mapping,
    mark_of,
    messages_of,
    other_scores,
    share_or_none,
    stop_of,
    text_or_none,
)
from openklear.evaluation.stored import Asked
from openklear.types import Outcome

LOOKED_FOR = (
    "rows with `symbolic_correct`, `judge_correct`, `is_correct`, `passing_base_tests` or `generation` "
    "(output*.jsonl), or a document of metrics with `pass@1` (metrics.json)"
)
SCORES = ("symbolic_correct", "judge_correct", "is_correct", "passing_base_tests", "passing_plus_tests")
_SEED = re.compile(r"(.*?)[-_]?rs(\d+)(?:[-_].*)?")
_MODE = re.compile(r"pass@(?P<pass>\d+)|pass@1\[avg-of-(?P<avg>\d+)\]|majority@(?P<maj>\d+)")


def role(file: OpenedFile) -> str | None:
    """What a file is to this tool; None: nothing."""
    first = file.first()
    if isinstance(file.document, dict) and any("pass@1" in mapping(one) for one in first.values()):
        return "metrics"
    known = any(name in first for name in SCORES) or {"generation", "problem"} <= first.keys()
    return "output" if known and "doc_id" not in first else None


def read(files: Sequence[tuple[str, OpenedFile]], choice: ImportChoice) -> ImportedFiles:
    """One benchmark: all its output files, and its part of metrics.json."""
    outputs = sorted((file for kind, file in files if kind == "output"), key=_place)
    if not outputs:
        raise DataError(f"{files[0][1].path}: holds sums alone; give its output*.jsonl too")
    benchmark = choice.benchmark or _benchmark(outputs)
    matched, how = _matched(outputs)
    names = [name for name in SCORES if _any_has(outputs, name)]
    score = first_score(names, choice, str(outputs[0].path))
    rows: list[JudgedRow] = []
    for sample, (file, keys) in enumerate(zip(outputs, matched, strict=True)):
        for (number, row), key in zip(file.lines, keys, strict=True):
            rows.append(_row(row, f"{file.path}:{number}", benchmark, key, sample, score, choice))
    metrics = [file.document for kind, file in files if kind == "metrics"]
    notes = other_scores(names, score) + how
    claims = list(chain.from_iterable(_claims(one, benchmark, score, rows) for one in metrics))
    if metrics and not claims:
        there = ", ".join(chain.from_iterable(metrics))
        notes.append(f"metrics.json has nothing of {benchmark}; --benchmark names one of {there}")
    return ImportedFiles("nemo-skills", None, None, rows, claims, score=score, notes=notes)


def _any_has(outputs: Sequence[OpenedFile], name: str) -> bool:
    return any(name in file.first() for file in outputs)


def _place(file: OpenedFile) -> tuple[int, str]:
    found = _SEED.fullmatch(file.path.stem)
    return (int(found[2]) if found else -1, str(file.path))


def _benchmark(outputs: Sequence[OpenedFile]) -> str:
    """NeMo-Skills keeps a benchmark's files in a directory of its name; they themselves are all called output."""
    names = {_name(file.path) for file in outputs}
    if len(names) > 1:
        said = f"the files are of several benchmarks ({', '.join(sorted(names))})"
        raise DataError(f"{outputs[0].path}: {said}; give those of one, or name it with --benchmark")
    return names.pop()


def _name(path: Path) -> str:
    found = _SEED.fullmatch(path.stem)
    name = found[1] if found else path.stem
    return path.absolute().parent.name if name in ("output", "") else name


def _matched(outputs: Sequence[OpenedFile]) -> tuple[list[list[str]], list[str]]:
    """The problems of each file's rows, and how they were told."""
    listed = [list(file.rows()) for file in outputs]
    rows = list(chain.from_iterable(listed))
    for name in ("id", "problem"):
        if all(text_or_none(row.get(name)) for row in rows):
            found = [_told_apart(one, name) for one in listed]
            return (found, []) if name == "id" else (_numbered(found), ["rows have no id: matched by problem text"])
    sizes = {len(one) for one in listed}
    if len(sizes) > 1:
        said = ", ".join(f"{file.path.name} {len(one)}" for file, one in zip(outputs, listed, strict=True))
        raise DataError(
            f"{outputs[0].path}: rows have neither ids nor problem texts, and the files differ in length ({said}), "
            "so nothing says which rows belong together; add an `id` to each row"
        )
    for place in range(len(listed[0])):
        answers = {str(one[place].get("expected_answer")) for one in listed}
        if len(answers) > 1:
            raise DataError(
                f"{outputs[0].path}: row {place + 1} has another expected_answer in another file, and there are no ids "
                f"to match rows by ({', '.join(sorted(answers))}); add an `id` to each row"
            )
    keys = [str(place) for place in range(sizes.pop())]
    said = "rows have neither ids nor problem texts: matched by position in their files"
    return [keys] * len(listed), [said] if len(listed) > 1 else []


def _told_apart(rows: Sequence[Fields], name: str) -> list[str]:
    """The `name` of each row. A problem that stands in a file twice is two problems."""
    seen: Counter[str] = Counter()
    found = []
    for row in rows:
        key = str(row[name])
        seen[key] += 1
        found.append(key if seen[key] == 1 else f"{key}#{seen[key]}")
    return found


def _numbered(files: Sequence[Sequence[str]]) -> list[list[str]]:
    """Problem texts as short ids: the order in which they first come up."""
    numbers: dict[str, str] = {}
    for text in chain.from_iterable(files):
        numbers.setdefault(text, str(len(numbers)))
    return [list(map(numbers.__getitem__, one)) for one in files]


def _row(
    row: Fields, where: str, benchmark: str, key: str, sample: int, score: str | None, choice: ImportChoice
) -> JudgedRow:
    tests = score is not None and score.startswith("passing_")
    asked = Asked(
        benchmark,
        key,
        choice.domain or ("code" if tests else "math"),
        messages_of(row.get("problem")),
        level=text_or_none(row.get("subset_for_metrics")) or text_or_none(row.get("level")),
        reference=text_or_none(row.get("expected_answer")),
    )
    return JudgedRow(
        asked,
        _mark(row, score, where),
        answer_of(row.get("generation"), row.get("reasoning_content")),
        sample,
        extracted=text_or_none(row.get("predicted_answer")),
        stop_reason=stop_of(row.get("finish_reason")),
        tokens=count_or_none(row.get("num_generated_tokens")),
    )


def _mark(row: Fields, score: str | None, where: str) -> Mark:
    if score is None:
        return Mark(Outcome.UNSCORABLE, "not judged: the file holds generations without verdicts")
    return mark_of(row.get(score), where)


def _claims(metrics: Fields, benchmark: str, score: str | None, rows: Sequence[JudgedRow]) -> Iterator[Claim]:
    """Of the benchmark, and of its parts, which are called BENCHMARK-SUBSET and are levels here."""
    levels: list[str | None] = [None, *dict.fromkeys(row.asked.level for row in rows if row.asked.level)]
    for level in levels:
        modes = mapping(metrics.get(benchmark if level is None else f"{benchmark}-{level}"))
        for mode, said in modes.items():
            value = share_or_none(mapping(said).get(score or ""))
            if value is not None:
                over = count_or_none(mapping(said).get("num_entries"))
                yield Claim(benchmark, mode, value / 100, _ours(mode), over, level)


def _ours(mode: str) -> tuple[str, int] | None:
    """`pass@1` of several samples is their mean, `majority@k` is over the first k with ties shared."""
    found = _MODE.fullmatch(mode)
    kinds: dict[str, Any] = found.groupdict() if found else {}
    return next(((kind, int(k)) for kind, k in kinds.items() if k), None)
