"""Encoded rows on disk: what was written comes back, damage is found, and nothing else is believed."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openklear.errors import DataError
from openklear.models.chat import EncodedDemonstration
from openklear.training.schedule import rows_hash
from openklear.training.token_file import TokenFile, write_rows, written_rows

ROW = st.lists(st.tuples(st.integers(0, 2**31 - 1), st.booleans()), max_size=9)


def encoded(row):
    ids, mask = ([pair[i] for pair in row] for i in (0, 1))
    return EncodedDemonstration(np.asarray(ids, np.int32), np.asarray(mask, np.bool_))


ROWS = [encoded([(5, False), (0, False), (7, True), (9, False), (2, True)]), encoded([(3, True)])]


def write(directory, rows, key="k"):
    return write_rows(directory, iter(rows), key=key, seed=3, counts=lambda: {"trained": len(rows)})


@given(st.lists(ROW, max_size=6), st.randoms())
def test_what_was_written_is_read_in_any_order(rows, random):
    made = [encoded(row) for row in rows]
    with TemporaryDirectory() as root:
        write(Path(root) / "rows", made)
        found = written_rows(Path(root) / "rows", "k")
        assert isinstance(found, TokenFile)
        assert (len(found), found.counts) == (len(rows), {"trained": len(rows)})
        assert found.lengths.tolist() == [len(row) for row in rows]
        assert found.rows == rows_hash(3, (row.ids.tobytes() for row in made))
        order = list(range(len(rows))) * 2
        random.shuffle(order)
        for index, row in zip(order, found.read(order), strict=True):
            assert (row.ids.dtype, row.loss_mask.dtype) == (np.int32, np.bool_)
            assert row.ids.tolist() == made[index].ids.tolist()
            assert row.loss_mask.tolist() == made[index].loss_mask.tolist()


@pytest.mark.parametrize("name", ["tokens.bin", "ends.bin", "place.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_damage_is_named(tmp_path, name, damage):
    write(tmp_path / "rows", ROWS)
    path = tmp_path / "rows" / name
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(held if damage == "flipped" else held[:-4])
    found = written_rows(tmp_path / "rows", "k")
    assert isinstance(found, str)
    assert name in found


def test_rows_of_another_key_are_not_taken_and_none_are_no_fault(tmp_path):
    assert written_rows(tmp_path / "rows", "k") is None
    write(tmp_path / "rows", ROWS)
    assert "other rows" in written_rows(tmp_path / "rows", "another")
    write(tmp_path / "rows", ROWS[:1], key="another")  # in the place of the others
    assert len(written_rows(tmp_path / "rows", "another")) == 1


def test_what_fails_on_the_way_leaves_nothing(tmp_path):
    def failing():
        yield ROWS[0]
        raise DataError("no")

    with pytest.raises(DataError, match=r"^no$"):
        write_rows(tmp_path / "rows", failing(), key="k", seed=0, counts=dict)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_cut_or_goes_while_it_is_read_is_an_error_with_its_name(tmp_path):
    found = write(tmp_path / "rows", ROWS)
    os.truncate(tmp_path / "rows" / "tokens.bin", 12)
    with pytest.raises(DataError, match=r"tokens\.bin ends before its row 0.*run the same command again"):
        found.read([0])
    (tmp_path / "rows" / "tokens.bin").unlink()
    with pytest.raises(DataError, match=r"tokens\.bin cannot be read: No such file"):
        found.read([1])
