"""Every file of the real material loads whole, and random rows come back from every shape they are written in."""

from __future__ import annotations

import ast
import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.shared_data import shared

from openklear.data.formats import read_rows
from openklear.data.rows import Dropped, Row
from openklear.data.shapes import Role, parse_rows
from openklear.errors import DataError
from openklear.types import AssertTest, CallTest, Outcome, Problem, Test
from openklear.verifiers.code import CodeGrader


def load(name: str, role: Role, domain: str, mapping: dict[str, str] | None = None) -> list[Row]:
    found = [
        row
        for where, raw in read_rows(shared(name), name)
        for row in parse_rows(raw, where, role=role, source="set", domain=domain, mapping=mapping)
    ]
    assert all(isinstance(row, Row) for row in found), f"{name}: a row was dropped"
    return [row for row in found if isinstance(row, Row)]


@pytest.mark.parametrize(
    ("name", "role", "count", "first", "last"),
    [
        ("formats/open_instruct_rlvr.jsonl", "problems", 100, "3", "201"),
        ("formats/r1_api_sample.json", "problems", 5, "0", "6"),
        ("formats/verl_aime25.parquet", "heldout", 30, "70", "240"),
        ("formats/verl_math500.parquet", "heldout", 500, r"\left( 3, \frac{\pi}{2} \right)", r"106^\circ"),
        ("benchmarks/aime24.jsonl", "heldout", 30, "204", "315"),
        ("benchmarks/aime25.jsonl", "heldout", 30, "70", "240"),
        ("benchmarks/hmmt_feb_2024.jsonl", "heldout", 30, "29", r"\dfrac{9\sqrt{410}}{5}"),
        ("benchmarks/hmmt_feb_2025.jsonl", "heldout", 30, "103", r"\sqrt{\frac{95}{24}}"),
        ("benchmarks/math500.jsonl", "heldout", 500, r"\left( 3, \frac{\pi}{2} \right)", r"106^\circ"),
        ("benchmarks/gsm8k_test.jsonl", "heldout", 1319, "18", "14"),
        ("train/gsm8k_train.jsonl", "problems", 7473, "72", "50"),
        ("train/math_train.json", "problems", 7474, "0", r"\left( \frac{8}{5}, -\frac{35}{2} \right)"),
        ("train/aime_1983_2023.json", "problems", 975, "60", "363"),
        ("train/deepmath.jsonl", "problems", 4994, "1", "11"),
        ("traces/long_cot.jsonl", "demonstrations", 1604, "460", "6"),
    ],
)
def test_mathematics_loads(name: str, role: Role, count: int, first: str, last: str) -> None:
    rows = load(name, role, "math")
    assert len(rows) == count
    assert (rows[0].problem.answer, rows[-1].problem.answer) == (first, last)
    assert sum(row.problem.answer is None for row in rows) == (4 if name == "train/math_train.json" else 0)


@pytest.mark.parametrize(
    ("name", "count", "tests", "without"),
    [
        ("formats/acecode_sample.jsonl", 1, {AssertTest: 19}, 0),
        ("benchmarks/humaneval.jsonl.gz", 164, {AssertTest: 164}, 0),
        ("benchmarks/mbpp.jsonl", 974, {AssertTest: 2922}, 0),
        ("benchmarks/livecodebench_samples.jsonl", 3, {Test: 20, CallTest: 14}, 3),
        ("train/leetcode_functional.jsonl", 402, {AssertTest: 978}, 0),
        ("train/taco_stdin.jsonl", 183, {Test: 385}, 0),
    ],
)
def test_programs_load(name: str, count: int, tests: dict[type, int], without: int) -> None:
    rows = load(name, "problems", "code")
    assert len(rows) == count
    assert Counter(type(test) for row in rows for test in row.problem.tests) == tests
    assert sum(row.solution is None for row in rows) == without


