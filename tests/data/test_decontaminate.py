"""The 9-gram rule against a slow version written another way, by hand, and on real data."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from tests.shared_data import shared

from openklear.data.decontaminate import build_index, decontaminate, drop_shared, ngrams, shared_prompts, tokens
from openklear.data.readers import read_rows
from openklear.data.rows import Row
from openklear.data.shapes import Role, parse_row
from openklear.types import Message, Problem


def row(prompt: str, name: str = "t") -> Row:
    return Row(Problem(name, (Message(role="user", content=prompt),), "math", "1", source="s"), "f:1")


def slow_tokens(text: str) -> list[str]:
    """Letter by letter: words grow, punctuation stands alone, white space ends a word."""
    found: list[str] = []
    inside = False
    for letter in unicodedata.normalize("NFC", text).lower():
        word = letter.isalnum() or letter == "_"
        if word and inside:
            found[-1] += letter
        elif word or not letter.isspace():
            found.append(letter)
        inside = word
    return found


def slow_contaminated(prompt: str, evaluation: list[str], n: int) -> bool:
    mine = slow_tokens(prompt)
    for other in evaluation:
        theirs = slow_tokens(other)
        if " ".join(prompt.lower().split()) == " ".join(other.lower().split()):
            return True
        if n and len(theirs) < n and mine == theirs:
            return True
        for i in range(len(mine) - n + 1 if n else 0):
            for j in range(len(theirs) - n + 1):
                if mine[i : i + n] == theirs[j : j + n]:
                    return True
    return False


letters = st.text(alphabet="aB1 .,$\n_é", max_size=14)


@given(prompts=st.lists(letters, max_size=5), evaluation=st.lists(letters, max_size=4), n=st.integers(0, 5))
def test_against_the_slow_version(prompts: list[str], evaluation: list[str], n: int) -> None:
    rows = [row(p) for p in prompts]
    index = build_index([row(e, f"e{i}").problem for i, e in enumerate(evaluation)], n)
    dropped = {id(d.row) for d in decontaminate(rows, index).dropped}
    assert [id(r) in dropped for r in rows] == [slow_contaminated(p, evaluation, n) for p in prompts]


@given(letters)
def test_tokens_against_the_slow_version(text: str) -> None:
    assert tokens(text) == slow_tokens(text)


def test_tokens_by_hand() -> None:
    assert tokens("Find $x_1$,\n now: 2.5!") == ["find", "$", "x_1", "$", ",", "now", ":", "2", ".", "5", "!"]


def test_ngrams_by_hand() -> None:
    assert list(ngrams(["a", "b", "c"], 2)) == [("a", "b"), ("b", "c")]
    assert list(ngrams(["a"], 2)) == []


NINE = "one two three four five six seven eight nine"


def test_nine_words_are_enough_eight_are_not_and_the_reason_names_the_item() -> None:
    index = build_index([row(f"Zero {NINE} ten", "aime/3").problem], 9)
    shifted = row(f"Here {NINE.upper()}, eleven")
    eight = row("Here one two three four five six seven eight, eleven")
    comma = row(NINE.replace("five", "five,"))
    sifted = decontaminate([shifted, eight, comma], index)
    assert sifted.kept == (eight, comma)
    assert sifted.dropped[0].reason == "shares 9 words in a row"
    assert sifted.dropped[0].detail == f"with aime/3: {NINE}"


def test_short_items_compare_whole() -> None:
    index = build_index([row("What is 1 + 1?", "e/1").problem], 9)
    same, spaced, longer = row("what is 1 + 1?"), row("What is 1+1 ?"), row("So: what is 1 + 1? Answer in one word.")
    sifted = decontaminate([same, spaced, longer], index)
    assert sifted.kept == (longer,)
    assert [d.detail for d in sifted.dropped] == ["the same prompt as e/1", "the same words as e/1"]


def test_no_ngrams_still_drops_equal_prompts() -> None:
    index = build_index([row(NINE, "e/1").problem], 0)
    sifted = decontaminate([row(NINE.upper()), row(f"{NINE} ten")], index)
    assert [d.detail for d in sifted.dropped] == ["the same prompt as e/1"]


def test_disjointness() -> None:
    held = [row("Find x."), row("Find y.")]
    assert shared_prompts([row("FIND  x."), row("Find z.")], held) == {"find x."}
    sifted = drop_shared([row("FIND  x."), row("Find z.")], {"find x.": "h/1"})
    assert [d.detail for d in sifted.dropped] == ["the same prompt as h/1"]


def load(name: str, role: Role) -> list[Row]:
    rows = [
        parse_row(raw, where, role=role, source=name, domain="math") for where, raw in read_rows(shared(name), name)
    ]
    return [r for r in rows if isinstance(r, Row)]


def test_real_traces_are_all_found() -> None:
    """Every row of the file is an item of GSM8K test or MATH-500 (SOURCES.md)."""
    traces = load("traces/long_cot.jsonl", "demonstrations")
    names = ("benchmarks/gsm8k_test.jsonl", "benchmarks/math500.jsonl")
    index = build_index([r.problem for name in names for r in load(name, "heldout")], 9)
    sifted = decontaminate(traces, index)
    assert len(traces) == 1604
    assert [r.problem.id for r in sifted.kept] == []


def test_real_training_sets_are_mostly_left_alone() -> None:
    """machine.md: a plain 9-gram filter drops 0.4 % of GSM8K train."""
    index = build_index([r.problem for r in load("benchmarks/gsm8k_test.jsonl", "heldout")], 9)
    rows = load("train/gsm8k_train.jsonl", "problems")
    dropped = decontaminate(rows, index).dropped
    assert 0.001 < len(dropped) / len(rows) < 0.02
