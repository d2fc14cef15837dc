import json
import math
import pickle
import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.shared_data import shared

from openklear.curation.selection import embedding
from openklear.curation.selection.embedding import TfidfProjection, document_frequencies
from openklear.curation.text import cut
from openklear.errors import DataError


def rows(name):
    text = shared(name).read_text()
    return json.loads(text) if name.endswith(".json") else [json.loads(line) for line in text.split("\n") if line]


def features(text):
    """Words and pairs by a regular expression, for ASCII."""
    words = ["0" if word.isdigit() else word for word in re.findall(r"[a-z]+|[0-9]+", text.lower())]
    return Counter([*words, *pairwise(words)])


def exact(texts):
    """TF-IDF by the formula, one dictionary a text, scaled to length 1."""
    counts = [features(text) for text in texts]
    df = Counter(feature for count in counts for feature in count)
    weighed = [
        {
            f: (1 + math.log(tf)) * math.sqrt(1 + math.log((1 + len(texts)) / (1 + df[f]))) / (1 + isinstance(f, tuple))
            for f, tf in count.items()
            if df[f] > 1
        }
        for count in counts
    ]
    return [{f: w / math.sqrt(sum(v * v for v in one.values())) for f, w in one.items()} for one in weighed]


def products(vectors):
    return np.array([[sum(w * b.get(f, 0.0) for f, w in a.items()) for b in vectors] for a in vectors])


@pytest.fixture(scope="module")
def problems():
    return [row["problem"] for row in rows("benchmarks/math500.jsonl") if row["problem"].isascii()][:120]


def test_products_are_those_of_tfidf_within_the_bound(problems):
    """Johnson and Lindenstrauss: unbiased, variance at most 2 / width. A forgotten sign would bias them."""
    wanted = products(exact(problems))
    above = np.triu_indices(len(problems), 1)
    for width in (128, 1024):
        errors = np.zeros((8, len(above[0])))
        for seed in range(8):
            vectors = TfidfProjection.fit([problems], width=width, seed=seed).transform(problems)
            errors[seed] = (vectors @ vectors.T - wanted)[above]
        assert np.sqrt((errors**2).mean()) < math.sqrt(2 / width)
        assert abs(errors.mean()) < 0.1 / math.sqrt(width)


def test_a_wide_projection_finds_the_nearest_that_tfidf_finds(problems):
    vectors = TfidfProjection.fit([problems], width=1024).transform(problems)
    found, wanted = vectors @ vectors.T, products(exact(problems))
    np.fill_diagonal(found, -1)
    np.fill_diagonal(wanted, -1)
    near = np.take_along_axis(wanted, found.argmax(axis=1)[:, None], axis=1)[:, 0]
    assert near.mean() > 0.8 * wanted.max(axis=1).mean()
    assert np.corrcoef(found[np.triu_indices(120, 1)], wanted[np.triu_indices(120, 1)])[0, 1] > 0.8


def test_problems_of_a_subject_stand_nearer_to_each_other():
    problems = rows("benchmarks/math500.jsonl")
    subjects = np.array([row["subject"] for row in problems])
    texts = [row["problem"] for row in problems]
    vectors = TfidfProjection.fit([texts]).transform(texts)
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, np.nan)
    same = subjects[:, None] == subjects[None]
    assert np.nanmean(likeness[same]) > 1.25 * np.nanmean(likeness[~same])
    nearest = np.argsort(-np.nan_to_num(likeness, nan=-1), axis=1)[:, :5]
    right = np.mean(
        [Counter(subjects[five]).most_common(1)[0][0] == own for five, own in zip(nearest, subjects, strict=True)]
    )
    assert right > 0.45  # the most common subject of seven has a quarter of the rows


@pytest.mark.parametrize("other", ["benchmarks/math500.jsonl", "train/gsm8k_train.jsonl"])
def test_programming_stands_apart_from_mathematics(other):
    code = [row["problem"] for row in rows("train/taco_stdin.jsonl")]
    texts = [*code, *(row["problem"] for row in rows(other)[: len(code)])]
    is_code = np.arange(len(texts)) < len(code)
    vectors = TfidfProjection.fit([texts]).transform(texts)
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -1)
    nearest = np.argsort(-likeness, axis=1)[:, :5]
    assert ((is_code[nearest].mean(axis=1) > 0.5) == is_code).mean() > 0.9


def test_rows_of_a_template_that_differ_in_numbers_are_one():
    texts = ["Tom has 12 apples and eats 5.", "Tom has 7 apples and eats 1,000", "The sum of two odd primes"] * 2
    vectors = TfidfProjection.fit([texts]).transform(["Tom has 12 apples and eats 5.", "tom has 7 apples\nand EATS 30"])
    assert (vectors[0] == vectors[1]).all()


def test_a_vector_by_hand():
    """Both texts have `a`, `b` and `a b`: three features with df = N; a fourth has df 1 and no weight."""
    fitted = TfidfProjection.fit([["a b", "a b"], ["c"]])
    (one,) = fitted.transform(["a b"])
    (other,) = fitted.transform(["a, b! c"])
    assert (one == other).all()
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-6)
    assert 8 <= np.count_nonzero(one) <= 24
    idf = math.sqrt(1 + math.log(4 / 3))
    assert sorted(fitted.idf[fitted.idf > 0].tolist()) == pytest.approx([idf / 2, idf, idf])
    assert fitted.tf[:4].tolist() == pytest.approx([0, 1, 1 + math.log(2), 1 + math.log(3)])