def test_knights_and_knaves_keep_their_structure_as_json() -> None:
    rows = load("formats/verl_knights_knaves.parquet", "problems", "math")
    assert len(rows) == 100
    truth = json.loads(rows[0].problem.answer or "")
    assert list(truth) == ["solution_text_format", "statements"]
    assert truth["solution_text_format"].startswith("(1) Amelia is a knight")


def test_responses_load() -> None:
    assert len(load("formats/s1k_5.parquet", "demonstrations", "math")) == 5
    for row in load("formats/r1_api_sample.json", "demonstrations", "math"):
        thought, _, said = (row.response or "").partition("\n</think>\n\n")
        assert thought.startswith("<think>\n")
        assert said
    inferences = load("formats/acecode_sample.jsonl", "demonstrations", "code")
    assert Counter(row.claimed for row in inferences) == {True: 64, False: 16}
    traces = load("traces/long_cot.jsonl", "demonstrations", "math")
    assert Counter(row.claimed for row in traces) == {True: 1521, False: 83}
    assert Counter(row.teacher for row in traces)["deepseek-r1"] == 507
    gsm8k = load("train/gsm8k_train.jsonl", "demonstrations", "math", {"response": "solution"})
    assert gsm8k[0].response is not None
    assert gsm8k[0].response.endswith("#### 72")


def test_levels_and_pieces_of_tests() -> None:
    assert Counter(row.problem.level for row in load("train/math_train.json", "problems", "math"))["5"] == 2298
    assert load("train/deepmath.jsonl", "problems", "math")[0].problem.level == "4.5"
    assert [row.problem.level for row in load("benchmarks/livecodebench_samples.jsonl", "problems", "code")] == [
        "easy"
    ] * 3
    rows = load("train/leetcode_functional.jsonl", "problems", "code")
    for row in rows[::7]:
        for test in row.problem.tests:
            assert isinstance(test, AssertTest)
            (check,) = [node for node in ast.parse(test.code).body if isinstance(node, ast.FunctionDef)]
            assert [type(statement) for statement in check.body] == [ast.Assert]


def test_reference_solutions_pass_the_tests_as_they_were_read() -> None:
    names = (
        "train/leetcode_functional.jsonl",
        "train/taco_stdin.jsonl",
        "benchmarks/mbpp.jsonl",
        "benchmarks/humaneval.jsonl.gz",
    )
    rows = [row for name in names for row in load(name, "problems", "code")[3::80]]
    grader = CodeGrader(1, seconds=10.0, memory_mb=512, minimum_isolation="rlimits")
    try:
        found = Counter(grader.grade(row.solution or "", row.problem.tests).outcome for row in rows)
    finally:
        grader.close()
    assert found == {Outcome.CORRECT: 5 + 3 + 13 + 3}


def test_a_file_of_no_known_shape_says_so() -> None:
    with pytest.raises(DataError, match="the columns solution, question"):
        load("formats/s1k_5.parquet", "problems", "math")
    mapping = {"answer": "solution"}
    with pytest.raises(AssertionError, match="a row was dropped"):  # a proof is no reference
        load("formats/s1k_5.parquet", "problems", "math", mapping)
    raw = read_rows(shared("formats/s1k_5.parquet"), "s1k")
    found = [parse_rows(row, at, role="problems", source="set", domain="math", mapping=mapping)[0] for at, row in raw]
    kept = [one.problem.answer for one in found if isinstance(one, Row)]
    assert kept == [r"a^2 + b^2 \leq 2", "128", "109", r"\frac{1}{n}"]
    assert [one.reason for one in found if isinstance(one, Dropped)] == ["no final answer"]


TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(lambda text: bool(text.strip()))
ANSWERS = st.text("0123456789/\\{}", min_size=1, max_size=6)
TESTS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3)
VALUES = st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | TEXT, lambda inner: st.lists(inner, max_size=2))
CALLS = st.lists(st.tuples(st.lists(VALUES, min_size=1, max_size=2), VALUES), min_size=1, max_size=3)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def demonstrations(ask: str, say: str) -> dict[str, dict[str, Any]]:
    """The same turns in every shape that holds one response."""
    reply = {"role": "assistant", "content": say}
    return {
        "messages": {"messages": [user(ask), reply]},
        "JSON messages": {"messages": json.dumps([user(ask), reply])},
        "ShareGPT": {"conversations": [{"from": "human", "value": ask}, {"from": "gpt", "value": say}]},
        "plain": {"problem": ask, "response": say},
        "TRL": {"prompt": [user(ask)], "completion": [reply]},
        "Alpaca": {"instruction": ask, "input": "", "output": say},
        "R1 API": {"question": ask, "message_thinking": "", "message_content": say},
        "OpenAI API": {"prompt": ask, "response": {"choices": [{"message": reply}]}},
        "OpenR1-Math": {"problem": ask, "generations": [say]},
        "s1K": {"question": ask, "gemini_attempt": say},
        "AceCoder": {"question": ask, "inferences": [{"completion": say}]},
    }


@settings(max_examples=30, deadline=None)
@given(ask=TEXT, say=TEXT, answer=ANSWERS)
def test_demonstrations_come_back_from_every_shape(ask: str, say: str, answer: str) -> None:
    for name, raw in demonstrations(ask, say).items():
        (row,) = parse_rows({**raw, "answer": answer}, "f:1", role="demonstrations", source="set", domain="math")
        assert isinstance(row, Row), name
        assert (row.problem.prompt, row.response, row.problem.answer) == ((user(ask),), say, answer), name


def problems(ask: str, answer: str) -> dict[str, dict[str, Any]]:
    return {
        "DeepScaleR": {"problem": ask, "answer": answer, "solution": "s", "difficulty": 4.0},
        "verl": {"prompt": [user(ask)], "ability": "math", "reward_model": {"ground_truth": answer, "style": "rule"}},
        "open-instruct": {"messages": [user(ask)], "ground_truth": answer, "dataset": "x"},
        "open-instruct list": {"messages": [user(ask)], "ground_truth": [answer], "dataset": ["x"]},
        "ROLL": {"prompt": ask, "messages": json.dumps([user(ask)]), "ground_truth": answer, "test_cases": ""},
        "R1 API": {"problem": ask, "gtruth_answer": answer, "message_content": "m"},
        "CSV": {"question": ask, "answer": answer, "tests": "", "level": ""},
    }


@settings(max_examples=30, deadline=None)
@given(ask=TEXT, answer=ANSWERS)
def test_answers_come_back_from_every_shape(ask: str, answer: str) -> None:
    for name, raw in problems(ask, answer).items():
        (row,) = parse_rows(raw, "f:1", role="problems", source="set", domain="math")
        assert isinstance(row, Row), name
        assert (row.problem.prompt, row.problem.answer) == ((user(ask),), answer), name


