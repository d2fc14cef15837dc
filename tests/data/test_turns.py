"""Conversations as people bring them: nothing that changes their meaning is lost without a word."""

from __future__ import annotations

import json
from typing import Any

import pytest

from openklear.data.rows import Dropped, Row, RowFault
from openklear.data.shapes import Role, parse_rows
from openklear.errors import DataError
from openklear.types import Message

QUESTION = "What is 3+4 in base ten, dear reader?"
THOUGHT = "<think>\nadd them\n</think>\n\n\\boxed{7}"
ASK = {"role": "user", "content": QUESTION}
SAY = {"role": "assistant", "content": THOUGHT}
BARE = {"role": "assistant", "content": "\\boxed{7}"}
SYSTEM = {"role": "system", "content": "You are a pirate."}
CALL = [{"type": "function", "function": {"name": "add", "arguments": '{"a":3,"b":4}'}}]


def one(raw: dict[str, Any], role: Role = "demonstrations", **mapping: str) -> Row | Dropped:
    (row,) = parse_rows(raw, "f:1", role=role, source="s", domain="math", mapping=mapping or None)
    return row


def said(raw: dict[str, Any], **mapping: str) -> tuple[list[Message], str | None]:
    row = one(raw, **mapping)
    assert isinstance(row, Row), row
    return list(row.problem.prompt), row.response


def lost(raw: dict[str, Any], role: Role = "demonstrations") -> str:
    """Why the row goes, whether it could be read or not."""
    try:
        row = one(raw, role)
    except RowFault as fault:
        return fault.reason if str(fault).startswith("f:1: ") else f"without its place: {fault}"
    assert isinstance(row, Dropped), row
    return row.reason


# -- where the prompt ends


def test_earlier_turns_of_a_completion_stand_in_the_prompt() -> None:
    middle = [{"role": "assistant", "content": "Do you mean base ten?"}, {"role": "user", "content": "Yes. And 5+6?"}]
    whole = ([ASK, *middle], THOUGHT)
    assert said({"prompt": [ASK], "completion": [*middle, SAY]}) == whole
    assert said({"prompt": QUESTION, "completion": [*middle, SAY]}) == whole
    assert said({"messages": [ASK, *middle, SAY]}) == whole
    assert said({"messages": [ASK], "completion": [*middle, SAY]}) == whole
    assert said({"prompt": [ASK], "response": [*middle, SAY]}) == whole
    assert said({"prompt": QUESTION, "chosen": [ASK, SAY]}, response="chosen") == ([ASK], THOUGHT)  # it repeats it


@pytest.mark.parametrize(
    "raw",
    [
        {"prompt": [ASK], "completion": [SAY, {"role": "user", "content": "user said"}]},
        {"prompt": [ASK], "completion": []},
        {"prompt": [ASK], "completion": [ASK]},
        {"prompt": [ASK], "completion": [{"role": "assistant", "content": None}]},
        {"messages": [ASK, SAY, ASK]},
        {"messages": [ASK, SAY, SYSTEM]},
        {"messages": json.dumps([ASK, SAY, ASK])},
        {
            "conversations": [{"from": "human", "value": "1+1?"}, {"from": "gpt", "value": "2"}] * 2
            + [{"from": "human", "value": "so?"}]
        },
        {"messages": [ASK, {"role": "assistant", "content": None}]},
        {"messages": [ASK, {"role": "assistant", "content": ""}]},
        {"messages": [ASK, {"role": "assistant", "content": None, "reasoning": "add them"}]},
        {"prompt": QUESTION, "choices": [{"message": {"role": "assistant", "content": None, "reasoning": "hm"}}]},
        {"prompt": QUESTION, "choices": []},
        {"problem": QUESTION, "generations": []},
    ],
)
def test_somebody_elses_last_turn_is_no_response(raw: dict[str, Any]) -> None:
    assert lost(raw) == "no response"


def test_answers_stand_beside_messages_too() -> None:
    for beside in (
        {"response": THOUGHT},
        {"response": SAY},
        {"completion": THOUGHT},
        {"completion": [SAY]},
        {"choices": [{"message": SAY}]},
        {"response": {"choices": [{"message": SAY}]}},
    ):
        assert said({"messages": [ASK], **beside}) == ([ASK], THOUGHT)


