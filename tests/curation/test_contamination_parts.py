"""Words, runs, alignments of decontamination against slow versions and by hand."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from openklear.curation.contamination.ngram import cut_tokens, tokens
from openklear.curation.contamination.weighted import align
from openklear.curation.contamination.weighted.verify import differing
from openklear.curation.contamination.weighted.words import codes_of, cut, exact
from openklear.curation.text.cut import BLOCK, Words
from openklear.curation.text.grams import CodeSet, grams, within_texts

TEXT = st.text(alphabet="aBcé1203 .,$\\{}+<\n-_’²中", max_size=30)


def slow_words(text: str) -> list[str]:
    """Letter by letter; for texts without LaTeX layout, figures and commas between digits."""
    found: list[str] = []
    before = 0
    for letter in unicodedata.normalize("NFC", text).lower():
        if "\u3400" <= letter <= "\u9fff":
            kind = 5
        elif letter in "0123456789":
            kind = 2
        elif letter in "+<>":
            kind = 3
        elif letter.isascii() and letter.isalpha():
            kind = 1
        else:
            kind = 1 if not letter.isascii() and (letter.isalnum() or letter == "_") else 0
        if kind and kind == before and kind not in (3, 5):
            found[-1] += letter
        elif kind:
            found.append(letter)
        before = kind
    return found


def shown(found: Words) -> list[list[str]]:
    rows = found.rows.tolist()
    return [[found.text(at, at).lower() for at in range(begin, end)] for begin, end in pairwise(rows)]


@given(st.lists(TEXT.filter(lambda t: not any(a.isdigit() and b == "," for a, b in pairwise(t))), max_size=6))
def test_words_against_the_slow_version(texts: list[str]) -> None:
    found = cut(texts)
    assert shown(found) == [slow_words(text) for text in texts]
    assert found.codes.tolist() == codes_of([word for text in texts for word in slow_words(text)]).tolist()


def same(one: str, other: str) -> bool:
    first, second = cut([one]), cut([other])
    return first.codes.tolist() == second.codes.tolist()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It costs $1,000,000!", "it costs 1000000"),
        (r"$\left(\dfrac{1}{2}\right)$", "(1/2)"),
        (r"\(x \leq 3\)", r"$x\le3$"),
        ("Janet’s ducks", "JANET'S DUCKS"),
        ("2x", "2 X"),
        ("[asy]draw((0,0)--(1,1));[/asy]", "[asy]\ndraw( (0,0) -- (1,1) ) ; [/asy]"),
        ("\\begin{tikzpicture} \\draw (0,0); \\end{tikzpicture}", "\\begin{tikzpicture}\\draw(0,0);\\end{tikzpicture}"),
    ],
)
def test_what_is_the_same(one: str, other: str) -> None:
    assert same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x + 5", "x - 5"),
        ("x + 5 + 3", "x 5 + 3"),
        (r"$\sin x$", r"$\cos x$"),
        ("1000", "100"),
        ("ab ba", "ba ab"),
        ("[asy]draw((0,0)--(1,1));[/asy]", "[asy]draw((0,0)--(1,2));[/asy]"),
        ("eggs left over", "eggs right over"),
    ],
)
def test_what_is_not(one: str, other: str) -> None:
    assert not same(one, other)


def test_a_comma_between_two_texts_joins_no_number() -> None:
    assert shown(cut(["5,", "300 1,234"])) == [["5"], ["300", "1,234"]]
    assert shown(cut(["0,300 12,34"])) == [["0", "300", "12", "34"]]


def test_what_must_agree() -> None:
    found = cut([r"one half of \sqrt 12 + cats"])
    assert exact(found).tolist() == [False, True, False, True, True, True, False]


def test_a_word_longer_than_a_block_and_many_blocks() -> None:
    long = "a" * (BLOCK + 5)
    text = f"{long} " + "be " * BLOCK + "end"
    found = cut([text, "a be end"])
    assert len(found.codes) == BLOCK + 2 + 3
    assert found.codes[-1] == found.codes[-4]
    assert set(found.codes[1 : BLOCK + 1].tolist()) == {int(found.codes[-2])}


@given(st.lists(st.text(max_size=20), max_size=5))
def test_tokens_of_the_published_rule_are_cut_as_the_regular_expression_does(texts: list[str]) -> None:
    found = cut_tokens(texts)
    codes = found.codes
    expected = [token for text in texts for token in tokens(text)]
    assert np.diff(found.rows).tolist() == [len(tokens(text)) for text in texts]
    ranks = {token: rank for rank, token in enumerate(dict.fromkeys(expected))}
    of_code = {code: rank for rank, code in enumerate(dict.fromkeys(codes.tolist()))}
    assert [of_code[code] for code in codes.tolist()] == [ranks[token] for token in expected]


@given(st.lists(st.integers(0, 3), max_size=12), st.integers(1, 4))
def test_grams_are_equal_where_the_words_are(values: list[int], n: int) -> None:
    codes = codes_of(["a", "b", "c", "d"])[values] if values else np.zeros(0, np.uint64)
    found = grams(codes, n).tolist()
    runs = list(zip(*(values[start:] for start in range(n)), strict=False))
    assert len(found) == len(runs)
    for one, mine in zip(runs, found, strict=True):
        for other, theirs in zip(runs, found, strict=True):
            assert (one == other) == (mine == theirs)


@given(st.sets(st.integers(0, 2**64 - 1), max_size=20), st.lists(st.integers(0, 2**64 - 1), max_size=20))
def test_table_against_a_set(known: set[int], others: list[int]) -> None:
    asked = np.array([*known, *others, *known], np.uint64)
    at, rank = CodeSet.build(np.array([*known], np.uint64)).find(asked)
    assert at.tolist() == [place for place, code in enumerate(asked.tolist()) if code in known]
    assert [sorted(known)[place] for place in rank.tolist()] == asked[at].tolist()


def test_runs_across_two_texts_do_not_count() -> None:
    inside, row = within_texts(np.arange(5), 2, np.array([0, 3, 3, 6]))
    assert (inside.tolist(), row.tolist()) == ([True, True, False, True, True], [0, 0, 0, 2, 2])


def slow_length(one: list[int], other: list[int]) -> int:
    best = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, mine in enumerate(one):
        for j, theirs in enumerate(other):
            best[i + 1][j + 1] = best[i][j] + 1 if mine == theirs else max(best[i][j + 1], best[i + 1][j])
    return best[-1][-1]


WORDS = st.lists(st.integers(0, 4), max_size=14)


@settings(max_examples=300)
@given(WORDS, WORDS)
def test_common_against_dynamic_programming(item: list[int], row: list[int]) -> None:
    pairs = align.common(item, row)
    length = slow_length(item, row)
    assert len(pairs) == length
    assert all(item[i] == row[j] for i, j in pairs)
    assert all(a < c and b < d for (a, b), (c, d) in pairwise(pairs))
    assert align.common(item, row, length + 1) == []


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), max_size=8))
def test_in_runs_against_a_search(steps: list[tuple[int, int]]) -> None:
    pairs = [
        tuple(np.cumsum([step[side] for step in steps[: at + 1]])[-1] for side in (0, 1)) for at in range(len(steps))
    ]
    near = [any(p != q and abs(p[0] - q[0]) <= 2 and abs(p[1] - q[1]) <= 2 for q in pairs) for p in pairs]
    assert align.in_runs(pairs) == [pair for pair, keep in zip(pairs, near, strict=True) if keep]


def flags(size: int, *places: int) -> NDArray[np.bool_]:
    found = np.zeros(size, np.bool_)
    found[[*places]] = True
    return found


@pytest.mark.parametrize(
    ("item", "row", "expected"),
    [
        ((), (), 0),
        ((2, 3, 6, 7), (4, 5, 7, 8), 0),  # aligned words are the same
        ((4, 5), (), 2),  # two are missing between the runs
        ((), (6,), 1),  # one is added
        ((4, 5), (6,), 2),  # one is another one, and one is missing
        ((1, 8), (), 0),  # the row begins later and ends sooner than the item
        ((), (3, 9), 0),  # the row's own words stand around the item
        ((1, 8), (3, 9), 2),  # one in front and one behind is another one
        ((1,), (0, 1, 9), 0),  # in front count as many words of the row as of the item: words 2 and 3
        ((0, 1, 4), (2, 6), 2),
    ],
)
def test_differing_by_hand(item: tuple[int, ...], row: tuple[int, ...], expected: int) -> None:
    """Of item 0 .. 9 the words 2, 3 and 6, 7 stand at 4, 5 and 7, 8 of row 0 .. 9; only these places hold numbers."""
    aligned = np.array([2, 3, 6, 7]), np.array([4, 5, 7, 8])
    assert differing(flags(10, *item), flags(10, *row), *aligned) == expected
