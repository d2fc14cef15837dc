"""The demo world: problems, demonstrations of mixed quality and evaluation sets, written as ordinary files.

It stands in for the public data sets where there is no network and little time: small enough that a transformer of
0.2 M parameters learns it on a CPU in minutes, dirty enough that curation has real work. ``write_world`` writes

    demonstrations/careful.jsonl    right answers; ``messages`` rows; some duplicates and leaked evaluation prompts
    demonstrations/sloppy.parquet   wrong more often the harder the level; ShareGPT ``conversations`` rows
    demonstrations/noise.jsonl      mangled traces, unrelated text, wrong answers; ``conversations`` rows
    problems/{math,code}.jsonl      prompts for reinforcement learning, with answers or tests; some leaks
    validation/{math,code}.jsonl    for choices made along the way
    heldout/{math,code}.jsonl       for the final scores

Everything follows from the recipe: the same recipe writes the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openklear.demo import arithmetic, programs
from openklear.think import CLOSE, OPEN

DOMAINS = ("math", "code")
LEVELS = (1, 2, 3, 4)

TEACHERS = {"careful": 0.40, "sloppy": 0.45, "noise": 0.15}
"""Teacher -> share of the demonstrations."""

SLOPPY_SLIPS = {1: 0.30, 2: 0.45, 3: 0.60, 4: 0.75}
"""Level -> share of the sloppy teacher's answers that are wrong."""

DUPLICATES = 0.04
"""Exact copies planted among the demonstrations, as a share of them."""

LEAKS = 0.13
"""Evaluation problems planted among the demonstrations, and again among the problems, as a share of the evaluation."""

WORDS = (*arithmetic.WORDS, *programs.WORDS)
"""Longer strings that a character tokenizer for this world may hold as single tokens; they halve its sequences."""

MESSAGES = ("messages", "role", "content", "user", "assistant")
CONVERSATIONS = ("conversations", "from", "value", "human", "gpt")
"""A column of turns, and how its turns are written."""

_DRAWS_PER_PROMPT = 1000


@dataclass(frozen=True, slots=True)
class Exercise:
    """A problem with the answers that teachers give to it."""

    prompt: str
    domain: str
    level: int
    key: str
    """What makes two problems the same: the expression of a chain, the words of a task."""
    right: str
    """A right response."""
    wrong: Callable[[Random], str]
    """Draws a well-formed wrong response."""
    answer: str | None = None
    tests: tuple[dict[str, str], ...] = ()

    def columns(self) -> dict[str, Any]:
        """The columns that every file has."""
        tests = list(self.tests) or None
        return {"domain": self.domain, "level": str(self.level), "answer": self.answer, "tests": tests}


def write_world(
    directory: Path, *, seed: int, demonstrations: int, problems: int, validation: int, heldout: int
) -> None:
    """Write the whole world under ``directory``. Not atomic: the caller renames a finished directory.

    Counts are per domain, before leaks (among problems and demonstrations) and duplicates (the latter) are planted.
    """
    rows: list[dict[str, Any]] = []
    for domain in DOMAINS:
        exercises = _distinct_exercises(domain, _random(seed, domain, "items"))
        counts = {"validation": validation, "heldout": heldout, "problems": problems, "demonstrations": demonstrations}
        made = {split: list(islice(exercises, count)) for split, count in counts.items()}
        rng, asked = _random(seed, domain, "leaks"), made["validation"] + made["heldout"]
        leaks, leaked = (rng.sample(asked, round(LEAKS * len(asked))) for _ in range(2))
        taught, made["problems"] = made.pop("demonstrations"), made["problems"] + leaks
        for split, those in made.items():
            _write_jsonl(directory / split / f"{domain}.jsonl", _problem_rows(split, those))
        rows += _demonstrations(_random(seed, domain, "teachers"), taught, leaked)
    _random(seed, "order").shuffle(rows)
    _write_demonstrations(rows, directory / "demonstrations")


def _random(seed: int, *purpose: str) -> Random:
    """An independent generator for each purpose."""
    digest = blake2b("/".join((str(seed), *purpose)).encode(), digest_size=8).digest()
    return Random(int.from_bytes(digest, "big"))


