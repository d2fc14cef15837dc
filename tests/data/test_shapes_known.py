"""Each shape in the wild, on rows written by hand after the data sets' own cards, and the recipe's mapping of columns."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from typing import Any

import pytest

from openklear.data.rows import Dropped, Row
from openklear.data.shapes import Role, parse_rows
from openklear.errors import DataError
from openklear.types import AssertTest, CallTest, Test

SUM = {"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]}
SUM_TESTS = (Test("1 2\n", "3\n"), Test("3 4\n", "7\n"))
CALLS = (CallTest("add", "[1, 2]", "3"), CallTest("add", "[3, [4]]", '"7"'))


def rows(
    raw: dict[str, Any], role: Role = "problems", domain: str | None = "math", **mapping: str
) -> list[Row | Dropped]:
    return parse_rows(raw, "f:1", role=role, source="set", domain=domain, mapping=mapping or None)


def one(raw: dict[str, Any], role: Role = "problems", domain: str | None = "math", **mapping: str) -> Row:
    (row,) = rows(raw, role, domain, **mapping)
    assert isinstance(row, Row)
    return row


def said(raw: dict[str, Any], **mapping: str) -> list[tuple[str, str | None, str | None, bool | None]]:
    found = rows(raw, "demonstrations", "math", **mapping)
    assert all(isinstance(row, Row) for row in found)
    return [(r.problem.id, r.response, r.teacher, r.claimed) for r in found if isinstance(r, Row)]


def error_of(raw: dict[str, Any], role: Role = "problems", domain: str | None = "code", **mapping: str) -> str:
    with pytest.raises(DataError) as caught:
        rows(raw, role, domain, **mapping)
    assert str(caught.value).startswith("f:1: ")
    return str(caught.value)


def asked(row: Row) -> str:
    (turn,) = row.problem.prompt
    return turn["content"]


def test_openr1_math_gives_a_row_for_each_generation() -> None:
    raw = {
        "problem": "1+1?",
        "answer": "2",
        "solution": "Count.",
        "uuid": "u",
        "generations": ["<think>a</think>2", "<think>b</think>3"],
        "correctness_math_verify": [True, False],
        "is_reasoning_complete": [True, True],
        "messages": [{"role": "user", "content": "other"}, {"role": "assistant", "content": "one of them"}],
    }
    assert said(raw) == [("set/u/0", "<think>a</think>2", None, True), ("set/u/1", "<think>b</think>3", None, False)]
    first = rows(raw, "demonstrations")[0]
    assert isinstance(first, Row)
    assert (asked(first), first.problem.answer, first.solution) == ("1+1?", "2", "Count.")
    assert one(raw).problem.id == "set/u"
    assert one(raw).response is None


def test_openr1_math_asks_the_second_judge_where_the_first_says_nothing() -> None:
    raw = {
        "problem": "p",
        "uuid": "u",
        "generations": ["a"],
        "correctness_math_verify": None,
        "correctness_llama": [True],
    }
    assert said(raw) == [("set/u/0", "a", None, True)]
    assert said({**raw, "correctness_math_verify": [False]}) == [("set/u/0", "a", None, False)]
    assert said({**raw, "correctness_llama": [True, True]}) == [("set/u/0", "a", None, None)]  # not one for each
    assert [row.reason for row in rows({**raw, "generations": []}, "demonstrations") if isinstance(row, Dropped)] == [
        "no response"
    ]


def test_reasoning_apart_is_put_before_the_answer() -> None:
    whole = "<think>\nhm\n</think>\n\n2"
    ask = {"role": "user", "content": "1+1?"}
    apart = {"role": "assistant", "content": "2", "reasoning_content": "hm"}
    for raw in (
        {"problem": "1+1?", "gtruth_answer": "2", "message_thinking": "hm", "message_content": "2"},
        {"prompt": "1+1?", "response": "2", "reasoning_content": "hm"},
        {"prompt": "1+1?", "choices": [{"message": {"content": "2", "reasoning_content": "hm"}}]},
        {"prompt": "1+1?", "response": {"choices": [{"message": {"content": "2", "reasoning_content": "hm"}}]}},
        {"messages": [ask, apart]},
        {"prompt": [ask], "completion": [{"role": "assistant", "content": whole}]},
        {"prompt": "1+1?", "response": whole, "reasoning_content": "hm"},  # it holds it already
    ):
        row = one(raw, "demonstrations")
        assert (asked(row), row.response) == ("1+1?", whole)


def test_several_choices_are_several_rows() -> None:
    choices = [{"message": {"content": text}} for text in "ab"]
    assert said({"id": 1, "prompt": "p", "response": {"model": "m", "choices": choices}}) == [
        ("set/1/0", "a", "m", None),
        ("set/1/1", "b", "m", None),
    ]
    assert said({"id": 1, "prompt": "p", "choices": choices[:1]}) == [("set/1", "a", None, None)]


def test_s1k_gives_a_row_for_each_writer() -> None:
    raw = {"question": "q", "solution": "s", "cot_type": "math"}
    gemini = {"gemini_thinking_trajectory": "g", "gemini_attempt": "1", "gemini_grade": "No"}
    deepseek = {"deepseek_thinking_trajectory": "d", "deepseek_attempt": "2", "deepseek_grade": "Yes"}
    made = said({**raw, **gemini, **deepseek, "id": "k"})
    assert made == [
        ("set/k/deepseek", "<think>\nd\n</think>\n\n2", "deepseek", True),
        ("set/k/gemini", "<think>\ng\n</think>\n\n1", "gemini", False),
    ]
    assert said({**raw, "id": "k", "thinking_trajectories": ["t"], "attempt": "3"}) == [
        ("set/k", "<think>\nt\n</think>\n\n3", None, None)
    ]


def test_acecoder() -> None:
    wrong, right = ({"completion": t, "model_name": "m", "pass_rate": r} for t, r in (("bad", 0.5), ("good", 1.0)))
    raw = {"id": "a", "question": "q", "test_cases": ["assert f(1) == 2"], "inferences": [wrong, right]}
    row = one(raw, domain="code")
    assert (row.problem.tests, row.solution) == ((AssertTest("assert f(1) == 2"),), "good")
    assert said(raw) == [("set/a/0", "bad", "m", False), ("set/a/1", "good", "m", True)]


def test_alpaca() -> None:
    raw = {"instruction": "Add.", "input": "1 2", "output": "3"}
    row = one(raw, "demonstrations")
    assert (asked(row), row.response) == ("Add.\n\n1 2", "3")
    assert asked(one({**raw, "input": ""}, "demonstrations")) == "Add."


def test_openthoughts_keeps_its_delimiters_and_its_system_prompt() -> None:
    text = "<|begin_of_thought|>a<|end_of_thought|><|begin_of_solution|>2<|end_of_solution|>"
    turns = [{"from": "user", "value": "1+1?"}, {"from": "assistant", "value": text}]
    raw = {"system": "Think in tags.", "conversations": turns}
    row = one(raw, "demonstrations")
    system = {"role": "system", "content": "Think in tags."}
    assert (row.problem.prompt, row.response) == ((system, {"role": "user", "content": "1+1?"}), text)
    assert asked(one(raw, "demonstrations", system="")) == "1+1?"  # the recipe takes it away


@pytest.mark.parametrize(
    "raw",
    [
        {"question": "q", "input_output": json.dumps(SUM), "solutions": '["first", "second"]', "difficulty": "EASY"},
        {"question": "q", "input_output": {**SUM, "fn_name": None}, "solutions": ["first"], "difficulty": "EASY"},
        {"problem": "q", "inputs": SUM["inputs"], "outputs": SUM["outputs"], "code": "first", "level": "EASY"},
        {"prompt": "q", "reward_model": {"ground_truth": json.dumps(SUM)}, "solution": "first", "level": "EASY"},
        {"prompt": "q", "reward_model": {"ground_truth": SUM}, "solution": "first", "level": "EASY"},
        {"question": "q", "input_output": {"inputs": [["1 2", ""], ["3 4", ""]], "outputs": [["3", ""], ["7", ""]]}}
        | {"solutions": ["first"], "difficulty": "EASY"},
    ],
)
def test_programs_with_inputs_and_outputs(raw: dict[str, Any]) -> None:
    row = one(raw, domain="code")
    assert (row.problem.tests, row.solution, row.problem.level) == (SUM_TESTS, "first", "EASY")
    assert row.problem.answer is None


@pytest.mark.parametrize(
    "cell",
    [
        {"fn_name": "add", "inputs": [[1, 2], [3, [4]]], "outputs": [[3], ["7"]]},  # results in lists of one
        {"fn_name": "add", "inputs": ["1\n2", "3\n[4]"], "outputs": ["3", '"7"']},  # JSON, an argument a line
        {"fn_name": "add", "inputs": [[1, 2], [3, [4]]], "outputs": [3, "7"]},
    ],
)
def test_calls(cell: dict[str, Any]) -> None:
    row = one({"question": "q", "input_output": cell, "starter_code": "def add(a, b):"}, domain="code")
    assert row.problem.tests == CALLS
    assert asked(row) == "q\n\nBegin your program with this code:\n```python\ndef add(a, b):\n```"


def test_results_are_in_lists_of_one_where_all_of_them_are() -> None:
    cell = {"fn_name": "f", "inputs": [[1], [2]], "outputs": [[3], [4, 5]]}
    tests = one({"question": "q", "input_output": cell}, domain="code").problem.tests
    assert tests == (CallTest("f", "[1]", "[3]"), CallTest("f", "[2]", "[4, 5]"))


def stored(value: Any) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


@pytest.mark.parametrize("protocol", range(2, 6))
def test_livecodebench(protocol: int) -> None:
    private = [{"input": "3 4\n", "output": "7\n", "testtype": "stdin"}]
    hidden = base64.b64encode(zlib.compress(pickle.dumps(json.dumps(private), protocol=protocol))).decode()
    raw = {
        "question_content": "q",
        "question_id": "1873_A",
        "public_test_cases": json.dumps([{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]),
        "private_test_cases": hidden,
        "starter_code": "",
        "difficulty": "easy",
        "metadata": "{}",
    }
    problem = one(raw, domain="code").problem
    assert (problem.id, problem.tests, problem.level) == ("set/1873_A", SUM_TESTS, "easy")
    calls = [{"input": "1\n2", "output": "3", "testtype": "functional"}]
    raw |= {"public_test_cases": json.dumps(calls), "private_test_cases": "", "metadata": '{"func_name": "add"}'}
    assert one(raw, domain="code").problem.tests == CALLS[:1]
    assert "func_name" in error_of({**raw, "metadata": "{}"})


def test_mbpp_shows_the_tests_that_name_the_function() -> None:
    raw = {
        "text": "Add.",
        "task_id": 3,
        "code": "def f(a): pass",
        "test_list": ["assert f(1)"],
        "test_setup_code": "x = 1",
    }
    row = one(raw, domain="code")
    assert asked(row) == "Add.\nYour code must pass these tests:\n\nassert f(1)"
    assert row.problem.tests == (AssertTest("x = 1\nassert f(1)"),)
    assert (row.problem.id, row.solution) == ("set/3", "def f(a): pass")


def test_humaneval() -> None:
    raw = {"task_id": "H/0", "prompt": "def f():\n", "canonical_solution": "    return 1\n", "entry_point": "f"}
    row = one({**raw, "test": "def check(c):\n    assert c() == 1\n"}, domain="code")
    assert (asked(row), row.solution, row.problem.id) == ("def f():\n", "def f():\n    return 1\n", "set/H/0")
    assert row.problem.tests == (AssertTest("def check(c):\n    assert c() == 1\n\ncheck(f)"),)


def test_sandbox_fusion_ships_no_solution() -> None:
    labels = json.dumps({"difficulty": "easy"})
    raw = {"id": 1, "content": "q", "test": stored({"input_output": json.dumps(SUM)}), "canonical_solution": "exit"}
    row = one({**raw, "labels": labels}, domain="code")
    assert (asked(row), row.solution, row.problem.tests, row.problem.level) == ("q", None, SUM_TESTS, "easy")


CHECK = "import math\n\ndef check(candidate):\n    assert candidate(1) == 2\n    assert candidate(\n        2) == 3\n\ncheck(f)"


def test_a_check_is_split_where_it_only_asserts() -> None:
    raw = {"problem": "p", "reference_solution": "s", "tests": CHECK}
    first, second = one(raw, domain="code").problem.tests
    head, tail = "import math\n\ndef check(candidate):\n", "\n\ncheck(f)"
    assert first == AssertTest(f"{head}    assert candidate(1) == 2{tail}")
    assert second == AssertTest(f"{head}    assert candidate(\n        2) == 3{tail}")
    for whole in (
        CHECK.replace("    assert candidate(1)", "    x = 1\n    assert candidate(1)"),  # the asserts may need it
        CHECK.replace("== 2\n    assert", "== 2; assert"),  # not on lines of their own
        "def check(c): assert c(1)\ncheck(f)",
        "assert f(1) == (",
    ):
        assert one({**raw, "tests": whole}, domain="code").problem.tests == (AssertTest(whole),)


def test_ground_truths() -> None:
    assert one({"prompt": "p", "ground_truth": ["3"]}).problem.answer == "3"
    assert one({"prompt": "p", "ground_truth": {"b": 1, "a": [2]}}).problem.answer == '{"a": [2], "b": 1}'
    assert one({"prompt": "p", "reward_model": '{"ground_truth": 4}'}).problem.answer == "4"  # a cell of CSV
    asserts = one({"prompt": "p", "ground_truth": '["assert f(1)"]'}, domain="code").problem
    assert (asserts.tests, asserts.answer) == ((AssertTest("assert f(1)"),), None)
    assert one({"prompt": "p", "ground_truth": "[1, 2]"}).problem.answer == "[1, 2]"  # mathematics: a list is an answer


def test_a_benchmark_needs_a_prompt_and_nothing_else() -> None:
    for raw, text in (
        ({"question": "q", "passage": "p"}, "p\n\nq"),
        ({"text": "t"}, "t"),
        ({"messages": [{"role": "user", "content": "u"}]}, "u"),
        ({"question_content": "c", "private_test_cases": "not read at all"}, "c"),
    ):
        assert asked(one(raw, "benchmark", "code")) == text


def test_what_is_known_beside_it() -> None:
    row = one({"prompt": "p", "answer": 1, "difficulty": 4.5, "model": "R1", "math_verify": True}, "problems")
    assert row.problem.level == "4.5"
    row = one({"prompt": "p", "response": "r", "teacher": "QwQ", "model": "R1", "correct": "false"}, "demonstrations")
    assert (row.teacher, row.claimed) == ("QwQ", False)
    row = one({"prompt": "p", "answer": 1, "ability": "code", "solution": [True], "difficulty": {"a": 1}}, domain=None)
    assert (row.problem.domain, row.solution, row.problem.level) == ("code", None, None)
    assert one({"prompt": "p", "answer": float("nan")}).problem.answer is None


def test_a_mapping_leads_to_the_files_columns() -> None:
    gsm8k = {"problem": "1+1?", "answer": "2", "solution": "Count: 2."}
    row = one(gsm8k, "demonstrations", response="solution")
    assert (asked(row), row.response, row.problem.answer) == ("1+1?", "Count: 2.", "2")
    raw = {"ask": {"text": "1+1?"}, "meta": '{"gold": [2, 3]}', "a.b": "r", "prompt": "not this", "messages": 5}
    row = one(raw, "demonstrations", prompt="ask.text", answer="meta.gold.1", response="a.b")
    assert (asked(row), row.response, row.problem.answer) == ("1+1?", "r", "3")
    both = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "no"}], "better": "yes"}
    assert one(both, "demonstrations", response="better").response == "yes"
    assert one(
        {"q": "1+1?", "a": "2", "t": "hm"}, "demonstrations", prompt="q", response="a", thinking="t"
    ).response == ("<think>\nhm\n</think>\n\n2")
    assert one({"q": "p", "meta": None}, prompt="q", answer="meta.gold").problem.answer is None
    assert one({"q": "p", "answer": 3, "gold": None}, prompt="q", answer="gold").problem.answer is None


def test_a_mapping_to_nothing_is_an_error() -> None:
    raw = {"ask": "1+1?", "solution": "2", "meta": {"gold": 2}}
    message = error_of(raw, prompt="aks", answer="solution")
    assert 'prompt is the column "aks", but there is no "aks" among ask, solution, meta; is it "ask"?' in message
    assert 'there is no "glod" among gold; is it "gold"?' in error_of(raw, prompt="ask", answer="meta.glod")
    assert 'is not one of ours; the nearest is "response"' in error_of(raw, prompt="ask", responce="solution")
    assert "solution is {'gold': 2}, but a string" in error_of(raw, prompt="ask", answer="solution", solution="meta")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"question": "q", "input_output": "{"}, "input_output is text, but not the JSON of {inputs, outputs}"),
        ({"question": "q", "input_output": "[]"}, "input_output is [], but an object with inputs and outputs"),
        ({"question": "q", "input_output": {"inputs": ["1"], "outputs": []}}, "1 inputs and 0 outputs"),
        ({"question": "q", "input_output": {"inputs": 5, "outputs": []}}, "input_output.inputs is 5, but a list"),
        ({"question": "q", "input_output": {"inputs": [5], "outputs": ["1"]}}, "inputs is 5, but text"),
        ({"question": "q", "input_output": {"inputs": ["x"], "outputs": ["1"], "fn_name": "f"}}, "one argument a line"),
        ({"question": "q", "input_output": {**SUM, "fn_name": 5}}, "fn_name is 5, but the name"),
        ({"question": "q", "test_cases": "nothing"}, "test_cases is text, but not the JSON"),
        ({"content": "q", "test": stored({"input_output": 5})}, "a pickle of something other than texts"),
        ({"content": "q", "test": "%%%"}, "test is not base64 of zlib"),
        ({"messages": [{"role": [], "content": "q"}], "answer": 1}, "messages[0].role is []"),
    ],
)
def test_faulty_rows(raw: dict[str, Any], words: str) -> None:
    assert words in error_of(raw)
