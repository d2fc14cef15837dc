"""What was answered, shape by shape: some rows hold several answers to one prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from openklear.data.rows import RowFault
from openklear.data.shapes.columns import (
    CLAIMS,
    RESPONSES,
    TEACHERS,
    THOUGHTS,
    Columns,
    flag,
    lenient,
    string,
)
from openklear.data.shapes.turns import NO_RESPONSE, Turns, message_text, turns, with_thought
from openklear.data.test_cases import from_cell, listed, wrong

WRITERS = ("deepseek", "gemini")
"""Whose attempts s1K holds."""


_SWITCHES = frozenset(
    (
        "on",
        "off",
        "true",
        "false",
        "yes",
        "no",
        "none",
        "auto",
        "enabled",
        "disabled",
        "minimal",
        "low",
        "medium",
        "high",
    )
)
"""What a column `reasoning` also holds: whether, or how much, a model was asked to think."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, or why there is none."""

    text: str | None
    name: str = ""
    """Follows the problem's id, where the row holds several; else empty."""
    teacher: str | None = None
    claimed: bool | None = None
    before: Turns = ()
    """Turns between the prompt and the answer."""
    reason: str = ""
    """Why this answer cannot be used."""
    detail: str = ""


def from_turns(columns: Columns, asked: Turns) -> list[Reply]:
    """The assistant's last turn; a column `response` beside the turns beats it, others stand in for one."""
    if columns.row.get("response") is not None:
        return from_response(columns)
    if asked and asked[-1]["role"] == "assistant":
        return [_reply(columns, _thoughtful(columns, asked[-1]["content"]))]
    for name, read in (("completion", from_response), ("choices", from_choices), ("message_content", from_r1)):
        if columns.row.get(name) is not None:
            return read(columns)
    return [_ended(asked)]


def from_response(columns: Columns) -> list[Reply]:
    """response | completion: text, a message, several of which the last answers, or an answer of the OpenAI API."""
    name = columns.first(RESPONSES) or next((name for name in RESPONSES if name in columns.row), RESPONSES[0])
    value = columns.row.get(name)
    if isinstance(value, Mapping):
        if "choices" in value or "content" not in value:
            return _of_choices(value, name, columns)
        value = [{"role": "assistant", **value}]
    if isinstance(value, list) and (name == "completion" or (value and isinstance(value[0], Mapping))):
        said = turns(value, name, columns.where)
        if not said or said[-1]["role"] != "assistant":
            return [_ended(said)]
        last = _reply(columns, _thoughtful(columns, said[-1]["content"]))
        return [replace(last, before=said[:-1])]
    return [_reply(columns, _thoughtful(columns, string(value, name, columns.where)))]


def _ended(said: Turns) -> Reply:
    """No answer: the turns end with somebody else's."""
    return Reply(None, reason=NO_RESPONSE, detail=f"the last turn is the {said[-1]['role']}'s" if said else "")


def from_choices(columns: Columns) -> list[Reply]:
    """choices: [{message: {content, reasoning_content}}, ...] (the OpenAI API)."""
    return _of_choices(columns.row, "", columns)


def from_r1(columns: Columns) -> list[Reply]:
    """message_thinking and message_content (DeepSeek's API, as its answers are mostly kept)."""
    return [_reply(columns, _thoughtful(columns, columns.text("message_content")))]


def from_output(columns: Columns) -> list[Reply]:
    """output (Alpaca)."""
    return [_reply(columns, _thoughtful(columns, columns.text("output")))]


def from_generations(columns: Columns) -> list[Reply]:
    """generations, with the source's word on each (OpenR1-Math).

    is_reasoning_complete is not asked: curation looks at the text itself.
    """
    texts = _list(columns, "generations")
    claims = _claims(columns, len(texts))
    teacher = _teacher(columns)
    return [
        Reply(string(text, f"generations[{index}]", columns.where), str(index), teacher, claim)
        for index, (text, claim) in enumerate(zip(texts, claims, strict=True))
    ]


