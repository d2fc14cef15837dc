"""What a row asks, by the column that asks it, after what the columns beside it say before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from openklear.data.rows import RowFault
from openklear.data.shapes.columns import MEDIA, PROMPTS, SYSTEMS, TOOLS, Columns
from openklear.data.shapes.turns import Turns, holds, turns
from openklear.data.test_cases import as_json, wrong
from openklear.types import Message

TALKS = frozenset(("messages", "conversations"))
"""Columns that hold whole conversations: the assistant's last turn there is a response."""
_BEFORE, _BESIDE = ("history", *SYSTEMS), (*TOOLS, *MEDIA, "chat_template_kwargs")
_PAIR = "a list of [question, answer] or of messages"


def asked(columns: Columns, names: Sequence[str]) -> Turns:
    """The turns of the first of these columns, after the system prompt and the history that stand beside it."""
    name = next(name for name in names if name in columns.row)
    if columns.row[name] is None:
        name = next((name for name in names if columns.row.get(name) is not None), name)
    found = _turns(columns, name)
    if columns.row.keys().isdisjoint(_BEFORE):
        return found
    earlier = _history(columns)
    if earlier:
        start = next((index for index, turn in enumerate(found) if turn["role"] != "system"), len(found))
        found = (*found[:start], *earlier, *found[start:])
    return _after_system(columns, found)


def not_carried(columns: Columns) -> tuple[str, str] | None:
    """(reason, detail) where a column changes what the prompt means, and nothing here can carry it: tools, images."""
    if columns.row.keys().isdisjoint(_BESIDE):
        return None
    for names, reason in ((TOOLS, "tools"), (MEDIA, "images or sound")):
        for name in names:
            value = columns.row.get(name)
            if value is not None and holds(as_json(value)):
                ours = "tools" if names is TOOLS else "images"
                return reason, f'the column {name} says more than the prompt; to ignore it: columns = {{ {ours} = "" }}'
    kwargs = as_json(columns.row.get("chat_template_kwargs"))
    kept = kwargs if isinstance(kwargs, Mapping) else {}
    given = [name for name, value in kept.items() if name != "enable_thinking" and holds(value)]
    return ("template arguments", f"chat_template_kwargs has {', '.join(given)[:200]}") if given else None


def _turns(columns: Columns, name: str) -> Turns:
    """The turns of a column; one of text is the user's, with what must be known beside it."""
    value = columns.row[name]
    if name in TALKS or (name in (*PROMPTS, "input") and not isinstance(value, str | None)):
        return turns(value, name, columns.where)
    text = columns.text(name)
    if name == "instruction":
        text = "\n\n".join(filter(None, (text, columns.text("input"))))
    elif name != "content":
        passage = columns.row.get("passage") if name in PROMPTS else None
        text = "\n\n".join(filter(None, (passage if isinstance(passage, str) else "", text)))
        text = _with_code(columns, text)
    return (Message(role="user", content=text),)


def _history(columns: Columns) -> Turns:
    """Earlier turns: pairs of a question and its answer (LLaMA-Factory), or messages."""
    value = columns.row.get("history")
    if value is None:
        return ()
    value = as_json(value)
    if not holds(value):
        return ()
    if not isinstance(value, list):
        raise wrong("history", value, _PAIR, columns.where)
    if isinstance(value[0], Mapping):
        return turns(value, "history", columns.where)
    for pair in value:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            raise wrong("history", value, _PAIR, columns.where)
    roles = ("user", "assistant") * len(value)
    return tuple(Message(role=role, content=text) for role, text in zip(roles, chain(*value), strict=True))


def _after_system(columns: Columns, found: Turns) -> Turns:
    """The turns with the system prompt of a column before them."""
    texts = dict.fromkeys(text for name in SYSTEMS if (text := _system(columns, name)))
    if found and found[0]["role"] == "system":
        texts.pop(found[0]["content"], None)
        if texts:
            what = "the column of the system prompt and the first turn differ; keep one of them"
            raise RowFault(f"{columns.where}: {what}", "two system prompts")
    if len(texts) > 1:
        raise RowFault(f"{columns.where}: {' and '.join(SYSTEMS)} differ; keep one of them", "two system prompts")
    return (*(Message(role="system", content=text) for text in texts), *found)


def _system(columns: Columns, name: str) -> str:
    value: Any = columns.row.get(name)
    if not holds(value):
        return ""
    if not isinstance(value, str):
        raise wrong(name, value, 'a text, or in the recipe columns = { system = "" }', columns.where)
    return value if value.strip() else ""


def _with_code(columns: Columns, asked: str) -> str:
    """The task, the code it begins with, and the tests that alone name its function (MBPP)."""
    if not asked.strip():
        return asked
    given, tests = columns.row.get("starter_code"), columns.row.get("test_list")
    if isinstance(given, str) and given.strip():
        asked = f"{asked}\n\nBegin your program with this code:\n```python\n{given}\n```"
    if isinstance(tests, list) and all(isinstance(test, str) for test in tests) and tests:
        asked = "\n".join((f"{asked}\nYour code must pass these tests:\n", *tests))
    elif tests is not None and not isinstance(tests, list | str):
        raise wrong("test_list", tests, "a list of asserts", columns.where)
    return asked