def test_a_single_feature_has_one_entry_in_every_block_and_both_signs_occur():
    words = [f"word{chr(97 + i)}{chr(97 + j)}" for i in range(26) for j in range(26)]
    vectors = TfidfProjection.fit([words, words], width=64).transform(words)
    blocks = vectors.reshape(len(words), 8, 8)
    assert (np.count_nonzero(blocks, axis=2) == 1).all()
    assert np.unique(np.abs(vectors)).tolist() == pytest.approx([0, math.sqrt(1 / 8)])
    share = (blocks != 0).mean(axis=0)
    assert share.min() > 0.07  # 1/8 of 676 words: 84.5 +- 8.6
    assert share.max() < 0.18
    assert abs(np.sign(vectors).mean()) < 0.01


def places(text):
    """How often each feature of a text is met, by its place."""
    return document_frequencies([text])


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Straße ÉTÉ", "straße été"),
        ("e\u0301te", "\u00e9te"),
        ("x\u00a0y", "x y"),
        ("don't", "don t"),
        ("x1y22", "x 0 y 5"),
        ("小猫", "小 猫"),
        ("a≤b", "a ≤ b"),
        ("a😀b", "a 😀 b"),
        ("\ta..b\n", "a b"),
    ],
)
def test_texts_with_the_same_words(left, right):
    assert (places(left) == places(right)).all()


@pytest.mark.parametrize(
    ("left", "right"),
    [("ab", "a b"), ("ab", "ba"), ("a b", "b a"), ("猫", "狗"), ("été", "ete"), ("aab", "aba"), ("", "a")],
)
def test_texts_with_other_words(left, right):
    assert (places(left) != places(right)).any()


def test_pairs_do_not_reach_over_the_end_of_a_text():
    assert document_frequencies(["a b", "c d"]).sum() == 6
    assert document_frequencies(["a", "", "b"]).sum() == 2
    assert document_frequencies(["a a a a"]).sum() == 2  # `a` and `a a`, in one text each
    assert document_frequencies([]).sum() == 0


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from("abZ 09é小😀\u0301\u00a0\ud800\n\x00ΣΑ"), max_size=12), max_size=8))
def test_any_text_in_any_batch_has_its_own_vector(texts):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedding, "PLACES", 1 << 12)  # quicker
        own_vectors(texts)


def own_vectors(texts):
    fitted = TfidfProjection.fit([texts, texts])
    together = fitted.transform(texts)
    assert together.shape == (len(texts), 128)
    assert together.dtype == np.float32
    for text, vector in zip(texts, together, strict=True):
        assert fitted.transform(["b a", text, "小"])[1].tobytes() == vector.tobytes()
    lengths = np.linalg.norm(together, axis=1)
    assert all(length == 0 or abs(length - 1) < 1e-6 for length in lengths)
    total = sum((document_frequencies([text]) for text in texts), np.zeros(embedding.PLACES, np.int64))
    assert (total == document_frequencies(texts)).all()


def test_portions_change_nothing(monkeypatch, problems):
    fitted = TfidfProjection.fit([problems])
    whole = fitted.transform(problems)
    monkeypatch.setattr(cut, "CHUNK", 500)
    assert len(list(cut.chunks(problems))) > 20
    assert fitted.transform(problems).tobytes() == whole.tobytes()
    again = TfidfProjection.fit(problems[i : i + 7] for i in range(0, len(problems), 7))
    assert (again.idf == fitted.idf).all()


def test_of_a_long_text_the_beginning_counts(monkeypatch):
    monkeypatch.setattr(embedding, "PREFIX", 5)
    fitted = TfidfProjection.fit([["a b c d", "d c b a"]])
    assert (fitted.transform(["a b c d"]) == fitted.transform(["a b c e f g"])).all()


def test_it_pickles_small_and_other_seeds_give_other_vectors(problems):
    fitted = TfidfProjection.fit([problems])
    packed = pickle.dumps(fitted)
    assert len(packed) < 5e6
    assert pickle.loads(packed).transform(problems[:5]).tobytes() == fitted.transform(problems[:5]).tobytes()
    other = TfidfProjection.fit([problems], seed=1)
    assert (other.idf == fitted.idf).all()
    assert abs((other.transform(problems) * fitted.transform(problems)).sum(axis=1)).max() < 0.6


def test_vectors_are_the_same_in_every_version_and_on_every_machine():
    """Row orders that were chosen with them must stay; a change here is a change of every selection."""
    fitted = TfidfProjection.fit([["One fish, 2 fish", "red fish", "blue fish", "小 fish é"]] * 2)
    (vector,) = fitted.transform(["Red fish and 小 blue FISH 7 é"])
    assert np.flatnonzero(vector).tolist()[:6] == [3, 5, 6, 8, 9, 10]
    assert vector[np.flatnonzero(vector)[:6]].tolist() == pytest.approx(
        [0.12572959, -0.12572959, 0.0628648, -0.12572959, 0.0628648, 0.18859437]
    )


@pytest.mark.parametrize("width", [0, 8, 100, 2048, -128])
def test_impossible_widths(width):
    with pytest.raises(DataError, match="power of two from 16 to 1024"):
        TfidfProjection.fit([["a"]], width=width)


def test_nothing_to_transform():
    fitted = TfidfProjection.fit([])
    assert fitted.transform([]).shape == (0, 128)
    assert (fitted.transform(["a", ""]) == 0).all()
