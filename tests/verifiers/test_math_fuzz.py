"""A short, deterministic share of tests/fuzz/fuzz_math, and the same laws over texts that hypothesis makes."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz.fuzz_math import run, verdict
from tests.fuzz.math_strategies import FLOODS, INNOCENT, answer

from openklear.verifiers.answers import extract_answer, extract_boxed, join_boxes
from openklear.verifiers.mathematics.limits import over_limit
from openklear.verifiers.mathematics.text import normalise, split

PIECES = st.lists(st.sampled_from(FLOODS) | st.text("0123456789x+-,./ ", max_size=4), max_size=25).map("".join)


def test_a_share_of_the_fuzzing():
    fuzzer = run(seconds=60.0, seed=1, rounds=25)
    assert not fuzzer.failures, fuzzer.failures[:5]
    assert fuzzer.counts["hostile"] == 25
    assert fuzzer.counts["pair True"]
    assert fuzzer.counts["pair False"]


@settings(derandomize=True, max_examples=300, deadline=None, database=None)
@given(PIECES, PIECES)
def test_nothing_raises_and_both_orders_agree(left, right):
    for text in (left, right):
        extract_answer(text)
        extract_answer(text, "B")
        join_boxes(text)
        over_limit(text)
        split(normalise(text))
    said = {verdict(left, right), verdict(right, left)}
    assert len(said - {"large"}) <= 1


@settings(derandomize=True, max_examples=300, deadline=None, database=None)
@given(st.integers(0, 2**32), st.sampled_from(sorted(INNOCENT)))
def test_an_answer_equals_itself_however_it_is_written(seed, name):
    text = answer(random.Random(seed))
    assert verdict(text, INNOCENT[name](text)) is not False
    assert extract_boxed(rf"Hence \boxed{{{text}}}.") == text
