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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any, Protocol, TypeVar

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

_DRAWS_PER_PROMPT = 1000

T = TypeVar("T")


class WorldRecipe(Protocol):
    """What ``write_world`` reads; every count is per domain."""

    @property
    def seed(self) -> int:
        """Seed of everything random."""
        ...

    @property
    def demonstrations(self) -> int:
        """Demonstrations, before leaks and duplicates are planted."""
        ...

    @property
    def problems(self) -> int:
        """Prompts for reinforcement learning, before leaks are planted."""
        ...

    @property
    def validation(self) -> int:
        """Validation problems."""
        ...

    @property
    def heldout(self) -> int:
        """Held-out problems."""
        ...


@dataclass(frozen=True)
class Item:
    """A problem with the thing it was made from, so that teachers can answer it rightly or wrongly."""

    prompt: str
    domain: str
    level: int
    made_from: arithmetic.Chain | programs.Task
    tests: tuple[dict[str, str], ...] = ()

    @property
    def key(self) -> str:
        """What makes two problems the same: the expression of a chain, the words of a task."""
        text = self.made_from.expression() if isinstance(self.made_from, arithmetic.Chain) else self.prompt
        return " ".join(text.lower().split())

    def right(self) -> str:
        """A right answer."""
        if isinstance(self.made_from, arithmetic.Chain):
            return arithmetic.solution(self.made_from)
        return programs.solution(self.made_from)

    def wrong(self, rng: Random) -> str:
        """A well-formed wrong answer."""
        if isinstance(self.made_from, arithmetic.Chain):
            return arithmetic.slipped_solution(rng, self.made_from)
        return programs.slipped_solution(rng, self.made_from)

    def columns(self) -> dict[str, Any]:
        """The columns that every file has."""
        answer = self.made_from.answer if isinstance(self.made_from, arithmetic.Chain) else None
        tests = list(self.tests) or None
        return {"domain": self.domain, "level": str(self.level), "answer": answer, "tests": tests}


def write_world(world: WorldRecipe, directory: Path) -> None:
    """Write the whole world under ``directory``. Not atomic: the caller renames a finished directory."""
    demonstrations: list[dict[str, Any]] = []
    for domain in DOMAINS:
        items = _distinct_items(domain, _random(world.seed, domain, "items"))
        validation = [next(items) for _ in range(world.validation)]
        heldout = [next(items) for _ in range(world.heldout)]
        problems = [next(items) for _ in range(world.problems)]
        taught = [next(items) for _ in range(world.demonstrations)]
        rng = _random(world.seed, domain, "leaks")
        problem_leaks = _share(rng, validation + heldout, LEAKS)
        demonstration_leaks = _share(rng, validation + heldout, LEAKS)
        for split, rows in (("validation", validation), ("heldout", heldout), ("problems", problems + problem_leaks)):
            _write_jsonl(directory / split / f"{domain}.jsonl", _problem_rows(split, rows))
        demonstrations += _demonstrations(_random(world.seed, domain, "teachers"), taught, demonstration_leaks)
    _random(world.seed, "order").shuffle(demonstrations)
    _write_demonstrations(demonstrations, directory / "demonstrations")


def _random(seed: int, *purpose: str) -> Random:
    """An independent generator for each purpose."""
    digest = blake2b("/".join((str(seed), *purpose)).encode(), digest_size=8).digest()
    return Random(int.from_bytes(digest, "big"))


def _distinct_items(domain: str, rng: Random) -> Iterator[Item]:
    """Endless problems, no two alike, the levels in turn."""
    seen: set[str] = set()
    while True:
        for level in LEVELS:
            for _ in range(_DRAWS_PER_PROMPT):
                item = _draw_item(domain, rng, level)
                if item.key not in seen:
                    break
            else:
                raise ValueError(f"the demo world has no more {domain} problems of level {level}; ask for fewer")
            seen.add(item.key)
            yield item


def _draw_item(domain: str, rng: Random, level: int) -> Item:
    if domain == "math":
        chain = arithmetic.draw_chain(rng, level)
        return Item(arithmetic.word(rng, chain), domain, level, chain)
    task = programs.draw_task(rng, level)
    return Item(programs.word(rng, task), domain, level, task, tuple(programs.tests(rng, task)))


def _demonstrations(rng: Random, taught: Sequence[Item], leaked: Sequence[Item]) -> list[dict[str, Any]]:
    """Each item answered by one teacher, then leaked evaluation prompts, then exact copies of earlier rows."""
    teachers = rng.choices(list(TEACHERS), weights=list(TEACHERS.values()), k=len(taught))
    rows = [_demonstration(rng, item, teacher) for item, teacher in zip(taught, teachers, strict=True)]
    rows += [_demonstration(rng, item, "careful") for item in leaked]
    copies = rng.sample(rows, round(DUPLICATES * len(taught)))
    return rows + [dict(row) for row in copies]


def _demonstration(rng: Random, item: Item, teacher: str) -> dict[str, Any]:
    if teacher == "careful":
        text = item.right()
    elif teacher == "sloppy":
        text = item.wrong(rng) if rng.random() < SLOPPY_SLIPS[item.level] else item.right()
    else:
        text = _mangled(rng, item)
    return {"prompt": item.prompt, "completion": text, "teacher": teacher, **item.columns()}


def _mangled(rng: Random, item: Item) -> str:
    """What the noise teacher says: a broken trace, something else altogether, or a confident wrong answer."""
    right, kind = item.right(), rng.randrange(6)
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
    return item.wrong(rng)


def _write_demonstrations(rows: Sequence[dict[str, Any]], directory: Path) -> None:
    """One file a teacher, in the shapes that public data sets come in."""
    by_teacher: dict[str, list[dict[str, Any]]] = {teacher: [] for teacher in TEACHERS}
    for row in rows:
        shape = _as_messages if row["teacher"] == "careful" else _as_conversations
        mine = by_teacher[row["teacher"]]
        mine.append({"id": f"{row['teacher']}-{len(mine):05d}", **shape(row)})
    _write_jsonl(directory / "careful.jsonl", by_teacher["careful"])
    _write_parquet(directory / "sloppy.parquet", by_teacher["sloppy"])
    _write_jsonl(directory / "noise.jsonl", by_teacher["noise"])


def _as_messages(row: dict[str, Any]) -> dict[str, Any]:
    turns = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]
    return {"messages": turns, **_extra(row)}


def _as_conversations(row: dict[str, Any]) -> dict[str, Any]:
    turns = [{"from": "human", "value": row["prompt"]}, {"from": "gpt", "value": row["completion"]}]
    return {"conversations": turns, **_extra(row)}


def _extra(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("domain", "level", "answer", "tests", "teacher")}


def _problem_rows(split: str, items: Sequence[Item]) -> list[dict[str, Any]]:
    return [
        {"id": f"{split}-{item.domain}-{index:05d}", "prompt": item.prompt, **item.columns()}
        for index, item in enumerate(items)
    ]


def _share(rng: Random, rows: Sequence[T], share: float) -> list[T]:
    return rng.sample(rows, round(share * len(rows)))


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
