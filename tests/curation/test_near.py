"""Near copies: words and figures by hand, similarity and decisions against slow versions, and laws."""

import re
from itertools import pairwise

import daft
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from benchmarks.million_prompts import generate
from hypothesis import example, given
from hypothesis import strategies as st

from openklear.curation.near import banding, copies, near_duplicates, recall, signed
from openklear.curation.near.buckets import NEIGHBOURS, candidates
from openklear.curation.near.shingles import NUMBER_WORDS, Shingled, figures, words

THRESHOLD = 0.8
SENTENCE = "a train leaves the station of the old town and meets another train on the long way to the sea"
FILLER = SENTENCE.split()


def signatures(texts, threshold=THRESHOLD, parts=1):
    """(n, bands) in the order of the texts, made by Daft from so many frames laid together."""
    rows = pa.table({"row": pa.array(range(len(texts)), pa.int64()), "text": list(texts)})
    cuts = np.linspace(0, len(texts), parts + 1).astype(int).tolist()
    frame = daft.from_arrow([rows[start:stop] for start, stop in pairwise(cuts)][::-1])
    found = signed(frame, threshold).to_arrow()
    assert found.schema.names == ["row", "signature"]
    bands = banding(threshold)[0]
    assert found.schema.field("signature").type == pa.list_(pa.uint32(), bands)
    flat = np.concatenate([chunk.flatten().to_numpy() for chunk in found["signature"].chunks])
    return flat.reshape(-1, bands)[np.argsort(found["row"].to_numpy())]


def drop(texts, threshold=THRESHOLD, made=None):
    """{dropped place: (named place, similarity)}"""
    made = signatures(texts, threshold) if made is None else made
    found = near_duplicates(np.arange(len(texts)), made, lambda rows: [texts[row] for row in rows], threshold)
    assert (np.diff(found[0]) > 0).all()
    return {int(gone): (int(stays), float(share)) for gone, stays, share in zip(*found, strict=True)}


def slow_shingles(text):
    found = re.findall(r"[a-z0-9]+", text.lower())
    return {tuple(found[place : place + 3]) for place in range(max(len(found) - 2, min(len(found), 1)))}


def slow_similarity(one, other):
    """Of ASCII texts without signs: figures must be equal in their order, and number words in theirs."""
    figure = [re.findall(r"\d+", text) for text in (one, other)]
    spoken = [[word for word in re.findall(r"[a-z]+", text) if word in NUMBER_WORDS] for text in (one, other)]
    a, b = slow_shingles(one), slow_shingles(other)
    same = figure[0] == figure[1] and spoken[0] == spoken[1]
    return len(a & b) / len(a | b) if a | b and same else 0.0


def slow_drop(texts, threshold=THRESHOLD, compared=lambda one, other: True):
    gone = {}
    for row, text in enumerate(texts):
        for stays in range(row):
            share = slow_similarity(texts[stays], text)
            if stays not in gone and compared(stays, row) and share >= threshold:
                gone[row] = (stays, share)
                break
    return gone


def corpus(seed, count, families):
    """Texts of 12 to 40 words, of which every `families`-th on average is a copy with up to 3 changes."""
    rng = np.random.default_rng(seed)
    vocabulary = [f"w{place}" + "x" * (place % 5) for place in range(300)]
    texts = []
    for _ in range(count):
        if texts and rng.random() < 1 / families:
            made = texts[rng.integers(len(texts))].split()
            for _ in range(rng.integers(0, 4)):
                made[rng.integers(len(made))] = vocabulary[rng.integers(300)]
        else:
            made = [vocabulary[place] for place in rng.integers(0, 300, rng.integers(12, 41))]
        texts.append(" ".join(made))
    return [re.sub(r"\d", lambda m: "abcdefghij"[int(m[0])], text) for text in texts]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is  f(x), if x=2?", "what is f x if x 2"),
        ("", ""),
        ("?!  ", ""),
        (" ÉTÉ e\u0301té—naïve ", "été été naïve"),
        ("x² ≠ ½", "x² ½"),
        ("求三角形 ABC 的面积", "求 三 角 形 abc 的 面 积"),
        ("カタ ひ", "カ タ ひ"),
        ("한국어 문제", "한국어 문제"),
        ("हिन्दी", "हिन्दी"),
        ("a\tb\nc\x00d_e", "a b c d e"),
    ],
)
def test_words(text, expected):
    assert words([text, "A"]).to_pylist() == [expected, "a"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3 apples and 12.5 pears", "3 12 5"),
        ("x+1", "+1"),
        ("x + 1", "+1"),
        ("x - 1", "1"),
        ("x-1", "-1"),
        ("x\u22121", "-1"),
        ("two-digit 5", "5"),
        ("4 two-digit 5", "4 5"),
        ("$a = -5$", "=-5"),
        ("a^2 / b < 7*c", "^2/<7*"),
        ("x² ½ 9", "² ½ 9"),
        ("none", ""),
        ("", ""),
        ("end -", ""),
        ("3 -", "3"),
    ],
)
def test_figures(text, expected):
    assert figures([text, "1"]).to_pylist() == [expected, "1"]


