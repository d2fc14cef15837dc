r"""A reference that is more than an answer: its final answer is taken, or the row goes. Real answers stay as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.shared_data import shared

from openklear.data.finals import final_answer
from openklear.data.reasoning import to_one_form
from openklear.data.rows import Dropped, Row
from openklear.data.shapes import Role, parse_rows
from openklear.verifiers.answers import extract_boxed
from openklear.verifiers.mathematics.grader import MathGrader

QUESTION = "Natalia sold clips to 48 friends in April, half as many in May. How many altogether?"
STEPS = "48/2 = <<48/2=24>>24\n48+24 = <<48+24=72>>72"
WORDS = (
    "Natalia sold half as many clips in May as she did in April.\n"
    "Then she added both of these numbers on a sheet of paper."
)
PROOF = (
    "1. **Take a countable subset.** Let $S_0$ be such a set.\n\n2. It is orthogonal to all the others, as required."
)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (f"{STEPS}\n#### 72", "72"),
        (f"{STEPS}\n####72", "72"),
        (f"{STEPS}\n#### 72\n\n", "72"),
        (f"{STEPS} #### 72", "72"),  # on one line
        (f"{STEPS}\r\n#### 72", "72"),
        ("#### 72", "72"),
        (f"{STEPS}\n#### 1,000", "1000"),
        (f"{STEPS}\n#### -1,234,567.5", "-1234567.5"),
        (f"{STEPS}\n#### -5", "-5"),
        (f"{STEPS}\n#### $1,000", "$1000"),
        (f"{STEPS}\n#### $7.50", "$7.50"),
        (f"{STEPS}\n#### 72 clips", "72 clips"),
        (f"{STEPS}\n#### 1,2", "1,2"),  # no number with thousands
        (f"{STEPS}\n#### \\boxed{{72}}", "72"),
        (f"#### 5\n{STEPS}\n#### 72", "72"),  # the last of several
        ("The answer is $\\boxed{5}$.", "5"),
        ("Either $\\boxed{3}$ or $\\boxed{5}$", "3, 5"),
        ("We know that $x=2$. Hence $x^2 = \\boxed{4}$.", "4"),
        ("First, $\\boxed{3}$ is a part of what we want.\n\nThen we add four to it and find $\\boxed{7}$.", "7"),
        ("The first root is found by hand. The solutions are then $\\boxed{1}$ and $\\boxed{2}$.", "1, 2"),
        ("<think>\nWait, 3+4.\n</think>\n\nThe answer is $\\boxed{7}$.", "7"),
        ("<think>\nWait, 3+4.\n</think>\n\n7", "7"),
        ("Wait, 3+4 is \\boxed{8}, no.\n</think>\n\n7", "7"),
        ("<think>\nIt is \\boxed{8}, no.\n</think>\n\nSum of both numbers, as we were asked:\n\n#### 7", "7"),
        (f"{WORDS}\n\nThe answer is 72.", "72"),
        (f"{WORDS}\n#### 110\nThe answer is: 110", "110"),  # MetaMath
        (f"**Final answer:** 72\n\n{WORDS}", "72"),
        (f"{WORDS}\n\n<answer>72</answer>", "72"),
    ],
)
def test_the_final_answer_of_a_text(text: str, answer: str) -> None:
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        f"{STEPS}\n####",
        f"{STEPS}\n#### ",
        STEPS,
        WORDS,
        PROOF,
        "<think>\nIt is \\boxed{8}, no, it is",
        "<think>\nWait, 3+4.\n</think>\n\n",
        "Since the sum of two even numbers is even, and the first of them is even, so is the second of the two. QED.",
        "The first of the answers was wrong. We then looked for others and did not find any of them at all.",
        "proof",
        "notfound",
        "Proof",
    ],
)
def test_a_text_without_one(text: str) -> None:
    assert final_answer(text) is None


@pytest.mark.parametrize(
    "text",
    [
        *("72", "-5", "1,000", "$5", "x = 1\ny = 2", r"\boxed{72}", r"\boxed{1}, \boxed{2}", r"$\boxed{7}$ cm", "A", "(B)"),
        r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
        "\\begin{cases}\nx = 1 \\\\\ny = 2\n\\end{cases}",
        r"\text{Brian is faster than Alice, and Alice is faster than Carl}",
        "$f(x) = x$ for all $x \\in \\mathbb{R}$ or $f(x) = 0$ for all $x \\in \\mathbb{R}$",
        "Process converting light to chemical energy",
        "To solve 2x + 5 = 15, subtract 5 from both sides to get 2x = 10, then divide by 2 to get x = 5",
        r"x = \boxed{5} or x = \boxed{7}",
        "(1) Amelia is a knight\n(2) Owen is a knave\n(3) Emily is a knight",
        json.dumps({"solution_text_format": "(1) Samuel is a knave.\n(2) It is a long story. #### 5", "statements": "<<1=1>>"}),
        "# of apples",
        "C#",
        "F# minor",
        "#### 5 ####\nprint(1)  # a comment",
        "def f(x):\n    return x + 1  # one more",
        "",
    ],
)  # fmt: skip
def test_what_is_an_answer_stays_as_it_is(text: str) -> None:
    assert final_answer(text) == text


REFERENCES = (
    lambda text: {"question": QUESTION, "answer": text},
    lambda text: {"problem": QUESTION, "gtruth_answer": text},
    lambda text: {"prompt": [{"role": "user", "content": QUESTION}], "ground_truth": text},
    lambda text: {"messages": [{"role": "user", "content": QUESTION}], "ground_truth": [text]},
    lambda text: {"prompt": QUESTION, "reward_model": {"ground_truth": text, "style": "rule"}},
    lambda text: {"prompt": QUESTION, "reward_model": json.dumps({"ground_truth": text})},
)


@pytest.mark.parametrize("make", REFERENCES)
def test_wherever_a_reference_comes_from(make: Any) -> None:
    for role in ("problems", "validation", "heldout"):
        (row,) = parse_rows(make(f"{STEPS}\n#### 72"), "f:1", role=role, source="s", domain="math")  # type: ignore[arg-type]
        assert isinstance(row, Row)
        assert row.problem.answer == "72"
        (gone,) = parse_rows(make(f"{STEPS}\n####"), "f:1", role=role, source="s", domain="math")  # type: ignore[arg-type]
        assert isinstance(gone, Dropped)
        assert gone.reason == "no final answer"
        assert gone.detail.endswith("####'")


def read(raw: dict[str, Any], role: Role, domain: str = "math", **mapping: str) -> Row:
    (row,) = parse_rows(raw, "f:1", role=role, source="s", domain=domain, mapping=mapping)
    assert isinstance(row, Row)
    return row


def test_columns_of_the_recipe_demonstrations_and_other_domains() -> None:
    math = {"problem": QUESTION, "level": "Level 1", "type": "Algebra", "solution": f"{WORDS} It is $\\boxed{{72}}$."}
    assert read(math, "problems", answer="solution").problem.answer == "72"
    gsm8k = {"question": QUESTION, "answer": f"{STEPS}\n#### 72"}
    row = read(gsm8k, "demonstrations", response="answer")
    assert (row.response, row.problem.answer) == (gsm8k["answer"], "72")
    row = read({"question": QUESTION, "response": "r", "answer": WORDS}, "demonstrations")
    assert (row.response, row.problem.answer) == ("r", None)  # nothing to grade against, and it need not be
    assert read({"question": QUESTION, "answer": WORDS}, "benchmark").problem.answer is None
    code = {"question": "Print it.", "answer": f"{STEPS}\n#### 72", "tests": [{"input": "", "output": "#### 72"}]}
    assert read(code, "problems", "code").problem.answer == code["answer"]
    assert read(code, "problems", "code").problem.tests[0].stdout == "#### 72"  # type: ignore[union-attr]


def rows_of(name: str) -> list[dict[str, Any]]:
    text = Path(shared(name)).read_text(encoding="utf-8")
    return list(json.loads(text)) if text.startswith("[") else [json.loads(line) for line in text.split("\n") if line]


@pytest.mark.parametrize("name", ["train/gsm8k_train.jsonl", "benchmarks/gsm8k_test.jsonl"])
def test_gsm8k_as_published_gives_the_published_numbers(name: str) -> None:
    rows = rows_of(name)
    assert [final_answer(row["solution"]) for row in rows] == [row["answer"] for row in rows]
    shown = [extract_boxed(to_one_form(row["solution"], "plain")) or "" for row in rows]  # what demonstrations have
    assert [text.replace(",", "") for text in shown] == [row["answer"] for row in rows]


@pytest.mark.parametrize(
    ("name", "wrong", "none"), [("benchmarks/math500.jsonl", 3, 0), ("train/aime_1983_2023.json", 0, 2)]
)
def test_worked_solutions_end_with_the_answer_that_stands_beside_them(name: str, wrong: int, none: int) -> None:
    found = [(final_answer(row["solution"]), str(row["answer"])) for row in rows_of(name)]
    assert sum(answer is None for answer, _ in found) == none
    grader = MathGrader(1, 5.0)
    try:
        others = [pair for pair in found if pair[0] not in (None, pair[1])]
        right = [grader.grade(answer or "", beside).correct for answer, beside in others]
    finally:
        grader.close()
    assert right.count(False) == wrong  # 10\% for 10 twice, and a number in two spellings


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=300)
    | st.lists(
        st.sampled_from(
            ["####", "\n", " ", "72", "\\boxed{", "}", "<think>", "</think>", "So it is. ", "$", "answer: "]
        )
    ).map("".join)
)
def test_any_text_is_an_answer_has_one_or_has_none(text: str) -> None:
    found = final_answer(text)
    assert found is None or found == text or (found and found == found.strip())
    if found is not None and found != text and len(found) < 40 and "####" not in found:
        assert final_answer(found) in (found, None) or "boxed" in found
