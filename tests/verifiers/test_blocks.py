"""Which block of an answer is its program."""

import pytest

from openklear.verifiers.blocks import extract_program


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("print(1)", "print(1)"),
        ("```python\nprint(1)\n```", "print(1)"),
        ("first\n```\nprint(1)\n```\nno:\n```py\nprint(2)\nprint(3)\n```\nbye", "print(2)\nprint(3)"),
        ("```python\nprint(1)", "print(1)"),
        ("```python\nprint(1)\n```\nand\n```python\nprint(", "print(1)"),
        ("  plain = 1 \n", "plain = 1"),
        ("```\nif x:\n    y\n```", "if x:\n    y"),
    ],
)
def test_extract_program(text, expected):
    assert extract_program(text) == expected