small_texts = st.lists(
    st.lists(st.sampled_from(["a", "b", "c", "d", "two", "7", "8", "."]), max_size=8).map(" ".join),
    min_size=1,
    max_size=8,
)


@given(small_texts)
@example(["a a a two 7", "a a a 7 two"])  # one of what the rule does not see
def test_similarity(texts):
    pairs = [(a, b) for a in range(len(texts)) for b in range(len(texts))]
    left, right = np.asarray(pairs).T
    expected = [slow_similarity(texts[a], texts[b]) for a, b in pairs]
    assert Shingled(texts).similarity(left, right).tolist() == expected


def test_similarity_by_hand():
    """abc bcd cde | abc bcd cdf share two of four; each shingle counts once."""
    texts = ["a b c d e", "a b c d f", "a b c a b c", "a b c a b c a b c"]
    assert Shingled(texts).similarity(np.array([0, 2]), np.array([1, 3])).tolist() == [0.5, 1.0]


def test_banding():
    assert [banding(t) for t in (0.5, 0.7, 0.8, 0.85, 0.9, 1.0)] == [
        (32, 2),
        (21, 3),
        (16, 4),
        (12, 5),
        (9, 7),
        (1, 64),
    ]
    assert recall(0.8, 16, 4) == pytest.approx(1 - (1 - 0.8**4) ** 16)
    assert round(recall(0.8, 16, 4), 4) == 0.9998


def test_bands_meet_as_often_as_the_formula_says():
    """Pairs at similarity 2/3, of 60 shingles each: bands agree in (2/3)^4 of the cases, the pair in 0.972."""
    rng = np.random.default_rng(5)
    texts = []
    for pair in range(1500):
        shared = [f"s{pair}n{place}".translate(str.maketrans("0123456789", "abcdefghij")) for place in range(62)]
        one, other = shared[:50], shared[:50]
        one += ["".join(rng.choice(list("klmnopqr"), 9)) for _ in range(12)]
        other += ["".join(rng.choice(list("stuvwxyz"), 9)) for _ in range(12)]
        texts += [" ".join(one), " ".join(other)]
    assert slow_similarity(*texts[:2]) == 48 / 72
    made = signatures(texts)
    agree = made[0::2] == made[1::2]
    assert agree.mean() == pytest.approx((2 / 3) ** 4, abs=0.02)
    assert agree.any(axis=1).mean() == pytest.approx(recall(2 / 3, 16, 4), abs=0.02)


def test_signatures_do_not_depend_on_partitions_or_neighbours():
    texts = [*corpus(1, 300, 5), "", "Ünï 3", "求三角形"]
    made = signatures(texts)
    np.testing.assert_array_equal(made, signatures(texts, parts=7))
    np.testing.assert_array_equal(made[-3:], signatures(texts[-3:]))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9, 1.0])
def test_decisions_are_those_of_all_pairs_that_share_a_band(seed, threshold):
    texts = corpus(seed, 120, 3)
    made = signatures(texts, threshold)
    found = drop(texts, threshold, made)
    assert found == slow_drop(texts, threshold, lambda one, other: bool((made[one] == made[other]).any()))
    assert found, "the corpus holds copies"


