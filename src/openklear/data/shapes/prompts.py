"""What a row asks, shape by shape."""

from __future__ import annotations

from openklear.data.shapes.columns import PROMPTS, Columns, Turns, turns
from openklear.data.test_cases import wrong
from openklear.types import Message


def from_messages(columns: Columns) -> Turns:
    """messages: [{role, content}, ...]."""
    return turns(columns.row["messages"], "messages", "role", "content", columns.where)


def from_conversations(columns: Columns) -> Turns:
    """conversations: [{from, value}, ...]; some sets write {role, content} in them."""
    value = columns.row["conversations"]
    ours = isinstance(value, list) and bool(value) and isinstance(value[0], dict) and "role" in value[0]
    speaker, said = ("role", "content") if ours else ("from", "value")
    return turns(value, "conversations", speaker, said, columns.where)


def from_prompt(columns: Columns) -> Turns:
    """prompt | problem | question: text or messages; with what a program's writer must know beside it."""
    name = next(name for name in PROMPTS if name in columns.row)
    value = columns.row[name]
    if value is not None and not isinstance(value, str):
        return turns(value, name, "role", "content", columns.where)
    passage = columns.text("passage") if isinstance(columns.row.get("passage"), str) else ""
    asked = "\n\n".join(filter(None, (passage, value)))
    return _user(_with_code(columns, asked))


def from_instruction(columns: Columns) -> Turns:
    """instruction and input (Alpaca)."""
    return _user("\n\n".join(filter(None, (columns.text("instruction"), columns.text("input")))))


def from_question_content(columns: Columns) -> Turns:
    """question_content (LiveCodeBench)."""
    return _user(_with_code(columns, columns.text("question_content")))


def from_content(columns: Columns) -> Turns:
    """content (LiveCodeBench as SandboxFusion ships it)."""
    return _user(columns.text("content"))


def from_text(columns: Columns) -> Turns:
    """text (MBPP)."""
    return _user(_with_code(columns, columns.text("text")))


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


def _user(text: str) -> Turns:
    return (Message(role="user", content=text),)