def test_a_prompt_that_ends_with_the_assistants_turn() -> None:
    opened = {"role": "assistant", "content": "<think>\n"}
    assert said({"prompt": [ASK, opened], "response": "add them\n</think>\n\n\\boxed{7}"}) == ([ASK], THOUGHT)
    assert said({"prompt": [ASK, opened], "response": THOUGHT}) == ([ASK], THOUGHT)
    assert said({"prompt": [ASK, SAY], "response": THOUGHT}) == ([ASK], THOUGHT)
    begun = {"role": "assistant", "content": "It is"}
    assert lost({"prompt": [ASK, begun], "response": "7."}) == "a prompt that ends with the assistant's turn"
    assert lost({"prompt": [ASK, begun], "answer": "7"}, "problems") == "a prompt that ends with the assistant's turn"
    row = one({"prompt": [ASK, opened], "answer": "7"}, "problems")
    assert isinstance(row, Row)
    assert row.problem.prompt == (ASK,)


def test_two_turns_of_the_assistant_stay_two() -> None:
    assert said({"messages": [ASK, BARE, SAY]}) == ([ASK, BARE], THOUGHT)


def test_columns_of_other_sets_that_are_null_do_not_tell_the_shape() -> None:
    whole = {"messages": [ASK, SAY], "prompt": None, "problem": None, "response": None, "choices": None}
    assert said(whole) == ([ASK], THOUGHT)
    assert said({**whole, "messages": None, "problem": QUESTION, "response": THOUGHT}) == ([ASK], THOUGHT)
    assert said({**whole, "messages": None, "prompt": QUESTION, "choices": [{"message": SAY}]}) == ([ASK], THOUGHT)
    assert said({**whole, "problem": QUESTION, "generations": None}) == ([ASK], THOUGHT)
    row = one({**whole, "messages": None, "problem": QUESTION, "answer": "7"}, "problems")
    assert isinstance(row, Row)
    assert row.problem.prompt == (ASK,)
    assert lost({"prompt": None, "response": THOUGHT}) == "empty prompt"


# -- what stands beside the turns