def _distinct_exercises(domain: str, rng: Random) -> Iterator[Exercise]:
    """Endless problems, no two alike, the levels in turn."""
    seen: set[str] = set()
    while True:
        for level in LEVELS:
            for _ in range(_DRAWS_PER_PROMPT):
                exercise = _draw_exercise(domain, rng, level)
                if exercise.key not in seen:
                    break
            else:
                raise ValueError(f"the demo world has no more {domain} problems of level {level}; ask for fewer")
            seen.add(exercise.key)
            yield exercise


def _draw_exercise(domain: str, rng: Random, level: int) -> Exercise:
    if domain == "math":
        chain = arithmetic.draw_chain(rng, level)
        prompt, key, right = arithmetic.word(rng, chain), chain.expression(), arithmetic.solution(chain)
        wrong = partial(arithmetic.slipped_solution, chain=chain)
        return Exercise(prompt, domain, level, key, right, wrong, answer=chain.answer)
    task = programs.draw_task(rng, level)
    prompt, tests = programs.word(rng, task), tuple(programs.tests(rng, task))
    wrong = partial(programs.slipped_solution, task=task)
    return Exercise(prompt, domain, level, prompt.lower(), programs.solution(task), wrong, tests=tests)


def _demonstrations(rng: Random, taught: Sequence[Exercise], leaked: Sequence[Exercise]) -> list[dict[str, Any]]:
    """Each exercise answered by one teacher, then leaked evaluation prompts, then exact copies of earlier rows."""
    teachers = rng.choices(list(TEACHERS), weights=list(TEACHERS.values()), k=len(taught))
    rows = [_demonstration(rng, exercise, teacher) for exercise, teacher in zip(taught, teachers, strict=True)]
    rows += [_demonstration(rng, exercise, "careful") for exercise in leaked]
    copies = rng.sample(rows, round(DUPLICATES * len(taught)))
    return rows + [dict(row) for row in copies]


def _demonstration(rng: Random, exercise: Exercise, teacher: str) -> dict[str, Any]:
    if teacher == "careful":
        text = exercise.right
    elif teacher == "sloppy":
        text = exercise.wrong(rng) if rng.random() < SLOPPY_SLIPS[exercise.level] else exercise.right
    else:
        text = _mangled(rng, exercise)
    return {"prompt": exercise.prompt, "completion": text, "teacher": teacher, **exercise.columns()}


def _mangled(rng: Random, exercise: Exercise) -> str:
    """What the noise teacher says: a broken trace, something else altogether, or a confident wrong answer."""
    right, kind = exercise.right, rng.randrange(6)
    if kind == 0:
        return right.replace(CLOSE, "", 1)
    if kind == 1:
        return right.replace(OPEN, "", 1)
    if kind == 2:
        return right[: rng.randint(8, len(right) // 2)]
    if kind == 3:
        return right.replace(CLOSE, CLOSE + OPEN, 1)
    if kind == 4:
        return rng.choice(("I do not know.", "Please see the notes above.", "As said before, it is clear."))
    return exercise.wrong(rng)


def _write_demonstrations(rows: Sequence[dict[str, Any]], directory: Path) -> None:
    """One file per teacher, in the shapes that public data sets come in."""
    by_teacher: dict[str, list[dict[str, Any]]] = {teacher: [] for teacher in TEACHERS}
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
        {"id": f"{split}-{exercise.domain}-{index:05d}", "prompt": exercise.prompt, **exercise.columns()}
        for index, exercise in enumerate(exercises)
    ]


def _write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")


def _write_parquet(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    turn = pa.struct([("from", pa.string()), ("value", pa.string())])
    test = pa.struct([("input", pa.string()), ("output", pa.string())])
    names = ("id", "domain", "level", "answer", "teacher")
    fields = [(name, pa.string()) for name in names]
    schema = pa.schema([*fields, ("conversations", pa.list_(turn)), ("tests", pa.list_(test))])
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path)