def programs(ask: str, pairs: list[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    inputs, outputs = map(list, zip(*pairs, strict=True))
    both = {"inputs": inputs, "outputs": outputs}
    public = [{"input": given, "output": wanted, "testtype": "stdin"} for given, wanted in pairs]
    return {
        "ours": {"prompt": ask, "tests": [{"stdin": given, "stdout": wanted} for given, wanted in pairs]},
        "TACO": {"question": ask, "input_output": json.dumps(both), "solutions": "[]", "starter_code": ""},
        "PRIME in verl": {"prompt": [user(ask)], "reward_model": {"ground_truth": json.dumps(both)}},
        "struct in verl": {"prompt": [user(ask)], "reward_model": {"ground_truth": both}},
        "LiveCodeBench": {"question_content": ask, "public_test_cases": json.dumps(public), "private_test_cases": "[]"},
        "lists": {"problem": ask, **both},
        "ROLL": {"prompt": ask, "ground_truth": "", "test_cases": json.dumps(public)},
    }


@settings(max_examples=30, deadline=None)
@given(ask=TEXT, pairs=TESTS)
def test_runs_come_back_from_every_shape(ask: str, pairs: list[tuple[str, str]]) -> None:
    for name, raw in programs(ask, pairs).items():
        (row,) = parse_rows(raw, "f:1", role="problems", source="set", domain="code")
        assert isinstance(row, Row), name
        assert row.problem.prompt == (user(ask),), name
        assert row.problem.tests == tuple(Test(*pair) for pair in pairs), name


@settings(max_examples=30, deadline=None)
@given(calls=CALLS)
def test_calls_come_back_from_every_shape(calls: list[tuple[list[Any], Any]]) -> None:
    lines = ["\n".join(map(json.dumps, arguments)) for arguments, _ in calls]
    texts = {"fn_name": "f", "inputs": lines, "outputs": [json.dumps(result) for _, result in calls]}
    lists = {"fn_name": "f", "inputs": [args for args, _ in calls], "outputs": [[result] for _, result in calls]}
    wanted = tuple(CallTest("f", json.dumps(args), json.dumps(result)) for args, result in calls)
    for raw in (
        {"prompt": "p", "ground_truth": json.dumps(texts)},
        {"prompt": "p", "input_output": lists},
        {"prompt": "p", "tests": [{"call": "f", "args": args, "expected": result} for args, result in calls]},
    ):
        (row,) = parse_rows(raw, "f:1", role="problems", source="set", domain="code")
        assert isinstance(row, Row)
        assert row.problem.tests == wanted


WORDS = str.split
NAMES = st.sampled_from(
    WORDS(
        "messages conversations prompt problem question response completion answer ground_truth gtruth_answer reward_model "
        "generations correctness_math_verify choices message_content message_thinking gemini_attempt deepseek_attempt "
        "thinking_trajectories attempt inferences instruction input output question_content public_test_cases content "
        "private_test_cases text test test_list test_setup_code test_imports entry_point input_output inputs outputs fn_name "
        "tests test_cases starter_code solution solutions reference_solution canonical_solution code level difficulty id "
        "task_id teacher model claimed domain ability checker extra_info labels metadata passage reasoning_content"
    )
)
INNER = st.sampled_from(
    WORDS(
        "role content from value message reasoning_content ground_truth inputs outputs fn_name call args expected input output "
        "stdin stdout testtype func_name completion model_name pass_rate id level checker assert_case choices"
    )
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["user", "assistant", "code", "functional", "[]", "{}", '{"inputs": 1, "outputs": []}', "[1]"])
    | st.text(max_size=4)
)
CELLS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(INNER, inner, max_size=4), max_leaves=8
)


@settings(max_examples=400, deadline=None)
@given(
    raw=st.dictionaries(NAMES, CELLS, max_size=7),
    role=st.sampled_from(["demonstrations", "problems", "benchmark"]),
    domain=st.sampled_from(["math", "code", None]),
    mapping=st.none() | st.dictionaries(st.sampled_from(["prompt", "response", "answer", "tests"]), NAMES, max_size=2),
)
def test_whatever_a_row_holds_it_is_rows_or_drops_or_an_error_with_its_place(
    raw: dict[str, Any], role: Role, domain: str | None, mapping: dict[str, str] | None
) -> None:
    try:
        found = parse_rows(raw, "f:1", role=role, source="set", domain=domain, mapping=mapping)
    except DataError as error:
        said = str(error)
        found = []
    else:
        said = "f:1: "
        assert found
    assert said.startswith("f:1: ")
    assert len(said) < 2000
    for item in found:
        row = item.row if isinstance(item, Dropped) else item
        assert isinstance(row.problem, Problem)
        assert row.problem.id.startswith("set/")
        if isinstance(item, Row):
            json.dumps([row.problem.prompt, row.response, row.problem.answer, row.solution, row.teacher]).encode()
            assert role != "demonstrations" or row.response
