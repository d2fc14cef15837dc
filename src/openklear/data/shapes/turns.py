"""The turns of a conversation: who speaks, what is said, and what was thought before it.

    roles      system, developer; user, human, prompter; assistant, gpt, chatgpt, model: under `role` or `from`
    content    text, or a list of parts whose texts are joined; under `content` or `value`
    thoughts   reasoning_content | reasoning | thinking beside the content, or parts of the type thinking: put before
               what was said, between <think> and </think>, in every turn of the assistant. Earlier turns keep theirs in
               the prompt, where a chat template may take it out.

What a turn cannot carry here (calls of tools and their results, images) is a RowFault: the row goes. Any other value is
a DataError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from openklear.data.rows import RowFault
from openklear.data.test_cases import from_json, wrong
from openklear.errors import DataError
from openklear.think import CLOSE, join_thought
from openklear.types import Message

Turns = tuple[Message, ...]

SPEAKERS = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "model"), "assistant"),
}
TOOL_ROLES = frozenset(
    ("tool", "function", "function_call", "observation", "ipython", "tool_call", "tool_response", "function_response")
)
TOOL_TURNS, NOT_TEXT, NO_RESPONSE = "tool turns", "content that is not text", "no response"
"""Reasons."""
_SPEAKER, _SAID = ("role", "from"), ("content", "value")
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
_CALLS = ("tool_calls", "function_call")
_TEXT_PARTS = (None, "text", "input_text", "output_text")
_THOUGHT_PARTS = ("thinking", "reasoning", "reasoning.text")
_TOOL_PARTS = ("tool_use", "tool_call", "tool_result", "function_call", "function_call_output")


def turns(value: Any, column: str, where: str) -> Turns:
    """The turns of a conversation, or of its JSON text. DataError, with the place inside, for anything else."""
    speaker, said = ("from", "value") if column == "conversations" else ("role", "content")
    if isinstance(value, str):
        value = from_json(value, column, f"a list of {{{speaker}, {said}}}", where)
    if not isinstance(value, list):
        raise wrong(column, value, f"a list of {{{speaker}, {said}}}", where)
    found: list[Message] = []
    for index, turn in enumerate(value):
        if (plain := _plain(turn)) is not None:
            found.append(plain)
            continue
        here = f"{column}[{index}]"
        if not isinstance(turn, dict):
            raise wrong(here, turn, f"an object with {speaker} and {said}", where)
        role = _role(turn, here, where)
        text = message_text(turn, role, here, where)
        if text is None and index + 1 < len(value):
            raise RowFault(f"{where}: {here} says nothing; correct or remove the row", "an empty turn")
        found.append(Message(role=role, content=text or ""))
    return tuple(found)


def _plain(turn: Any) -> Message | None:
    """The message of a turn that is a role and a text and nothing else, as nearly all are."""
    if not isinstance(turn, dict) or len(turn) != 2:
        return None
    who, text = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
    if not isinstance(who, str) or not isinstance(text, str) or who not in SPEAKERS:
        return None
    return Message(role=SPEAKERS[who], content=text)


def message_text(message: Mapping[str, Any], role: str, here: str, where: str) -> str | None:
    """What a message says, after what was thought before it; None where it says nothing."""
    for name in _CALLS:
        if holds(message.get(name)):
            what = f"{here} calls a tool ({name}), which nothing here can carry; remove the row"
            raise RowFault(f"{where}: {what}", TOOL_TURNS)
    name = _filled(message, _SAID)
    value = message.get(name)
    if value is None:
        if name not in message:
            raise wrong(here, message, "an object with role and content", where)
        return None
    thought = ""
    if not isinstance(value, str):
        value, thought = _joined(value, f"{here}.{name}", where)
    if role == "assistant":
        value = with_thought(thought or _thought(message, here, where), value)
    return value


def holds(value: Any) -> bool:
    """Whether a cell says anything: not null, not empty, and no struct of nulls, as Parquet writes them."""
    if isinstance(value, Mapping):
        return any(map(holds, value.values()))
    return value is not None and value == value and value not in ("", [], False)


def with_thought(thought: Any, text: str) -> str:
    """The reasoning, where there is one that the text does not hold already, and what was said after it."""
    if not isinstance(thought, str) or not thought.strip() or CLOSE in text or not text.strip():
        return text
    return join_thought(thought, text)


def _filled(turn: Mapping[str, Any], names: Sequence[str]) -> str:
    """The name that holds something, else one that is there, else the first."""
    first, second = names
    if turn.get(first) is not None or turn.get(second) is None:
        return first if first in turn or second not in turn else second
    return second


def _role(turn: Mapping[str, Any], here: str, where: str) -> str:
    name = _filled(turn, _SPEAKER)
    who = turn.get(name)
    found = SPEAKERS.get(who.strip().lower()) if isinstance(who, str) else None
    if found is not None:
        return found
    if isinstance(who, str) and who.strip().lower() in TOOL_ROLES:
        raise RowFault(
            f"{where}: {here}.{name} is {who!r:.60}, a turn of a tool, which nothing here can carry; remove the row",
            TOOL_TURNS,
        )
    if name not in turn:
        raise wrong(here, turn, "an object with role and content", where)
    known = ", ".join(SPEAKERS)
    raise DataError(f"{where}: {here}.{name} is {who!r:.60}, not one of {known}; rename or remove it")


def _thought(message: Mapping[str, Any], here: str, where: str) -> str:
    """What was thought, from the fields that servers and data sets write it to."""
    for name in _THOUGHTS:
        value = message.get(name)
        if isinstance(value, str) and value.strip():
            return value
        if not isinstance(value, str | bool) and holds(value):
            text, thought = _joined(value, f"{here}.{name}", where)
            return thought or text
    details = message.get("reasoning_details")  # OpenRouter's; it writes the text to `reasoning` too
    if not isinstance(details, list):
        return ""
    texts = (part.get("text") for part in details if isinstance(part, Mapping))
    return "".join(text for text in texts if isinstance(text, str))


def _joined(value: Any, here: str, where: str) -> tuple[str, str]:
    """(text, thought) of the parts of a content."""
    parts = [value] if isinstance(value, Mapping) and {"type", "text"} & value.keys() else value
    if not isinstance(parts, list):
        raise wrong(here, value, "a string", where)
    said, thought = "", ""
    for part in parts:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if isinstance(part, str):
            said += part
        elif not isinstance(part, Mapping):
            raise wrong(here, value, "a string, or a list of {type, text}", where)
        elif kind in _TEXT_PARTS and isinstance(part.get("text"), str):
            said += part["text"]
        elif kind in _THOUGHT_PARTS:
            inner = part.get("thinking") or part.get("text") or ""
            thought += inner if isinstance(inner, str) else _joined(inner, here, where)[0]
        else:
            named = kind or next(iter(part), "nothing")
            what = f"{here} holds a part of the kind {named!r:.60}, and only text can be carried; remove the row"
            raise RowFault(f"{where}: {what}", TOOL_TURNS if kind in _TOOL_PARTS else NOT_TEXT)
    return said, thought