def test_no_near_copy_is_missed_well_above_the_threshold():
    """2,000 texts of 40 words and a copy of each with one word changed: similarity 35/41."""
    words_of = np.array([f"w{a}{b}" for a in "abcdefghijklmnopqrst" for b in "abcdefghijklmnopqrst"])
    rng = np.random.default_rng(9)
    texts = [list(rng.choice(words_of, 40, replace=False)) for _ in range(2000)]
    copies = [[*text[:20], "changed", *text[21:]] for text in texts]
    assert slow_similarity(" ".join(texts[0]), " ".join(copies[0])) == 35 / 41
    found = drop([" ".join(text) for text in texts + copies])
    assert {gone: stays for gone, (stays, _) in found.items()}.items() <= {
        row + 2000: row for row in range(2000)
    }.items()
    assert len(found) >= 0.99 * 2000


def shuffled(texts, made, seed, numbers):
    order = np.random.default_rng(seed).permutation(len(texts))
    by_row = dict(zip(numbers.tolist(), texts, strict=True))
    return near_duplicates(numbers[order], made[order], lambda rows: [by_row[row] for row in rows.tolist()], THRESHOLD)


def test_the_order_given_does_not_matter():
    texts = corpus(2, 400, 2)
    numbers = np.sort(np.random.default_rng(1).choice(1 << 45, 400, replace=False))
    made = signatures(texts)
    first = shuffled(texts, made, 0, numbers)
    assert len(first[0]) > 50
    for seed in (1, 2, 3):
        for one, other in zip(first, shuffled(texts, made, seed, numbers), strict=True):
            np.testing.assert_array_equal(one, other)
    assert {int(numbers[gone]) for gone in drop(texts)} == set(first[0].tolist())


def test_each_dropped_row_names_a_smaller_row_that_stays_and_is_like_it():
    texts = corpus(3, 500, 2)
    found = drop(texts)
    for gone, (stays, share) in found.items():
        assert stays < gone
        assert stays not in found
        assert share == slow_similarity(texts[gone], texts[stays]) >= THRESHOLD


@pytest.mark.parametrize("crowded", [False, True])
def test_what_stays_stays_when_it_is_given_again(crowded):
    """Also where every row shares a bucket with every other one, which is too large to compare in full."""
    texts = corpus(4, 300, 2)
    made = np.zeros((300, 2), np.uint32) if crowded else signatures(texts)
    found = drop(texts, made=made)
    left = [row for row in range(300) if row not in found]
    assert found
    assert drop([texts[row] for row in left], made=made[left]) == {}


def test_families_are_found_in_a_crowded_bucket_that_a_stranger_leads():
    base = [" ".join([letter * 3, *FILLER]) for letter in "abcd"]
    texts = ["an unrelated text that came first", *(base * 10)]
    assert {stays for stays, _ in drop(texts[:1] + base * 10, made=np.zeros((41, 1), np.uint32)).values()} <= {
        1,
        2,
        3,
        4,
    }
    assert len(drop(texts, made=np.zeros((41, 1), np.uint32))) >= 36


def test_a_bucket_makes_a_few_pairs_a_row():
    pairs, partial = candidates(np.zeros((100_000, 2), np.uint32))
    assert len(pairs) <= (NEIGHBOURS + 1) * 100_000
    assert partial.all()
    pairs, partial = candidates(np.zeros((6, 1), np.uint32))
    assert [divmod(pair, 1 << 32) for pair in pairs.tolist()] == [(a, b) for a in range(6) for b in range(a + 1, 6)]
    assert not partial.any()
    assert len(candidates(np.arange(8, dtype=np.uint32)[:, None])[0]) == 0


def test_very_many_copies_of_one_row():
    count = 20_000
    text = " ".join(FILLER)
    gone, stays, share = near_duplicates(
        np.arange(count), np.zeros((count, 1), np.uint32), lambda rows: [text] * len(rows), THRESHOLD
    )
    np.testing.assert_array_equal(gone, np.arange(1, count))
    assert (stays == 0).all()
    assert (share == 1.0).all()


def test_blocks_and_long_texts_change_nothing(monkeypatch):
    texts = corpus(6, 400, 2)
    made = signatures(texts)
    expected = drop(texts, made=made)
    asked = []

    def fetch(rows):
        assert (np.diff(rows) > 0).all()
        asked.append(len(rows))
        return [texts[row] for row in rows]

    for name, value in (("PAIRS", 50), ("FETCHED", 16), ("CHARACTERS", 3000)):
        monkeypatch.setattr(copies, name, value)
        gone, stays, share = near_duplicates(np.arange(400), made, fetch, THRESHOLD)
        found = dict(zip(gone.tolist(), zip(stays.tolist(), share.tolist(), strict=True), strict=True))
        assert found == expected
    assert max(asked[-20:]) <= 16


