"""What was answered, shape by shape: some rows hold several answers to one prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openklear.data.shapes.columns import (
    CLAIMS,
    RESPONSES,
    TEACHERS,
    THOUGHTS,
    Columns,
    flag,
    lenient,
    string,
    turns,
    with_thought,
)
from openklear.data.test_cases import from_cell, listed, wrong

WRITERS = ("deepseek", "gemini")
"""Whose attempts s1K holds."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    text: str | None
    name: str = ""
    """Follows the problem's id, where the row holds several; else empty."""
    teacher: str | None = None
    claimed: bool | None = None


def from_turns(columns: Columns, last: str | None) -> list[Reply]:
    """The assistant's last turn; a column `response` beside the turns beats it."""
    return [_reply(columns, last)] if columns.row.get("response") is None else from_response(columns)


def from_response(columns: Columns) -> list[Reply]:
    """response | completion: text, the last of its messages, or an answer of the OpenAI API."""
    name = next((name for name in RESPONSES if name in columns.row), RESPONSES[0])
    value = columns.row.get(name)
    if isinstance(value, Mapping):
        return _of_choices(value, name, columns)
    if name == "completion" and isinstance(value, list):
        said = turns(value, name, columns.where)
        value = said[-1]["content"] if said else None
    return [_reply(columns, _thoughtful(columns, string(value, name, columns.where)))]


def from_choices(columns: Columns) -> list[Reply]:
    """choices: [{message: {content, reasoning_content}}, ...] (the OpenAI API)."""
    return _of_choices(columns.row, "", columns)


def from_r1(columns: Columns) -> list[Reply]:
    """message_thinking and message_content (DeepSeek's API, as its answers are mostly kept)."""
    return [_reply(columns, _thoughtful(columns, columns.text("message_content")))]


def from_output(columns: Columns) -> list[Reply]:
    """output (Alpaca)."""
    return [_reply(columns, columns.text("output"))]


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
    found: list[Reply] = []
    for index, choice in enumerate(choices):
        message = choice.get("message") if isinstance(choice, Mapping) else None
        if not isinstance(message, Mapping):
            raise wrong(f"{place}[{index}]", choice, "an object with message", columns.where)
        text = string(message.get("content"), f"{place}[{index}].message.content", columns.where)
        text = None if text is None else with_thought(message.get("reasoning_content"), text)
        name = str(index) if len(choices) > 1 else ""
        found.append(Reply(text, name, teacher if isinstance(teacher, str) else _teacher(columns), _claimed(columns)))
    return found


def _reply(columns: Columns, text: str | None) -> Reply:
    """The only answer of a row, with what the row says of it."""
    return Reply(text, teacher=_teacher(columns), claimed=_claimed(columns))


def _thoughtful(columns: Columns, text: str | None) -> str | None:
    name = columns.first(THOUGHTS)
    if name is None or text is None:
        return text
    if name in columns.asked:
        columns.text(name)
    return with_thought(columns.row[name], text)


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
