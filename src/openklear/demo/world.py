"""The demo world: problems, demonstrations of mixed quality and evaluation sets, written as ordinary files.

It stands in for the public data sets where there is no network and little time: small enough that a transformer of
0.2 M parameters learns it on a CPU in minutes, dirty enough that curation has real work. ``write_world`` writes

    demonstrations/careful.jsonl    right answers; ``messages`` rows; some duplicates and leaked evaluation prompts
    demonstrations/sloppy.parquet   wrong more often the harder the level; ShareGPT ``conversations`` rows
    demonstrations/noise.jsonl      mangled traces, unrelated text, wrong answers; ``conversations`` rows
    problems/{math,code}.jsonl      prompts for reinforcement learning, with answers or tests; some leaks
    validation/{math,code}.jsonl    for choices made along the way
    heldout/{math,code}.jsonl       for the final scores

and, where the recipe asks for them,

    planted/faulty.jsonl            the code problems of problems/ whose tests are faulty, and what passes those
    responses/responses.parquet     graded responses of a teacher to the problems of problems/: `world:responses`

Everything follows from the recipe: the same recipe writes the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openklear.demo import arithmetic, faulty, programs, teachers
from openklear.demo.exercises import DOMAINS, Exercise, distinct_exercises, generator
from openklear.demo.responses import responses as graded_responses

LEAKS = 0.13
"""Evaluation problems planted among the demonstrations, and again among the problems, as a share of the evaluation."""

WORDS = (*arithmetic.WORDS, *programs.WORDS)
"""Longer strings that a character tokenizer for this world may hold as single tokens; they halve its sequences."""

MESSAGES = ("messages", "role", "content", "user", "assistant")
CONVERSATIONS = ("conversations", "from", "value", "human", "gpt")
"""A column of turns, and how its turns are written."""

Taught = tuple[list[Exercise], list[Exercise]]
"""What teachers are asked: exercises, and evaluation problems that leak."""
Column = tuple[str, pa.DataType]


def write_world(
    directory: Path,
    *,
    seed: int,
    demonstrations: int,
    problems: int,
    validation: int,
    heldout: int,
    same_prompts: bool = False,
    slips: float = 1.0,
    faulty_tests: float = 0.0,
    responses: int = 0,
) -> None:
    """Write the whole world under ``directory``. Not atomic: the caller renames a finished directory.

    Counts are per domain, before leaks (among problems and demonstrations) and duplicates (the latter) are planted;
    ``demonstrations`` over all teachers, or of each with ``same_prompts``. ``slips`` scales how often the sloppy
    teacher is wrong, ``faulty_tests`` is a share of the RL code problems of levels 2 to 4, ``responses`` are those to
    each RL problem. Raises ValueError where there are not so many problems.
    """
    counts = {"validation": validation, "heldout": heldout, "problems": problems, "demonstrations": demonstrations}
    taught: dict[str, Taught] = {}
    graded: list[dict[str, Any]] = []
    for domain in DOMAINS:
        exercises = distinct_exercises(domain, generator(seed, domain, "items"))
        made = {split: list(islice(exercises, count)) for split, count in counts.items()}
        rng, asked = generator(seed, domain, "leaks"), made["validation"] + made["heldout"]
        leaks, leaked = (rng.sample(asked, round(LEAKS * len(asked))) for _ in range(2))
        taught[domain] = (made.pop("demonstrations"), leaked)
        if faulty_tests and domain == "code":
            rng = generator(seed, domain, "faulty")
            made["problems"], planted = faulty.plant(rng, made["problems"], faulty_tests)
            _write_jsonl(directory / "planted" / "faulty.jsonl", _planted_rows(made["problems"], planted))
        made["problems"] = made["problems"] + leaks
        for split, those in made.items():
            _write_jsonl(directory / split / f"{domain}.jsonl", _problem_rows(split, those))
        if responses:
            graded += graded_responses(seed, made["problems"], responses)
    if responses:
        _write_responses(directory / "responses" / "responses.parquet", graded)
    _write_demonstrations(_demonstrations(seed, taught, same_prompts, slips), directory / "demonstrations")


def _demonstrations(seed: int, taught: Mapping[str, Taught], same_prompts: bool, slips: float) -> list[dict[str, Any]]:
    """The rows of every teacher and domain, in an order drawn by the seed."""
    if not same_prompts:
        rows: list[dict[str, Any]] = []
        for domain, (exercises, leaked) in taught.items():
            rows += teachers.shared_out(generator(seed, domain, "teachers"), exercises, leaked, slips)
        generator(seed, "order").shuffle(rows)
        return rows
    by_teacher: dict[str, list[dict[str, Any]]] = {teacher: [] for teacher in teachers.TEACHERS}
    for domain, (exercises, leaked) in taught.items():
        for teacher, mine in teachers.by_everyone(seed, domain, exercises, leaked, slips).items():
            by_teacher[teacher] += mine
    for mine in by_teacher.values():  # the same order for everyone: row n answers the same prompt in every file
        generator(seed, "order").shuffle(mine)
    return list(chain.from_iterable(by_teacher.values()))


def _write_demonstrations(rows: Sequence[dict[str, Any]], directory: Path) -> None:
    """One file per teacher, in the shapes that public data sets come in."""
    by_teacher: dict[str, list[dict[str, Any]]] = {teacher: [] for teacher in teachers.TEACHERS}
    for row in rows:
        shape = MESSAGES if row["teacher"] == "careful" else CONVERSATIONS
        mine = by_teacher[row["teacher"]]
        mine.append({"id": f"{row['teacher']}-{len(mine):05d}", **_shaped(row, *shape)})
    _write_jsonl(directory / "careful.jsonl", by_teacher["careful"])
    _write_parquet(directory / "sloppy.parquet", by_teacher["sloppy"])
    _write_jsonl(directory / "noise.jsonl", by_teacher["noise"])


def _shaped(row: dict[str, Any], column: str, who: str, what: str, asks: str, answers: str) -> dict[str, Any]:
    turns = [{who: asks, what: row["prompt"]}, {who: answers, what: row["completion"]}]
    return {column: turns, **{name: row[name] for name in ("domain", "level", "answer", "tests", "teacher")}}


def _problem_rows(split: str, exercises: Sequence[Exercise]) -> list[dict[str, Any]]:
    return [
        {"id": _id(split, exercise, index), "prompt": exercise.prompt, **exercise.columns()}
        for index, exercise in enumerate(exercises)
    ]


def _planted_rows(exercises: Sequence[Exercise], planted: Sequence[faulty.Planted]) -> list[dict[str, Any]]:
    """Which problems have faulty tests, and the wrong program that passes them."""
    found = []
    for one in planted:
        exercise = exercises[one.index]
        name, level = _id("problems", exercise, one.index), str(exercise.level)
        found.append({"id": name, "level": level, "prompt": exercise.prompt, "program": one.task.program()})
    return found


def _id(split: str, exercise: Exercise, index: int) -> str:
    return f"{split}-{exercise.domain}-{index:05d}"


def _write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")


def _write_parquet(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    names = ("id", "domain", "level", "answer", "teacher")
    _write_table(path, rows, [*_texts(*names), ("conversations", _turns("from", "value")), ("tests", _TESTS)])


def _write_responses(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """The columns of `openklear distill` that say what was asked, what was answered, and how that was graded."""
    names = ("domain", "level", "answer", "teacher", "response", "outcome", "extracted")
    numbers = [(name, pa.int32()) for name in ("sample", "passed", "total")]
    _write_table(path, rows, [("prompt", _turns("role", "content")), ("tests", _TESTS), *_texts(*names), *numbers])


def _texts(*names: str) -> list[Column]:
    return [(name, pa.string()) for name in names]


def _turns(*names: str) -> pa.DataType:
    return pa.list_(pa.struct(_texts(*names)))


_TESTS = pa.list_(pa.struct(_texts("input", "output")))


def _write_table(path: Path, rows: Sequence[dict[str, Any]], columns: Sequence[Column]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=pa.schema(columns)), path)
