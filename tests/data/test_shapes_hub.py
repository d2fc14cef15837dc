"""The sets that people bring from hubs, by the columns on their cards: each is read rightly, or refused with what to do."""

from __future__ import annotations

from typing import Any

import pytest

from openklear.data.rows import Dropped, Row
from openklear.data.shapes import Role, parse_rows
from openklear.errors import DataError

ASK = {"role": "user", "content": "3+4?"}
SAY = {"role": "assistant", "content": "It is $\\boxed{7}$."}


def rows(raw: dict[str, Any], role: Role = "problems", **mapping: str) -> list[Row | Dropped]:
    return parse_rows(raw, "f:1", role=role, source="set", domain="math", mapping=mapping or None)


def one(raw: dict[str, Any], role: Role = "problems", **mapping: str) -> Row:
    (row,) = rows(raw, role, **mapping)
    assert isinstance(row, Row), row
    return row


def test_problems_with_their_answers() -> None:
    dapo = {"data_source": "math_dapo", "prompt": [ASK], "ability": "MATH", "extra_info": {"index": "9a9b"}}
    dapo["reward_model"] = {"ground_truth": "7", "style": "rule-lighteval/MATH_v2"}
    big_math = {
        "problem": "3+4?",
        "answer": "7",
        "source": "orca_math",
        "domain": ["Algebra"],
        "llama8b_solve_rate": 0.2,
    }
    for raw in (
        dapo,
        big_math,
        {"problem": "3+4?", "answer": "7"},  # AceReason-Math
        {
            "problem": "3+4?",
            "solution": "s",
            "answer": "7",
            "problem_type": "Algebra",
            "problem_is_valid": "Yes",
        },  # NuminaMath-1.5
        {"question": "3+4?", "answer": "3+4 = <<3+4=7>>7\n#### 7"},  # GSM8K
        {
            "problem": "3+4?",
            "solution": "s",
            "answer": "7",
            "subject": "Algebra",
            "level": 2,
            "unique_id": "test/1",
        },  # MATH-500
    ):
        row = one(raw)
        assert (row.problem.prompt, row.problem.answer) == ((ASK,), "7")
    for nothing in ("proof", "notfound"):  # NuminaMath-1.5 has no answer to every problem
        (gone,) = rows({"problem": "3+4?", "solution": "s", "answer": nothing})
        assert isinstance(gone, Dropped)
        assert gone.reason == "no final answer"


def test_sets_whose_reference_must_be_named_say_how() -> None:
    for raw in (
        {"problem": "3+4?", "level": "Level 1", "type": "Algebra", "solution": SAY["content"]},  # MATH
        {"source": "aops", "problem": "3+4?", "solution": SAY["content"], "messages": [ASK, SAY]},  # NuminaMath-CoT
    ):
        with pytest.raises(DataError, match=r'is it "solution"\?; .* columns = \{ answer = "their_column" \}'):
            rows(raw)
        assert one(raw, answer="solution").problem.answer == "7"
    reasoning = {"problem": "3+4?", "expected_answer": "7", "generated_solution": "<think>\na\n</think>\n\n7"}
    reasoning |= {"generation_model": "DeepSeek-R1", "inference_mode": "cot"}  # OpenMathReasoning
    with pytest.raises(DataError, match="expected_answer"):
        rows(reasoning)
    row = one(reasoning, "demonstrations", response="generated_solution", answer="expected_answer")
    assert (row.response, row.problem.answer) == (reasoning["generated_solution"], "7")
    with pytest.raises(DataError, match=r"no known shape of demonstrations has the columns prompt, chosen, rejected"):
        rows({"prompt": "3+4?", "chosen": "7", "rejected": "8"}, "demonstrations")  # preferences
    with pytest.raises(DataError, match=r'is it "Question"\?'):
        rows({"Question": "3+4?", "Complex_CoT": "add", "Response": "7"}, "demonstrations")


def test_demonstrations() -> None:
    talk = [{"from": "human", "value": "3+4?"}, {"from": "gpt", "value": SAY["content"]}]
    for raw in (
        {"messages": [ASK, SAY], "problem": "3+4?", "solution": "s", "source": "aops"},  # NuminaMath-CoT
        {"problem": "3+4?", "generations": [SAY["content"]], "uuid": "u", "messages": [ASK, SAY]},  # OpenR1-Math
        {"conversations": talk, "difficulty": 7, "source": "x", "domain": "math"},  # OpenThoughts3
        {"category": "math", "source": "numina", "input": "3+4?", "output": SAY["content"]},  # AceReason-1.1-SFT
        {"instruction": "3+4?", "input": "", "output": SAY["content"], "history": [], "system": ""},  # LLaMA-Factory
        {"conversations": talk, "system": "", "tools": ""},  # LLaMA-Factory
        {"conversations": talk, "tools": "[]"},
    ):
        row = one(raw, "demonstrations")
        assert (row.problem.prompt, row.response) == ((ASK,), SAY["content"])


def test_demonstrations_with_more_than_turns() -> None:
    nemotron = {"input": [ASK], "output": SAY["content"], "category": "math", "reasoning": "off", "generator": "Qwen"}
    row = one({**nemotron, "system_prompt": "detailed thinking off"}, "demonstrations")
    system = {"role": "system", "content": "detailed thinking off"}
    assert (row.problem.prompt, row.response, row.teacher) == ((system, ASK), SAY["content"], "Qwen")
    harmony = {"role": "assistant", "content": "7", "thinking": "add"}
    row = one({"messages": [{**system, "thinking": None}, {**ASK, "thinking": None}, harmony]}, "demonstrations")
    assert (row.problem.prompt, row.response) == ((system, ASK), "<think>\nadd\n</think>\n\n7")
    tools = [{"from": "function_call", "value": '{"name": "add"}'}, {"from": "observation", "value": "7"}]
    talk = [{"from": "human", "value": "3+4?"}, *tools, {"from": "gpt", "value": "7"}]
    with pytest.raises(DataError, match=r"conversations\[1\]\.from is 'function_call', a turn of a tool"):
        rows({"conversations": talk, "tools": '[{"name": "add"}]'}, "demonstrations")
