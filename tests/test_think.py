import ast
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openklear.think import FormatFault as Fault
from openklear.think import join_thought, split_thought
from openklear.verifiers.blocks import extract_program

HOUSE = Path(__file__).parents[1] / "src" / "openklear"


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
def test_fault_and_answer(text, tail, expected):
    fault, _, answer = split_thought(text, tail)
    assert (fault, answer) == expected


@pytest.mark.parametrize(
    ("text", "tail", "thought"),
    [
        ("<think>a</think>b", "", "a"),
        ("a</think>b", "", "a"),
        ("a</think>b", "<|assistant|><think>\n", "\na"),
        ("hello <think>a</think>b", "", "a"),
        ("<think>a<think>b</think>c", "", "a<think>b"),
        ("<think>a</think>b</think>c", "", "a</think>b"),
        ("<think>a", "", ""),
        ("b", "", ""),
    ],
)
def test_thought(text, tail, thought):
    assert split_thought(text, tail).thought == thought


def test_what_is_joined_is_well_formed_and_comes_apart_again():
    text = join_thought("a\nb", "c\n")
    assert text == "<think>\na\nb\n</think>\n\nc\n"
    assert split_thought(text) == (Fault.NONE, "\na\nb\n", "\n\nc\n")


def test_the_marks_are_written_in_one_module():
    """Prose names the form <think>...</think>; code takes the marks from here."""
    written = {path.stem for path in HOUSE.rglob("*.py") for text in texts_of(path) if re.search("</?think>", text)}
    assert written == {"think"}


def texts_of(path):
    """The texts in a module's code, without docstrings and without the form as prose names it."""
    tree = ast.parse(path.read_text())
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value.replace("<think>...</think>", "")


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.sampled_from(["<think>", "</think>", "a", " ", "\n", "<", "think>"]), max_size=9).map("".join),
    st.sampled_from(["", "<|assistant|>", "<|assistant|>\n<think>\n"]),
)
def test_well_formed_is_what_one_pattern_says(text, tail):
    whole = ("<think>\n" if "<think>" in tail else "") + text
    pattern = r"\s*<think>((?!</?think>).)*</think>(?P<answer>((?!</?think>).)*)"
    match = re.fullmatch(pattern, whole, re.DOTALL)
    fault, thought, answer = split_thought(text, tail)
    assert (fault is Fault.NONE) == (match is not None and bool(match["answer"].strip()))
    if fault is Fault.NONE:
        assert answer == match["answer"]
        assert whole.lstrip() == f"<think>{thought}</think>{answer}"


@pytest.mark.parametrize("piece", [r"\boxed{", "{", "}", "\\", "$", "```\n", r"\[", "answer is ", "1,", "<think>"])
def test_hostile_texts_take_linear_time(piece):
    text = piece * (400_000 // len(piece))
    start = time.process_time()
    split_thought(text)
    extract_program(text)
    assert time.process_time() - start < 2.0  # a quadratic pass would take minutes
