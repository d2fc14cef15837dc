"""What is written for other trainers reads back as it was, holds what they look for, and is the same bytes every time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openklear.data.export import FORMS, export
from openklear.data.formats import read_rows
from openklear.data.rows import Row
from openklear.data.shapes import Role, parse_rows
from openklear.errors import DataError, UsageError
from openklear.types import AnyTest, AssertTest, CallTest, Demonstration, Problem, Test

ASK = {"role": "user", "content": "1+1?"}
MATH = Problem("set/a", (ASK,), "math", "2", level="3", source="set")  # type: ignore[arg-type]


def program(*tests: AnyTest, checker: str | None = None) -> Problem:
    return Problem("set/c#2", (ASK,), "code", None, tests, checker, source="set")  # type: ignore[arg-type]


def read(path: Path, role: Role) -> list[Row]:
    return [
        row
        for where, raw in read_rows(path)
        for row in parse_rows(raw, where, role=role, source="set", domain=None)
        if isinstance(row, Row)
    ]


def written(form: str, rows: Sequence[Any], path: Path) -> list[dict[str, Any]]:
    assert export(form, rows, path) == len(rows)
    return [raw for _, raw in read_rows(path)]


def test_verl(tmp_path: Path) -> None:
    runs = program(Test("1 2\n", "3\n"), Test("3 4\n", "7\n"), checker="tokens")
    first, second = written("verl", [MATH, runs], tmp_path / "a.parquet")
    assert first == {
        "data_source": "set",
        "prompt": [ASK],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "2"},
        "extra_info": {"index": 0, "split": "train", "id": "set/a", "level": "3", "checker": None},
    }
    assert json.loads(second["reward_model"]["ground_truth"]) == {
        "inputs": ["1 2\n", "3 4\n"],
        "outputs": ["3\n", "7\n"],
    }
    assert second["extra_info"] == {"index": 1, "split": "train", "id": "set/c#2", "level": None, "checker": "tokens"}


def truth(tmp_path: Path, *tests: AnyTest) -> dict[str, Any]:
    (raw,) = written("verl", [program(*tests)], tmp_path / "a.parquet")
    found: dict[str, Any] = json.loads(raw["reward_model"]["ground_truth"])
    return found


def test_verl_calls_and_asserts(tmp_path: Path) -> None:
    calls = truth(
        tmp_path, CallTest("Solution.add", '[1, "a\\nb"]', "[3]"), CallTest("Solution.add", "[[2], {}]", "null")
    )
    assert calls == {
        "call": "Solution.add",
        "fn_name": "add",
        "inputs": ['1\n"a\\nb"', "[2]\n{}"],
        "outputs": ["[3]", "null"],
    }
    # As verl's scorers read them: every line of an input is the JSON of an argument.
    assert [[json.loads(line) for line in text.split("\n")] for text in calls["inputs"]] == [[1, "a\nb"], [[2], {}]]
    asserts = truth(tmp_path, AssertTest("assert f(1)"), AssertTest("assert f(2)"))
    assert asserts == {"assert_case": ["assert f(1)", "assert f(2)"], "inputs": ["", ""], "outputs": [None, None]}


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (program(), "set/c#2: has no tests"),
        (Problem("set/m", (ASK,), "math"), "set/m: has no answer"),  # type: ignore[arg-type]
        (program(Test("1", "2"), AssertTest("assert 1")), "several kinds"),
        (program(CallTest("f", "[]", "1"), CallTest("g", "[]", "1")), "several kinds or functions"),
        (program(CallTest("f", '{"x": 1}', "1")), "name their arguments"),
    ],
)
def test_what_verl_cannot_hold(tmp_path: Path, problem: Problem, words: str) -> None:
    with pytest.raises(DataError, match=words):
        export("verl", [problem], tmp_path / "a.parquet")


def test_trl_and_sharegpt(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Be short."}
    problem = Problem("set/a", (system, ASK), "math", "2", source="set")  # type: ignore[arg-type]
    known = {
        "answer": "2",
        "tests": "",
        "checker": "",
        "domain": "math",
        "level": "",
        "source": "set",
        "id": "set/a",
    }
    row = Demonstration(problem, "<think>ü</think>2")
    assert written("trl-sft", [row], tmp_path / "a.jsonl") == [
        {"prompt": [system, ASK], "completion": [{"role": "assistant", "content": row.response}], **known}
    ]
    assert written("trl-grpo", [problem], tmp_path / "b.jsonl") == [{"prompt": [system, ASK], **known}]
    turns = [("system", "Be short."), ("human", "1+1?"), ("gpt", row.response)]
    assert written("sharegpt", [row], tmp_path / "c.jsonl") == [
        {"conversations": [{"from": who, "value": text} for who, text in turns], **known}
    ]
    (cell,) = (raw["tests"] for raw in written("trl-grpo", [program(Test("1", "2"))], tmp_path / "d.jsonl"))
    assert cell == '[{"stdin": "1", "stdout": "2"}]'


MANY = 16_000
"""Rows of a kind before the first of another: more than `datasets` looks at (10 MiB) to tell a column's type."""


