import time

import pytest

from openklear.verifiers.format import extract_answer, extract_boxed, extract_program, split_reasoning


@pytest.mark.parametrize(
    ("text", "tail", "expected"),
    [
        ("<think>a</think>b", "", (True, "b")),
        ("  \n<think>a</think>\n b", "", (True, "\n b")),
        ("a</think>b", "<|assistant|>\n<think>\n", (True, "b")),
        ("no thought at all", "", (False, "no thought at all")),
        ("hello <think>a</think>b", "", (False, "b")),
        ("<think>a</think>b</think>c", "", (False, "c")),
        ("<think><think>a</think>b", "", (False, "b")),
        ("<think>a</think>b<think>c</think>d", "", (False, "d")),
        ("<think>a</think>b", "<think>", (False, "b")),
        ("a</think>b", "", (False, "b")),
        ("<think>a", "", (False, None)),
        ("a", "<think>", (False, None)),
        ("<think>a</think> \n", "", (False, None)),
        ("", "", (False, None)),
        ("<think>a</think>b<think>", "", (False, "b<think>")),
    ],
)
def test_split_reasoning(text, tail, expected):
    assert split_reasoning(text, tail) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\boxed{5}", "5"),
        (r"\boxed{\frac{1}{2}} and then \boxed{\frac{3}{4}}.", r"\frac{3}{4}"),
        (r"\boxed{\boxed{7}}", r"\boxed{7}"),
        (r"\boxed{4} wait \boxed{5", "4"),
        (r"\boxed {\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{a\}b}", r"a\}b"),
        (r"} \boxed{5}", "5"),
        (r"\fbox{3}", "3"),
        (r"\boxed 5", None),
        ("nothing", None),
    ],
)
def test_extract_boxed(text, expected):
    assert extract_boxed(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"The answer is 3, so \boxed{4}.", "4"),
        ("The answer is 42.", "42"),
        ("The answer is 42 because geometry proves it.", "42"),
        ("the answer is $\\frac{1}{2}$, since $x>3$.", r"\frac{1}{2}"),
        ("Final answer: 17\nThat is all.", "17"),
        ("The answer is that the volume of $ABC$ is 120.", "120"),
        ("some work 2+2=4\n#### 1,234", "1,234"),
        ("We add 3 and 4 to get 7", "7"),
        ("So we have $x=3$ and finally $x = 9$.", "x = 9"),
        ("no number here at all, sorry", None),
        ("", None),
    ],
)
def test_extract_answer(text, expected):
    assert extract_answer(text) == expected


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
    extract_answer(text)
    extract_program(text)
    assert time.perf_counter() - start < 2.0  # a quadratic pass would take minutes
