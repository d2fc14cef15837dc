"""Our data for other trainers: the same rows give the same bytes, in the same order.

    verl        problems        Parquet: data_source, prompt, ability, reward_model {style, ground_truth}, extra_info
                                {index, split, id, level, checker}
    trl-grpo    problems        JSON lines: prompt (messages), answer, tests, and what else is known
    trl-sft     demonstrations  JSON lines: prompt and completion (messages), and what else is known
    sharegpt    demonstrations  JSON lines: conversations [{from, value}], and what else is known

verl's scorers (verl 0.9.1, utils/reward_score) take a text as ground truth. For programs it is JSON: {"inputs",
"outputs"} for runs, with "fn_name" for calls (one argument a line, as JSON), and {"assert_case"} for code that asserts,
which only the sandbox scorer knows. verl chooses a scorer by data_source, which is our source's name: name a source as
verl does (taco, apps, codeforces, codecontests for programs), or score by a function of your own. Its scorers compare
outputs by equality and know no checker, so extra_info holds the checker's name. TRL hands every column beside prompt to
reward functions (its documentation, "Dataset formats"). In JSON lines no text is null: what is missing is "".

`shapes.parse_rows` reads all of them back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openklear.errors import DataError, UsageError
from openklear.types import AssertTest, CallTest, Demonstration, Message, Problem, Test
from openklear.verifiers.domains import DOMAINS


def _texts(*names: str) -> list[tuple[str, pa.DataType]]:
    return [(name, pa.string()) for name in names]


VERL_SCHEMA = pa.schema(
    [
        *_texts("data_source"),
        ("prompt", pa.list_(pa.struct(_texts("role", "content")))),
        *_texts("ability"),
        ("reward_model", pa.struct(_texts("style", "ground_truth"))),
        ("extra_info", pa.struct([("index", pa.int64()), *_texts("split", "id", "level", "checker")])),
    ]
)
_GROUP_ROWS = 4096
_SPEAKERS = {"user": "human", "assistant": "gpt"}

Rows = Iterable[Problem] | Iterable[Demonstration]


@dataclass(frozen=True, slots=True)
class Form:
    """What a form holds, and how it is written."""

    kind: type[Problem] | type[Demonstration]
    write: Callable[[Path, Iterator[dict[str, Any]]], int]
    columns: Callable[[Any, int], dict[str, Any]]
    """Of a row and its place."""


def export(form: str, rows: Rows, path: Path) -> int:
    """Write rows in a form of FORMS, in order; how many there were.

    UsageError for an unknown form or one that holds the other kind of rows; DataError for a row that the form cannot
    hold: one without an answer or tests, or with tests that verl cannot express.
    """
    found = FORMS.get(form)
    if found is None:
        near = get_close_matches(form, FORMS, n=1, cutoff=0.0)[0]
        raise UsageError(f'there is no form "{form}"; the nearest is "{near}" (known: {", ".join(FORMS)})')
    return found.write(path, _checked(form, found, rows))


def _checked(name: str, form: Form, rows: Rows) -> Iterator[dict[str, Any]]:
    for index, row in enumerate(rows):
        if not isinstance(row, form.kind):
            given, wanted = type(row).__name__.lower(), form.kind.__name__.lower()
            raise UsageError(f'form "{name}" holds {wanted}s, but a {given} was given; choose another form')
        yield form.columns(row, index)


def _verl(problem: Problem, index: int) -> dict[str, Any]:
    domain = DOMAINS[problem.domain]
    truth = _in_out(problem) if domain.tested else problem.answer
    if truth is None:
        raise DataError(f"{problem.id}: has no {domain.reference}, so verl cannot score it; remove it from the set")
    more = {"index": index, "split": "train", "id": problem.id, "level": problem.level, "checker": problem.checker}
    return {
        "data_source": problem.source,
        "prompt": list(problem.prompt),
        "ability": problem.domain,
        "reward_model": {"style": "rule", "ground_truth": truth},
        "extra_info": more,
    }


def _in_out(problem: Problem) -> str | None:
    """A program's tests as verl's scorers read them; `call` keeps the name that `fn_name` shortens."""
    tests = problem.tests
    runs = [test for test in tests if isinstance(test, Test)]
    calls = [test for test in tests if isinstance(test, CallTest)]
    asserts = [test.code for test in tests if isinstance(test, AssertTest)]
    if not tests:
        return None
    if len(runs) == len(tests):
        return _json({"inputs": [test.stdin for test in runs], "outputs": [test.stdout for test in runs]})
    if len(asserts) == len(tests):
        return _json({"assert_case": asserts, "inputs": [""] * len(asserts), "outputs": [None] * len(asserts)})
    arguments = [json.loads(test.args) for test in calls]
    names = {test.call for test in calls}
    if len(calls) < len(tests) or len(names) > 1 or not all(isinstance(one, list) for one in arguments):
        what = "its tests are of several kinds or functions, or name their arguments, which verl cannot express"
        raise DataError(f"{problem.id}: {what}; remove it from the set")
    (name,) = names
    inputs = ["\n".join(map(_json, one)) for one in arguments]
    outputs = [_json(json.loads(test.expected)) for test in calls]
    return _json({"call": name, "fn_name": name.rpartition(".")[2], "inputs": inputs, "outputs": outputs})


def _grpo(problem: Problem, index: int) -> dict[str, Any]:
    return {"prompt": list(problem.prompt), **_known(problem)}


def _sft(row: Demonstration, index: int) -> dict[str, Any]:
    said = Message(role="assistant", content=row.response)
    return {"prompt": list(row.problem.prompt), "completion": [said], **_known(row.problem)}


def _sharegpt(row: Demonstration, index: int) -> dict[str, Any]:
    turns = [*row.problem.prompt, Message(role="assistant", content=row.response)]
    said = [{"from": _SPEAKERS.get(turn["role"], turn["role"]), "value": turn["content"]} for turn in turns]
    return {"conversations": said, **_known(row.problem)}


def _known(problem: Problem) -> dict[str, Any]:
    """Every row has every key, tests are JSON text, and what is missing is empty.

    Readers that take a column's type from the first rows (`datasets`) would find a type of its own in a null there, and
    refuse the first text after it.
    """
    tests = list(map(asdict, problem.tests))
    return {
        "answer": problem.answer or "",
        "tests": _json(tests) if tests else "",
        "checker": problem.checker or "",
        "domain": problem.domain,
        "level": problem.level or "",
        "source": problem.source,
        "id": problem.id,
    }


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _write_lines(path: Path, rows: Iterator[dict[str, Any]]) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(_json(row) + "\n")
            count += 1
    return count


def _write_parquet(path: Path, rows: Iterator[dict[str, Any]]) -> int:
    count = 0
    with pq.ParquetWriter(path, VERL_SCHEMA, compression="zstd", version="2.6") as writer:
        while batch := list(islice(rows, _GROUP_ROWS)):
            writer.write_table(pa.Table.from_pylist(batch, schema=VERL_SCHEMA), row_group_size=_GROUP_ROWS)
            count += len(batch)
    return count


FORMS: dict[str, Form] = {
    "verl": Form(Problem, _write_parquet, _verl),
    "trl-grpo": Form(Problem, _write_lines, _grpo),
    "trl-sft": Form(Demonstration, _write_lines, _sft),
    "sharegpt": Form(Demonstration, _write_lines, _sharegpt),
}
"""By name."""
