"""What a row asks, by the column that asks it."""

from __future__ import annotations

from collections.abc import Sequence

from openklear.data.shapes.columns import PROMPTS, Columns, Turns, turns
from openklear.data.test_cases import wrong
from openklear.types import Message


def asked(columns: Columns, names: Sequence[str]) -> Turns:
    """The turns of the first of these columns; one of text is the user's, with what must be known beside it."""
    name = next(name for name in names if name in columns.row)
    value = columns.row[name]
    if name in ("messages", "conversations") or (name in PROMPTS and not isinstance(value, str | None)):
        return turns(value, name, columns.where)
    text = columns.text(name)
    if name == "instruction":
        text = "\n\n".join(filter(None, (text, columns.text("input"))))
    elif name != "content":
        passage = columns.row.get("passage") if name in PROMPTS else None
        text = "\n\n".join(filter(None, (passage if isinstance(passage, str) else "", text)))
        text = _with_code(columns, text)
    return (Message(role="user", content=text),)


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
