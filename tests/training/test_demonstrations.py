"""Demonstrations to rows: long ones dropped or cut, impossible ones counted, none lost."""

import pytest

from openklear.errors import DataError
from openklear.models.tiny import make_tiny
from openklear.recipe.schema import Sft
from openklear.training.demonstrations import RowEncoder
from openklear.types import Demonstration, Problem


@pytest.fixture(scope="module")
def loaded():
    return make_tiny(16, 1, 2, 128, seed=0)


def encode_rows(loaded, demonstrations, settings):
    dropped = []
    encoder = RowEncoder(loaded, settings, {})
    return list(encoder.rows(iter(demonstrations), dropped.append)), dropped, encoder.counts


def demonstration(response, where="a.jsonl:1"):
    problem = Problem("p", ({"role": "user", "content": "xy"},), "math", answer="1")
    return Demonstration(problem, response, where)


def test_lengths_are_counted_in_tokens_with_the_end_token_in_the_loss(loaded):
    (row,), dropped, counts = encode_rows(loaded, [demonstration("zzz")], Sft())
    assert row.ids.tolist() == loaded.tokenizer.encode("<|user|>xy<|assistant|>zzz<|im_end|>")
    assert row.loss_mask.tolist() == [False] * 4 + [True] * 4
    assert dropped == []
    assert counts == {
        "demonstrations": 1,
        "trained": 1,
        "dropped": 0,
        "overlong": 0,
        "tokens": 8,
        "response_tokens": 4,
    }


def test_a_row_of_exactly_max_tokens_stays(loaded):
    rows, dropped, counts = encode_rows(loaded, [demonstration("zzz"), demonstration("zzzz")], Sft(max_tokens=8))
    assert [len(r.ids) for r in rows] == [8]
    assert (len(dropped), counts["overlong"]) == (1, 1)
    assert "max_tokens = 8" in dropped[0]["reason"]


def test_longer_rows_are_cut_where_the_recipe_says_so(loaded):
    rows, dropped, counts = encode_rows(loaded, [demonstration("zzzz")], Sft(max_tokens=8, overlong="cut"))
    assert rows[0].loss_mask.sum() == 4
    assert len(rows[0].ids) == len(rows[0].loss_mask) == 8
    assert (dropped, counts["overlong"]) == ([], 1)


def test_a_cut_that_leaves_no_response_drops_the_row(loaded):
    rows, dropped, _ = encode_rows(
        loaded, [demonstration("z"), demonstration("zz" * 30)], Sft(max_tokens=6, overlong="cut")
    )
    assert [len(r.ids) for r in rows] == [6, 6]
    with pytest.raises(DataError, match=r"a\.jsonl:7.*max_tokens"):
        encode_rows(loaded, [demonstration("zz", "a.jsonl:7")], Sft(max_tokens=3, overlong="cut"))
    assert dropped == []


def test_a_row_that_the_template_cannot_hold_is_counted_with_its_place(loaded):
    bad = demonstration("one<|im_end|>two", where="b.jsonl:9")
    rows, dropped, counts = encode_rows(loaded, [demonstration("ok"), bad], Sft())
    assert len(rows) == 1
    assert dropped[0]["where"] == "b.jsonl:9"
    assert counts["trained"] + counts["dropped"] == counts["demonstrations"] == 2