@pytest.mark.parametrize("name", ["system", "system_prompt"])
@pytest.mark.parametrize(
    "raw",
    [
        {"conversations": [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": THOUGHT}]},
        {"messages": [ASK, SAY]},
        {"prompt": QUESTION, "response": THOUGHT},
        {"prompt": [ASK], "completion": [SAY]},
        {"instruction": QUESTION, "input": "", "output": THOUGHT},
        {"input": [ASK], "output": THOUGHT},
        {"problem": QUESTION, "generations": [THOUGHT]},
        {"messages": [SYSTEM, ASK, SAY]},  # the same twice
    ],
)
def test_a_system_prompt_is_the_first_turn(raw: dict[str, Any], name: str) -> None:
    assert said({name: SYSTEM["content"], **raw}) == ([SYSTEM, ASK], THOUGHT)
    without = [turn for turn in said({name: None, **raw})[0] if turn["role"] != "system"]
    assert without == [ASK]
    assert said({name: " ", **raw})[1] == THOUGHT


def test_a_system_prompt_of_problems_and_of_the_recipe() -> None:
    row = one({"system": SYSTEM["content"], "problem": QUESTION, "answer": "7"}, "problems")
    assert isinstance(row, Row)
    assert row.problem.prompt == (SYSTEM, ASK)
    raw = {"meta": {"role": SYSTEM["content"]}, "system": "another", "messages": [ASK, SAY]}
    assert said(raw, system="meta.role") == ([SYSTEM, ASK], THOUGHT)
    assert said(raw, system="") == ([ASK], THOUGHT)
    assert lost({"system": "Be brief.", "messages": [SYSTEM, ASK, SAY]}) == "two system prompts"
    assert lost({"system": "Be brief.", "system_prompt": "Be long.", "messages": [ASK, SAY]}) == "two system prompts"
    with pytest.raises(DataError, match=r"f:1: system is 5, but a text, or in the recipe columns"):
        one({"system": 5, "messages": [ASK, SAY]})


def test_history_stands_before_the_question() -> None:
    earlier = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Yes?"}]
    raw = {"instruction": QUESTION, "output": THOUGHT, "system": SYSTEM["content"]}
    for history in ([["Hello?", "Yes?"]], earlier, json.dumps([["Hello?", "Yes?"]])):
        assert said({**raw, "history": history}) == ([SYSTEM, *earlier, ASK], THOUGHT)
    assert said({"messages": [SYSTEM, ASK, SAY], "history": earlier}) == ([SYSTEM, *earlier, ASK], THOUGHT)
    for nothing in (None, [], "", "[]"):
        assert said({**raw, "history": nothing}) == ([SYSTEM, ASK], THOUGHT)
    for odd in ([["Hello?"]], ["Hello?"], "Hello?", [["Hello?", None]]):
        with pytest.raises(DataError, match=r"f:1: history is .* of messages is expected"):
            one({**raw, "history": odd})


@pytest.mark.parametrize(
    ("beside", "reason"),
    [
        ({"tools": [{"type": "function", "function": {"name": "add"}}]}, "tools"),
        ({"tools": '[{"name": "add"}]'}, "tools"),
        ({"functions": [{"name": "add"}]}, "tools"),
        ({"images": ["a.png"]}, "images or sound"),
        ({"image": {"bytes": "x", "path": None}}, "images or sound"),
        ({"chat_template_kwargs": {"python_tools": ["def f(): ..."]}}, "template arguments"),
    ],
)
def test_what_no_prompt_here_can_carry_drops_the_row(beside: dict[str, Any], reason: str) -> None:
    raw = {"messages": [ASK, SAY], "answer": "7"}
    assert lost({**raw, **beside}) == reason
    assert lost({**raw, **beside}, "problems") == reason
    kept = one({**raw, **beside}, "benchmark")  # only compared with
    assert isinstance(kept, Row)
    if reason == "tools":
        assert said({**raw, **beside}, tools="") == ([ASK], THOUGHT)


def test_columns_that_say_nothing_drop_nothing() -> None:
    nothing = {"tools": [], "functions": "[]", "images": None, "image": {"bytes": None, "path": None}, "history": []}
    kwargs = {"enable_thinking": True, "python_tools": [], "custom_instructions": ""}
    assert said({"messages": [ASK, SAY], **nothing, "chat_template_kwargs": kwargs}) == ([ASK], THOUGHT)


# -- thoughts


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_thoughts_beside_the_content(name: str) -> None:
    apart = {**BARE, name: "add them"}
    for raw in (
        {"messages": [ASK, apart]},
        {"messages": [ASK, {**apart, "tool_calls": None, "refusal": None, "function_call": {"name": None}}]},
        {"messages": [ASK, {**apart, "reasoning_content": "add them"}]},
        {
            "conversations": [
                {"from": "human", "value": QUESTION},
                {"from": "gpt", "value": "\\boxed{7}", name: "add them"},
            ]
        },
        {"prompt": [ASK], "completion": [apart]},
        {"prompt": QUESTION, "choices": [{"message": apart}]},
        {"prompt": QUESTION, "response": apart},
        {"prompt": QUESTION, "response": "\\boxed{7}", name: "add them"},
        {"messages": [ASK, BARE], name: "add them"},
        {"instruction": QUESTION, "output": "\\boxed{7}", name: "add them"},
        {"prompt": [ASK], "completion": [BARE], name: "add them"},
        {"prompt": QUESTION, "choices": [{"message": BARE}], name: "add them"},
        {"messages": [ASK, {**SAY, name: "add them"}]},  # it holds it already
        {"messages": [ASK, {**BARE, name: [{"type": "text", "text": "add them"}]}]},
    ):
        assert said(raw) == ([ASK], THOUGHT)


def test_thoughts_of_other_kinds() -> None:
    details = [
        {"type": "reasoning.text", "text": "add "},
        {"type": "reasoning.text", "text": "them", "signature": None},
    ]
    assert said({"messages": [ASK, {**BARE, "reasoning_details": details}]}) == ([ASK], THOUGHT)
    for inner in ("add them", [{"type": "text", "text": "add them"}]):
        parts = [{"type": "thinking", "thinking": inner}, {"type": "text", "text": "\\boxed{7}"}]
        assert said({"messages": [ASK, {"role": "assistant", "content": parts}]}) == ([ASK], THOUGHT)
    for switch in ("on", "off", "HIGH", True, None):  # whether a model was asked to think
        assert said({"input": QUESTION, "output": "\\boxed{7}", "reasoning": switch}) == ([ASK], "\\boxed{7}")
    with pytest.raises(DataError, match=r"f:1: messages\[1\]\.reasoning is 5, but a string is expected"):
        one({"messages": [ASK, {**BARE, "reasoning": 5}]})


def test_an_earlier_turn_keeps_its_thought_in_the_prompt() -> None:
    first = {**BARE, "reasoning": "add them"}
    assert said({"messages": [ASK, first, ASK, SAY]}) == ([ASK, SAY, ASK], THOUGHT)


# -- contents and roles


def test_parts_are_joined() -> None:
    parts = [{"type": "text", "text": QUESTION[:9]}, {"type": "text", "text": QUESTION[9:], "image_url": None}]
    for content in (parts, [QUESTION], {"type": "text", "text": QUESTION}, [{"type": "input_text", "text": QUESTION}]):
        answer = [{"type": "output_text", "text": THOUGHT}]
        raw = [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
        assert said({"messages": raw}) == ([ASK], THOUGHT)
        assert said({"prompt": raw[:1], "completion": raw[1:]}) == ([ASK], THOUGHT)
    assert said({"prompt": QUESTION, "choices": [{"message": {"content": answer}}]}) == ([ASK], THOUGHT)


def test_parts_of_another_kind_drop_the_row() -> None:
    for part in ({"type": "image_url", "image_url": {"url": "x"}}, {"type": "image"}, {"image": "x"}, {"type": "text"}):
        parts = [{"type": "text", "text": QUESTION}, part]
        assert lost({"messages": [{"role": "user", "content": parts}, SAY]}) == "content that is not text"


def test_roles_by_all_their_names() -> None:
    for system, user, assistant in (
        ("system", "human", "gpt"),
        ("developer", "user", "chatgpt"),
        ("System", "User", "Assistant"),
        ("system", "prompter", "model"),
    ):
        texts = list(zip((system, user, assistant), (SYSTEM["content"], QUESTION, THOUGHT), strict=True))
        for speaker, says in (("role", "content"), ("from", "value"), ("from", "content"), ("role", "value")):
            talk = [{speaker: who, says: text} for who, text in texts]
            nulls = dict.fromkeys(("role", "from", "content", "value"))
            for turns in (talk, [{**nulls, **turn} for turn in talk]):
                for column in ("messages", "conversations"):
                    assert said({column: turns}) == ([SYSTEM, ASK], THOUGHT)


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "assistant", "content": None, "tool_calls": CALL},
        {"role": "assistant", "content": "I call add.", "tool_calls": CALL},
        {"role": "assistant", "tool_calls": CALL},
        {"role": "assistant", "content": None, "function_call": {"name": "add", "arguments": "{}"}},
        {"role": "assistant", "content": [{"type": "tool_use", "name": "add"}]},
        {"role": "user", "content": [{"type": "tool_result", "content": "7"}]},
        *({"role": role, "content": "7"} for role in ("tool", "function", "ipython", "observation", "function_call")),
        {"from": "function_call", "value": "{}"},
        {"from": "observation", "value": "7"},
    ],
)
def test_tools_drop_the_row_wherever_they_stand(turn: dict[str, Any]) -> None:
    column = "conversations" if "from" in turn else "messages"
    assert lost({column: [ASK, turn, SAY]}) == "tool turns"
    assert lost({column: [ASK, SAY, turn]}) == "tool turns"
    assert lost({column: [ASK, turn], "answer": "7"}, "problems") == "tool turns"