@pytest.mark.parametrize(
    ("one", "other", "dropped"),
    [
        (f"{SENTENCE} after 12 hours", f"{SENTENCE} after 12 hours!", True),
        (f"{SENTENCE} after 12 hours", f"{SENTENCE} after 13 hours", False),
        (f"In 3 days {SENTENCE} after 12 hours", f"In 12 days {SENTENCE} after 3 hours", False),
        (f"{SENTENCE} after 12 hours", f"{SENTENCE} after hours", False),
        (f"{SENTENCE} after two hours", f"{SENTENCE} after three hours", False),
        (f"{SENTENCE} after two hours", f"{SENTENCE} after Two hours.", True),
        (f"{SENTENCE} after one hour", f"{SENTENCE} after an hour", True),
        (f"{SENTENCE} so x + 1 = y", f"{SENTENCE} so x * 1 = y", False),
        (f"{SENTENCE} so x-1 = y", f"{SENTENCE} so x+1 = y", False),
        (f"{SENTENCE} so x+1=y", f"{SENTENCE} so x + 1 = y.", True),
        (f"{SENTENCE} of a two-digit 5", f"{SENTENCE} of a two digit 5", True),
        ("Élan vital dans la gare", "e\u0301lan, vital dans LA gare", True),
        ("求这个三角形的面积是多少平方米？", "求这个三角形的面积是多少平方米。", True),
        ("求这个三角形的面积是多少平方米", "画一个圆然后写出它的周长", False),
        ("", "", False),
        ("?!", "...", False),
        ("", "a b c d", False),
        ("Prove it", "prove it!", True),
        ("prove it", "it prove", False),
        ("prove it", "prove it now", False),
        ("x²", "x2", False),
    ],
)
def test_a_pair(one, other, dropped):
    assert set(drop([one, other, "something else entirely is asked here"])) == ({1} if dropped else set())


def test_a_chain_ends_at_the_row_that_is_itself_similar():
    """Of a row changed step by step, the third is like the second, which goes, but not like the first: it stays."""
    first = SENTENCE.split()
    second, third = ["one", *first[1:]], ["one", *first[1:-1], "ocean"]
    texts = [" ".join(made) for made in (first, second, third)]
    shares = [slow_similarity(texts[a], texts[b]) for a, b in ((0, 1), (1, 2), (0, 2))]
    assert shares == [17 / 19, 17 / 19, 16 / 20]
    assert drop(texts, 0.85) == {1: (0, 17 / 19)}
    assert drop(texts, 0.8) == {1: (0, 17 / 19), 2: (0, 16 / 20)}


def test_rows_of_one_template_are_different_problems_and_do_not_crowd_buckets():
    texts = [f"{SENTENCE} {number} times, how often is {number + 7} reached" for number in range(500)]
    made = signatures(texts)
    assert len(candidates(made)[0]) == 0
    assert drop([*texts, texts[3].upper(), texts[4] + "?"]) == {500: (3, 1.0), 501: (4, 1.0)}


def test_generated_prompts(tmp_path):
    """The benchmark's own corpus, small: same seed same rows; every planted copy above the threshold is found."""
    generate(tmp_path / "a", 4000, 3)
    generate(tmp_path / "b", 4000, 3)
    for name in ("prompts-000.parquet", "truth.parquet", "benchmark.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    texts = pq.read_table(tmp_path / "a" / "prompts-000.parquet")["prompt"].to_pylist()
    truth = pq.read_table(tmp_path / "a" / "truth.parquet").to_pylist()
    assert len({" ".join(text.lower().split()) for text in texts}) >= 0.9 * len(texts)
    assert 280 < np.mean([len(text) for text in texts]) < 380
    found = drop(texts)
    planted = [(row, t["of"]) for row, t in enumerate(truth) if t["kind"] in ("exact", "near")]
    ends = {row: found.get(row, (row, 1.0))[0] for row in range(len(texts))}
    missed = [(a, b) for a, b in planted if ends[a] != ends[b] and slow_similarity(texts[a], texts[b]) >= THRESHOLD]
    assert len(planted) == 400
    assert len(missed) <= 1
    assert all(slow_similarity(texts[a], texts[b]) >= THRESHOLD for a, (b, _) in found.items())