def from_attempts(columns: Columns) -> list[Reply]:
    """A thinking trajectory and an attempt by each writer (s1K, s1K-1.1)."""
    found: list[Reply] = []
    for writer in WRITERS:
        if columns.has(f"{writer}_attempt"):
            thought, text = columns.text(f"{writer}_thinking_trajectory"), columns.text(f"{writer}_attempt")
            claim = flag(columns.row.get(f"{writer}_grade"))
            found.append(Reply(with_thought(thought, text), writer, writer, claim))
    if not found and columns.has("attempt", "thinking_trajectories"):
        thoughts, text = _list(columns, "thinking_trajectories"), columns.text("attempt")
        found = [
            Reply(with_thought(thought, text), str(index) if len(thoughts) > 1 else "", _teacher(columns))
            for index, thought in enumerate(thoughts)
        ]
    return found


def from_inferences(columns: Columns) -> list[Reply]:
    """inferences: [{completion, model_name, pass_rate}, ...] (AceCoder)."""
    found: list[Reply] = []
    for index, item in enumerate(inferences(columns)):
        teacher, rate = item.get("model_name"), item.get("pass_rate")
        claim = rate == 1.0 if isinstance(rate, int | float) else None
        text = string(item.get("completion"), f"inferences[{index}].completion", columns.where)
        found.append(Reply(text, str(index), teacher if isinstance(teacher, str) else None, claim))
    return found


def inferences(columns: Columns) -> list[Mapping[str, Any]]:
    """AceCoder's programs with their pass rates."""
    found = _list(columns, "inferences")
    for index, item in enumerate(found):
        if not isinstance(item, Mapping):
            raise wrong(f"inferences[{index}]", item, "an object with completion", columns.where)
    return found


def _of_choices(answer: Mapping[str, Any], column: str, columns: Columns) -> list[Reply]:
    place = f"{column}.choices" if column else "choices"
    choices = answer.get("choices")
    if not isinstance(choices, list):
        raise wrong(place, choices, "a list of {message}", columns.where)
    teacher = answer.get("model")
    teacher = teacher if isinstance(teacher, str) else _teacher(columns)
    found: list[Reply] = []
    for index, choice in enumerate(choices):
        message = choice.get("message") if isinstance(choice, Mapping) else None
        if not isinstance(message, Mapping):
            raise wrong(f"{place}[{index}]", choice, "an object with message", columns.where)
        name = str(index) if len(choices) > 1 else ""
        try:
            text = message_text({"content": None, **message}, "assistant", f"{place}[{index}].message", columns.where)
        except RowFault as fault:
            found.append(Reply(None, name, reason=fault.reason, detail=str(fault)))
        else:
            found.append(Reply(_thoughtful(columns, text), name, teacher, _claimed(columns)))
    return found


def _reply(columns: Columns, text: str | None) -> Reply:
    """The only answer of a row, with what the row says of it."""
    return Reply(text, teacher=_teacher(columns), claimed=_claimed(columns))


def _thoughtful(columns: Columns, text: str | None) -> str | None:
    """The answer after the thought that a column beside it holds."""
    if text is None or columns.row.keys().isdisjoint(THOUGHTS):
        return text
    for name in THOUGHTS:
        if columns.has(name):
            thought = columns.text(name) if name in columns.asked else columns.row[name]
            if isinstance(thought, str) and thought.strip().lower() not in _SWITCHES:
                return with_thought(thought, text)
    return text


def _claims(columns: Columns, count: int) -> list[bool | None]:
    """The first column of verdicts with one for each generation."""
    for name in ("correctness_math_verify", "correctness_llama"):
        value = from_cell(columns.row.get(name), name, "a list of truth values", columns.where)
        if isinstance(value, list) and len(value) == count:
            return [flag(item) for item in value]
    return [None] * count


def _list(columns: Columns, name: str) -> list[Any]:
    return listed(columns.row.get(name), name, "a list", columns.where)


def _teacher(columns: Columns) -> str | None:
    return lenient(columns, TEACHERS)


def _claimed(columns: Columns) -> bool | None:
    for name in CLAIMS:
        value = flag(columns.row.get(name))
        if value is not None:
            return value
        if name in columns.asked and columns.has(name):
            raise wrong(name, columns.row[name], "a truth value", columns.where)
    return None