def test_of_several_choices_the_one_that_calls_a_tool_goes() -> None:
    choices = [{"message": {"content": None, "tool_calls": CALL}}, {"message": BARE}]
    first, second = parse_rows(
        {"id": 1, "prompt": QUESTION, "choices": choices}, "f:1", role="demonstrations", source="s", domain="math"
    )
    assert isinstance(first, Dropped)
    assert (first.reason, first.detail.partition(" calls")[0]) == ("tool turns", "choices[0].message")
    assert isinstance(second, Row)
    assert (second.problem.id, second.response) == ("s/1/1", "\\boxed{7}")


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        ([ASK, {"role": "narrator", "content": "x"}, SAY], "messages[1].role is 'narrator', not one of system,"),
        ([ASK, {"content": "x"}, SAY], "messages[1] is"),
        ([ASK, {"role": "user"}, SAY], "messages[1] is"),
        ([ASK, {"role": None, "content": "x"}], "messages[1].role is None"),
        ([ASK, {"role": "user", "content": 5}], "messages[1].content is 5"),
        ([ASK, {"role": "user", "content": [5]}], "messages[1].content is [5]"),
        ([ASK, {"role": "user", "content": {"a": 1}}], "messages[1].content is {'a': 1}"),
        ([ASK, "x"], "messages[1] is 'x'"),
    ],
)
def test_what_is_no_turn_is_named(turns: list[Any], words: str) -> None:
    with pytest.raises(DataError) as caught:
        one({"messages": turns})
    assert words in str(caught.value)
    assert not isinstance(caught.value, RowFault)


def test_a_turn_that_says_nothing_in_the_middle() -> None:
    assert lost({"messages": [ASK, {"role": "user", "content": None}, SAY]}) == "an empty turn"
