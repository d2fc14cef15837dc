"""Length limits; the other filters stand in test_steps."""

from __future__ import annotations

import pickle

import pytest

from openklear.data.filters import length_rule
from openklear.data.rows import Row
from openklear.types import Message, Problem


def row(prompt: str, response: str | None = None) -> Row:
    turns = (Message(role="system", content="x" * 100), Message(role="user", content=prompt))
    return Row(Problem("i", turns, "math", "1"), "f:1", response)


@pytest.mark.parametrize(
    ("limits", "prompt", "response", "expected"),
    [
        ({}, "", "", None),
        ({"min_prompt": 4}, "four", None, None),
        ({"min_prompt": 5}, "four", None, ("prompt too short", "4 characters; at least 5")),
        ({"max_prompt": 4}, "four", None, None),
        ({"max_prompt": 3}, "four", None, ("prompt too long", "4 characters; at most 3")),
        ({"max_prompt": 4}, "fünf", None, None),
        ({"max_response": 1999}, "p", "ab " * 700, ("response too long", "2,100 characters; at most 1,999")),
        ({"min_response": 3}, "p", "ab", ("response too short", "2 characters; at least 3")),
        ({"max_response": 1}, "p", None, None),
        ({"min_response_words": 3}, "p", "a  b\n", ("response too short", "2 words; at least 3")),
        ({"max_response_words": 2}, "p", "a  b\nc", ("response too long", "3 words; at most 2")),
        ({"max_response_words": 3}, "p", "a  b\nc", None),
    ],
)
def test_lengths(limits: dict[str, int], prompt: str, response: str | None, expected: tuple[str, str] | None) -> None:
    rule = pickle.loads(pickle.dumps(length_rule(**limits)))
    assert rule(row(prompt, response)) == expected
