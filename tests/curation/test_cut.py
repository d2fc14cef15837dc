"""The one cutter and its hash, against Python's integers and by hand."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openklear.curation.text.cut import GOLDEN, Cutter, byte_kinds
from openklear.curation.text.grams import among, mixed, sums

TEXTS = st.lists(st.text(alphabet="abAB19+ .", max_size=12), max_size=5)
VALUES = np.arange(1, 257, dtype=np.uint64) * np.uint64(GOLDEN)


def slow_code(word: str, odd: int) -> int:
    return sum(int(VALUES[byte]) * odd**place for place, byte in enumerate(word.encode())) % 2**64


@pytest.mark.parametrize("odd", [1, 7, GOLDEN])
@given(texts=TEXTS)
def test_words_and_codes_against_a_regular_expression(texts: list[str], odd: int) -> None:
    """Letters and digits are two kinds, a plus sign is a word of its own."""
    cut = Cutter(byte_kinds("abAB", "19", "+"), b"+", values=VALUES, odd=odd)(texts)
    words = [re.findall(r"[abAB]+|[19]+|\+", text) for text in texts]
    assert np.diff(cut.rows).tolist() == [len(own) for own in words]
    assert cut.codes.tolist() == [slow_code(word, odd) for own in words for word in own]
    assert cut.kinds.tolist() == [1 + word.isdigit() + 2 * (word == "+") for own in words for word in own]
    assert [cut.text(at, at) for at in range(len(cut.codes))] == [word for own in words for word in own]


def test_without_values_case_does_not_count() -> None:
    codes = Cutter(byte_kinds("abAB"))(["ab AB Ab ba"]).codes.tolist()
    assert codes[0] == codes[1] == codes[2] != codes[3]


def test_what_stands_between_words_by_hand() -> None:
    cut = Cutter(byte_kinds("ab"))(["x", ". ab -b!", ""])
    assert cut.rows.tolist() == [0, 0, 2, 2]
    assert [cut.between(1, word) for word in (0, 1, 2)] == [b". ", b" -", b"!"]
    assert cut.row_of(np.array([0, 1])).tolist() == [1, 1]


def test_arrow_arrays_and_slices() -> None:
    cutter = Cutter(byte_kinds("ab"))
    texts = pa.array(["a", "b a", "", "ab"], pa.large_string())
    assert cutter(texts[1:]).codes.tolist() == cutter(["b a", "", "ab"]).codes.tolist()
    assert cutter(texts[:0]).rows.tolist() == [0]


def test_mixed_is_splitmix() -> None:
    """The first two outputs of SplitMix64 from seed 0, as published with the generator."""
    states = np.array([GOLDEN, 2 * GOLDEN % 2**64], np.uint64)
    assert mixed(states).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=4), max_size=6))
def test_sums_against_python(texts: list[list[int]]) -> None:
    codes = np.array([code for text in texts for code in text], np.uint64)
    rows = np.cumsum([0, *map(len, texts)])
    assert sums(codes, rows).tolist() == [sum(text) % 2**64 for text in texts]


@given(st.lists(st.integers(0, 9)), st.sets(st.integers(0, 9), min_size=1))
def test_among_against_a_set(codes: list[int], known: set[int]) -> None:
    found = among(np.array(codes, np.uint64), np.array(sorted(known), np.uint64))
    assert found.tolist() == [code in known for code in codes]
