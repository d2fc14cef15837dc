"""Statistics by source against hand-made figures, slow independent ones and the law that cuts do not matter."""

from __future__ import annotations

import statistics as plain
from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openklear.curation.profile import LENGTH_EDGES, LengthCounts, by_source
from openklear.data.rows import prompt_text
from openklear.types import Problem

PROMPT = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("prompt", PROMPT),
        ("domain", pa.string()),
        ("level", pa.string()),
        ("response", pa.string()),
        ("teacher", pa.string()),
        ("claimed", pa.bool_()),
        ("unknown", pa.int64()),
    ]
)


def turn(content: str, role: str = "user") -> dict[str, str]:
    return {"role": role, "content": content}


ROWS = [
    {"source": "a", "prompt": [turn("you are kind", "system"), turn("1 + 1?")], "domain": "math", "level": "easy", "response": "2", "teacher": "r1", "claimed": True},
    {"source": "b", "prompt": [turn("Print.")], "domain": "code", "level": None, "response": None, "teacher": None, "claimed": None},
    {"source": "a", "prompt": [turn("héé"), turn("so", "assistant"), turn("go")], "domain": "code", "level": "hard", "response": "x" * 20, "teacher": "r1", "claimed": False},
    {"source": "a", "prompt": [turn("only", "system")], "domain": "math", "level": "easy", "response": "12345", "teacher": None, "claimed": None},
]  # fmt: skip


def table(rows: list[dict], schema: pa.Schema = SCHEMA) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema)


def test_by_hand() -> None:
    a, b = by_source([table(ROWS)])
    assert (a.source, a.rows, b.source, b.rows) == ("a", 3, "b", 1)
    assert a.prompts == {4: 1, 6: 1, 9: 1}  # only, 1 + 1?, héé\nso\ngo
    assert a.prompts.mean == pytest.approx(19 / 3)
    assert a.responses == {1: 1, 5: 1, 20: 1}
    assert [a.responses.percentile(p) for p in (0, 33, 34, 50, 67, 95, 100)] == [1, 1, 5, 5, 20, 20, 20]
    assert a.domains == {"math": 2, "code": 1}
    assert a.by_level == {"easy": 2, "hard": 1}
    assert a.levels == {("math", "easy"): 2, ("code", "hard"): 1}
    assert a.teachers == {"r1": 2, None: 1}
    assert a.claimed_share == 0.5
    assert (b.responses.rows, b.responses.mean, b.responses.percentile(50), b.claimed_share) == (0, None, None, None)


def test_columns_that_are_not_there_are_empty() -> None:
    (one,) = by_source([table(ROWS).select(["domain"])])
    assert (one.source, one.rows, one.prompts.percentile(100), one.responses.rows) == ("", 4, 0, 0)
    assert one.domains == {"math": 2, "code": 2}
    assert by_source([]) == by_source([table([])]) == []


texts = st.text(max_size=12)
rows_of = st.lists(
    st.fixed_dictionaries(
        {
            "source": st.sampled_from("abc"),
            "prompt": st.lists(st.builds(turn, texts, st.sampled_from(["user", "system", "assistant"])), max_size=3),
            "domain": st.sampled_from(["math", "code"]),
            "level": st.sampled_from([None, "1", "2"]),
            "response": st.none() | texts,
            "teacher": st.sampled_from([None, "r1"]),
            "claimed": st.none() | st.booleans(),
        }
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(rows_of, st.integers(1, 7))
def test_any_cut_gives_the_whole_and_agrees_with_a_slow_count(rows: list[dict], size: int) -> None:
    whole = by_source([table(rows)])
    assert by_source(table(rows[i : i + size]) for i in range(0, len(rows), size)) == whole
    assert [one.source for one in whole] == list(dict.fromkeys(row["source"] for row in rows))
    for one in whole:
        mine = [row for row in rows if row["source"] == one.source]
        asked = [len(prompt_text(Problem("", tuple(row["prompt"]), "math"))) for row in mine]
        said = [len(row["response"]) for row in mine if row["response"] is not None]
        for found, lengths in ((one.prompts, asked), (one.responses, said)):
            assert found == Counter(lengths)
            assert found.rows == len(lengths)
            assert found.mean == (plain.fmean(lengths) if lengths else None)
            for percent in (50, 95):
                at = sorted(lengths)[max(0, -(-percent * len(lengths) // 100) - 1)] if lengths else None
                assert found.percentile(percent) == at
        assert one.levels == Counter((row["domain"], row["level"]) for row in mine)
        assert one.teachers == Counter(row["teacher"] for row in mine)
        assert one.claimed == Counter(row["claimed"] for row in mine)


@given(st.lists(st.integers(0, 3_000_000), max_size=50))
def test_the_histogram_counts_every_length_once(lengths: list[int]) -> None:
    counts = LengthCounts(lengths).histogram()
    assert len(counts) == len(LENGTH_EDGES)
    for (low, high), count in zip(pairwise([*LENGTH_EDGES, float("inf")]), counts, strict=True):
        assert count == sum(low <= length < high for length in lengths)


def test_edges() -> None:
    assert LENGTH_EDGES[:4] == (0, 10, 13, 18)
    assert LENGTH_EDGES[-1] == 1_000_000
    assert set(LENGTH_EDGES) > {100, 1000, 10_000, 100_000}
    assert all(low < high for low, high in pairwise(LENGTH_EDGES))


def test_percentiles_agree_with_numpys_inverted_cdf() -> None:
    lengths = np.random.default_rng(0).integers(0, 500, 997)
    found = LengthCounts(lengths.tolist())
    for percent in (1, 7, 50, 95, 99):
        assert found.percentile(percent) == np.quantile(lengths, percent / 100, method="inverted_cdf")