def in_turn(form: str, first: Problem, then: Problem, many: int) -> list[Any]:
    """Many rows of a kind, then some of another, whose columns are filled where the others' are not."""
    response = "<think>\nCount.\n</think>\n\n" + "2" * 700
    rows = [first] * many + [then] * 10
    return rows if FORMS[form].kind is Problem else [Demonstration(problem, response) for problem in rows]


@pytest.mark.parametrize("form", ["trl-sft", "sharegpt", "trl-grpo"])
@pytest.mark.parametrize("turned", [False, True])
def test_tables_are_read_whatever_the_order_of_the_rows(tmp_path: Path, form: str, turned: bool) -> None:
    code = program(Test("1 2\n", "3\n"), checker="tokens")
    pair = (code, MATH) if turned else (MATH, code)
    path = tmp_path / "a.jsonl"
    assert export(form, in_turn(form, *pair, many=2000), path) == 2010
    blocks = pyarrow.json.open_json(path, pyarrow.json.ReadOptions(use_threads=False, block_size=1 << 16))
    kinds = {name: blocks.schema.field(name).type for name in ("answer", "tests", "checker", "domain", "level")}
    assert set(kinds.values()) == {pa.string()}  # the first block tells the type
    assert sum(batch.num_rows for batch in blocks) == 2010


def test_datasets_reads_what_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    path = tmp_path / "a.jsonl"
    code = program(Test("1 2\n", "3\n"), checker="tokens")
    export("trl-sft", in_turn("trl-sft", MATH, code, MANY), path)
    read = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(read) == MANY + 10
    assert (read[0]["answer"], read[0]["tests"], read[0]["level"]) == ("2", "", "3")
    assert (read[-1]["answer"], read[-1]["tests"]) == ("", '[{"stdin": "1 2\\n", "stdout": "3\\n"}]')
    assert read[-1]["completion"][0]["role"] == "assistant"


def test_unknown_forms_and_other_rows(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match='the nearest is "sharegpt"'):
        export("share-gpt", [], tmp_path / "a")
    with pytest.raises(UsageError, match='form "verl" holds problems, but a demonstration was given'):
        export("verl", [Demonstration(MATH, "2")], tmp_path / "a")
    with pytest.raises(UsageError, match="holds demonstrations, but a problem"):
        export("trl-sft", [MATH], tmp_path / "a")


TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=10).filter(lambda text: bool(text.strip()))
VALUES = st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | TEXT, lambda inner: st.lists(inner, max_size=2))
JSON = VALUES.map(json.dumps)
ARGUMENTS = st.lists(VALUES, min_size=1, max_size=2).map(json.dumps)
KINDS = (
    st.lists(st.builds(Test, TEXT, TEXT), min_size=1, max_size=3),
    st.lists(st.builds(CallTest, st.sampled_from(["Solution.f"]), ARGUMENTS, JSON), min_size=1, max_size=3),
    st.lists(st.builds(AssertTest, TEXT), min_size=1, max_size=3),
)
LEVEL = st.none() | st.sampled_from(["1", "hard"])
PROMPT = st.builds(
    lambda before, ask: (*({"role": "system", "content": text} for text in before), {"role": "user", "content": ask}),
    st.lists(TEXT, max_size=1),
    TEXT,
)
ID = st.from_regex(r"set/[a-z#0-9]{1,4}", fullmatch=True)
ANSWER = st.text("0123456789/{}[]", min_size=1, max_size=5)
MATHS = st.builds(Problem, ID, PROMPT, st.just("math"), ANSWER, st.just(()), st.none(), LEVEL, st.just("set"))
CODES = st.builds(
    Problem,
    ID,
    PROMPT,
    st.just("code"),
    st.none(),
    st.one_of(*KINDS).map(tuple),
    st.sampled_from([None, "tokens"]),
    LEVEL,
    st.just("set"),
)
PROBLEMS = st.lists(MATHS | CODES, min_size=1, max_size=4)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(problems=PROBLEMS, responses=st.lists(TEXT, min_size=4, max_size=4))
def test_every_form_reads_back_and_is_the_same_bytes(
    tmp_path: Path, problems: list[Problem], responses: list[str]
) -> None:
    demonstrations = [Demonstration(*pair) for pair in zip(problems, responses, strict=False)]
    for form, found in FORMS.items():
        ending = "parquet" if form == "verl" else "jsonl"
        one, other = tmp_path / f"one.{ending}", tmp_path / f"other.{ending}"
        rows: list[Any] = list(problems if found.kind is Problem else demonstrations)
        export(form, rows, one)
        export(form, iter(rows), other)
        assert one.read_bytes() == other.read_bytes()
        if found.kind is Problem:
            assert [row.problem for row in read(one, "problems")] == problems, form
        else:
            back = read(one, "demonstrations")
            assert [(row.problem, row.response) for row in back] == [(d.problem, d.response) for d in demonstrations], (
                form
            )
