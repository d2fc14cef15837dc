"""Marks of reasoning by source: what is inverse, what stays as it is, and real rows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.shared_data import shared

from openklear.data.reasoning import FORMS, one_form, to_one_form
from openklear.think import FormatFault, split_thought
from openklear.verifiers.answers import extract_boxed


def well_formed(text: str) -> bool:
    return split_thought(text).fault is FormatFault.NONE


PROGRAM = "def f(x):\n    if x:\n\n        return  x\n    return 0"
WRITERS = {
    "openthoughts": "<|begin_of_thought|>\n\n{r}\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n{a}\n\n<|end_of_solution|>",
    "s1": "think\n{r}\nanswer\n{a}",
    "s1 in ChatML": "<|im_start|>think\n{r}\n<|im_start|>answer\n{a}",
    "closing": "{r}</think>{a}",
    "closing with lines": "\n{r}\n</think>\n\n{a}\n",
}

lines = st.lists(
    st.sampled_from(
        ["    if x:", "x = 1", "", "so  two", "Answer: 3", "answer it", r"\boxed{4}", "```python", "#### 5", "é"]
    ),
    max_size=8,
).map("\n".join)
texts = st.tuples(lines, st.sampled_from(["a", "  b", "1."])).map(
    lambda pair: f"{pair[1]}\n{pair[0]}\n{pair[1].strip()}"
)


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=60, deadline=None)
@given(reasoning=texts, answer=texts)
def test_what_a_source_writes_is_read_back(name: str, reasoning: str, answer: str) -> None:
    """Byte for byte: no line is wrapped, joined or moved to the left."""
    form = name.partition(" ")[0]
    written = WRITERS[name].format(r=reasoning, a=answer)
    expected = f"<think>\n{reasoning}\n</think>\n\n{answer}"
    assert to_one_form(written, form) == expected
    assert to_one_form(written, "auto") == expected


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=80, deadline=None)
@given(
    pieces=st.lists(
        st.sampled_from(
            ["<think>", "</think>", "think", "answer", "<|begin_of_thought|>", "<|end_of_thought|>", "<|begin_of_solution|>",
             "<|end_of_solution|>", "#### 7", r"\boxed{7}", r"\boxed{", "}", "So the answer is 7.", "  x", "", "**Final Answer**"]
        ),
        max_size=9,
    ),
    glue=st.sampled_from(["\n", "\n\n", " ", ""]),
)  # fmt: skip
def test_the_result_is_the_response_or_well_formed_and_stays(form: str, pieces: list[str], glue: str) -> None:
    text = glue.join(pieces)
    found = to_one_form(text, form)
    assert found == text or well_formed(found)
    assert to_one_form(found, form) == found
    assert to_one_form(found, "think") == found


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("think", "a</think>b"),
        ("auto", "no mark at all"),
        ("auto", "<think>a</think>b"),
        ("closing", "a</think>b</think>c"),
        ("closing", "</think>b"),
        ("closing", "a</think>  \n"),
        ("openthoughts", "<|begin_of_thought|>a<|end_of_thought|><|begin_of_solution|>b"),
        ("openthoughts", "<|begin_of_thought|>a<|begin_of_solution|>b<|end_of_solution|>"),
        ("openthoughts", "Well. <|begin_of_thought|>a<|end_of_thought|><|begin_of_solution|>b<|end_of_solution|>"),
        ("openthoughts", "<|begin_of_thought|>a<|end_of_thought|><|begin_of_solution|>b<|end_of_solution|>c"),
        ("boxed", "<think>a</think>\n\n\\boxed{4}"),
        ("s1", "think\na\nanswer\nb\nanswer\nc"),
        ("s1", "thinking\na\nanswer\nb"),
        ("s1", "think\na"),
        ("plain", "no result"),
        ("plain", "a\n#### "),
        ("plain", "a\n#### }{"),
        ("plain", "#### 4"),
        ("boxed", r"\boxed{4}"),
        ("boxed", "I wonder.\n\nIs it 4 or 5?"),
        ("boxed", "First.\n\nIt is \\boxed{4}.\n\n" + "But wait. " * 150),
    ],
)
def test_what_cannot_be_brought_there_comes_back(form: str, text: str) -> None:
    assert to_one_form(text, form) == text


def test_an_unknown_form() -> None:
    with pytest.raises(KeyError):
        to_one_form("a", "xml")


def test_programs_keep_their_indentation() -> None:
    assert one_form(f"\n \n{PROGRAM}\n\n", f"\n    {PROGRAM}\n") == f"<think>\n{PROGRAM}\n</think>\n\n    {PROGRAM}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("48/2 = <<48/2=24>>24 clips.\n48+24 = <<48+24=72>>72.\n#### 72", "<think>\n48/2 = 24 clips.\n48+24 = 72.\n</think>\n\n\\boxed{72}"),
        ("a << b and c >> d\n#### 1,000\n", "<think>\na << b and c >> d\n</think>\n\n\\boxed{1,000}"),
        ("So $x = \\boxed{3}$, not \\boxed{\\frac{1}{2}}.", "<think>\nSo $x = \\boxed{3}$, not \\boxed{\\frac{1}{2}}.\n</think>\n\n\\boxed{\\frac{1}{2}}"),
        ("#### Step 1\nIt is \\boxed{2}.", "<think>\n#### Step 1\nIt is \\boxed{2}.\n</think>\n\n\\boxed{2}"),
    ],
)  # fmt: skip
def test_worked_solutions(text: str, expected: str) -> None:
    assert to_one_form(text, "plain") == expected


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Hmm.\n\nIt is \\boxed{4}.", "It is \\boxed{4}."),
        (
            "Is it \\boxed{3}?\n\nNo.\n\n**Final Answer**\n\n\\[\n\\boxed{4}\n\\]",
            "**Final Answer**\n\n\\[\n\\boxed{4}\n\\]",
        ),
        ("Hmm.\n\n\\boxed{4}\n\nDone.", "\\boxed{4}\n\nDone."),
        ("Hmm.\n\n**Final Answer**\n10", "**Final Answer**\n10"),
        ("Hmm.\n \nTherefore, k is 2.", "Therefore, k is 2."),
    ],
)
def test_all_reasoning(text: str, answer: str) -> None:
    found = to_one_form(text, "boxed")
    assert found.rpartition("</think>\n\n")[2] == answer
    assert well_formed(found)


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in shared(name).read_text().split("\n") if line]


def test_real_traces() -> None:
    """All but one: the service's error message. LIMO's have no marks; one of 41 concludes in Chinese and stays."""
    forms = {"s1.1-32b": "s1", "limo-32b": "boxed"}
    left = []
    for row in rows("traces/long_cot.jsonl"):
        response, form = row["response"], forms.get(row["teacher"], "closing")
        found = to_one_form(response, form)
        if not well_formed(found):
            left.append((row["teacher"], response[:20]))
            continue
        assert to_one_form(found, form) == found
        if form != "boxed":
            assert to_one_form(response, "auto") == found
        pieces = [piece.strip() for piece in found.removeprefix("<think>").split("</think>")]
        assert all(piece in response for piece in pieces)
    assert sorted(left)[0] == ("deepseek-r1", "Error after 6 attemp")
    assert [teacher for teacher, _ in sorted(left)[1:]] == ["limo-32b"]


def test_real_solutions() -> None:
    for row in rows("train/gsm8k_train.jsonl"):
        found = to_one_form(row["solution"], "plain")
        assert well_formed(found)
        assert "<<" not in found
        assert found.rpartition("</think>\n\n")[2].replace(",", "") == f"\\boxed{{{row['answer']}}}".replace(",", "")
        assert to_one_form(row["solution"], "auto") == found
    for row in rows("benchmarks/math500.jsonl"):
        found = to_one_form(row["solution"], "plain")
        assert extract_boxed(found) == row["answer"]
        assert well_formed(found)
