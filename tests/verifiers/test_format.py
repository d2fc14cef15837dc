import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openklear.types import FormatFault as Fault
from openklear.verifiers.format import extract_program, split_reasoning


@pytest.mark.parametrize(
    ("text", "tail", "expected"),
    [
        ("<think>a</think>b", "", (Fault.NONE, "b")),
        ("  \n<think>a</think>\n b", "", (Fault.NONE, "\n b")),
        ("a</think>b", "<|assistant|>\n<think>\n", (Fault.NONE, "b")),
        ("no thought at all", "", (Fault.NOT_OPENED, "no thought at all")),
        ("hello <think>a</think>b", "", (Fault.TEXT_BEFORE, "b")),
        ("</think>a<think>b", "", (Fault.TEXT_BEFORE, "a<think>b")),
        ("<think>a</think>b</think>c", "", (Fault.SEVERAL, "c")),
        ("<think><think>a</think>b", "", (Fault.SEVERAL, "b")),
        ("<think>a</think>b<think>c</think>d", "", (Fault.SEVERAL, "d")),
        ("<think>a</think>b", "<think>", (Fault.SEVERAL, "b")),
        ("a</think>b", "", (Fault.NOT_OPENED, "b")),
        ("<think>a", "", (Fault.NOT_CLOSED, None)),
        ("a", "<think>", (Fault.NOT_CLOSED, None)),
        ("<think>a</think> \n", "", (Fault.NO_ANSWER, None)),
        ("</think>", "", (Fault.NOT_OPENED, None)),
        ("", "", (Fault.NOT_OPENED, None)),
        ("", "<think>", (Fault.NOT_CLOSED, None)),
        ("<think>a</think>b<think>", "", (Fault.SEVERAL, "b<think>")),
        ("hello <think>a</think>", "", (Fault.TEXT_BEFORE, None)),
        ("a</think>b", "said <think>x</think> before <think>", (Fault.NONE, "b")),  # the last one counts
    ],
)
def test_split_reasoning(text, tail, expected):
    assert split_reasoning(text, tail) == expected


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.sampled_from(["<think>", "</think>", "a", " ", "\n", "<", "think>"]), max_size=9).map("".join),
    st.sampled_from(["", "<|assistant|>", "<|assistant|>\n<think>\n"]),
)
def test_well_formed_is_what_one_pattern_says(text, tail):
    whole = ("<think>\n" if "<think>" in tail else "") + text
    pattern = r"\s*<think>((?!</?think>).)*</think>(?P<answer>((?!</?think>).)*)"
    match = re.fullmatch(pattern, whole, re.DOTALL)
    fault, answer = split_reasoning(text, tail)
    assert (fault is Fault.NONE) == (match is not None and bool(match["answer"].strip()))
    if fault is Fault.NONE:
        assert answer == match["answer"]


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


@pytest.mark.parametrize("piece", [r"\boxed{", "{", "}", "\\", "$", "```\n", r"\[", "answer is ", "1,", "<think>"])
def test_hostile_texts_take_linear_time(piece):
    text = piece * (400_000 // len(piece))
    start = time.perf_counter()
    split_reasoning(text)
    extract_program(text)
    assert time.perf_counter() - start < 2.0  # a quadratic pass would take minutes
