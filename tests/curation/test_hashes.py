"""Digests against hashlib and rows.normalise, first copies against a dictionary."""

from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openklear.curation.text.hashes import first_copies, text_digests
from openklear.data.rows import normalise

EVERY_ASCII = "".join(map(chr, range(128)))


def slow_digests(texts):
    digests = [blake2b(normalise(text).encode(), digest_size=16).digest() for text in texts]
    return [[int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")] for digest in digests]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text() | st.text("aB \t\n\x1c.") | st.text("İΣς é\u0301\u00a0\u3000")))
@example([EVERY_ASCII, EVERY_ASCII[::-1]])
@example(["", " ", "a ", " a", "", "\t\na\x1fb\n", ""])
@example(["STRASSE ΟΔΟΣ", "plain", "strasse οδος"])
def test_a_digest_is_that_of_the_normal_form(texts):
    assert text_digests(pa.array(texts, pa.string())).tolist() == slow_digests(texts)


@given(st.characters(exclude_categories=["Cs"]))
def test_every_character_alone_and_between_letters(character):
    texts = [character, f"A{character}b", f" {character}{character} "]
    assert text_digests(pa.array(texts, pa.string())).tolist() == slow_digests(texts)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_arrow_arrays_slices_and_nulls(kind):
    texts = pa.array(["lost", "A  b", None, "é", "", "c\n"], kind)
    assert text_digests(texts[1:5]).tolist() == slow_digests(["a b", "", "é", ""])
    assert text_digests(texts[1:3]).tolist() == slow_digests(["a b", ""])
    assert text_digests(texts[:0]).shape == (0, 2)


def test_digests_never_change():
    """Stored digests stay good: blake2b-128 of "a b", from `printf 'a b' | b2sum -l 128`."""
    assert text_digests(pa.array(["A  b"])).tobytes().hex() == blake2b(b"a b", digest_size=16).hexdigest()
    assert text_digests(pa.array(["A  b"])).tolist() == [[6656090178528135596, 11066726079132722963]]


def slow_copies(rows, digests):
    first = {}
    for row, digest in sorted(zip(rows, map(tuple, digests), strict=True)):
        first.setdefault(digest, row)
    dropped = sorted(row for row, digest in zip(rows, map(tuple, digests), strict=True) if first[digest] != row)
    of = dict(zip(rows, map(tuple, digests), strict=True))
    return dropped, [first[of[row]] for row in dropped]


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3), st.data())
def test_first_copies(width, data):
    rows = data.draw(st.lists(st.integers(0, 1 << 45), unique=True))
    digest = st.lists(st.sampled_from([0, 1, 2**64 - 1]), min_size=width, max_size=width)
    digests = [data.draw(digest) for _ in rows]
    dropped, firsts = first_copies(np.asarray(rows, np.int64), np.asarray(digests, np.uint64).reshape(-1, width))
    assert (dropped.tolist(), firsts.tolist()) == slow_copies(rows, digests)


def test_the_order_does_not_matter():
    rng = np.random.default_rng(0)
    rows = rng.permutation(5000).astype(np.int64) << 20
    digests = rng.integers(0, 40, (5000, 2)).astype(np.uint64)
    dropped, firsts = first_copies(rows, digests)
    assert len(dropped) == 5000 - len({tuple(digest) for digest in digests.tolist()})
    order = rng.permutation(5000)
    again, same = first_copies(rows[order], digests[order])
    np.testing.assert_array_equal(dropped, again)
    np.testing.assert_array_equal(firsts, same)
