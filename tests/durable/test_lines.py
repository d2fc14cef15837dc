import pytest

from openklear.durable.lines import Lines
from openklear.errors import DataError


def opened(path, seen=None):
    return Lines(path, lambda row: row["key"], lambda key, row: (seen if seen is not None else []).append((key, row)))


def test_rows_are_found_again(tmp_path):
    lines = opened(tmp_path / "a.jsonl")
    for n in range(5):
        lines.add({"key": n, "text": "é" * n + "\n\u2028"})
    assert lines.get(3) == {"key": 3, "text": "ééé\n\u2028"}
    assert (len(lines), 4 in lines, 5 in lines, lines.get(5)) == (5, True, False, None)
    lines.close()
    lines.close()
    seen = []
    again = opened(tmp_path / "a.jsonl", seen)
    assert [key for key, _ in seen] == list(again) == [0, 1, 2, 3, 4]
    assert again.get(2) == {"key": 2, "text": "éé\n\u2028"}
    again.close()


def test_what_is_added_stands_in_the_file_before_any_sync(tmp_path):
    lines = opened(tmp_path / "a.jsonl")
    lines.add({"key": 1})
    assert (tmp_path / "a.jsonl").read_text() == '{"key": 1}\n'
    lines.close()


@pytest.mark.parametrize("torn", [b"{", b'{"key": 9, "text": "half', b'{"key": 9}', b"\xc3"])
def test_a_torn_last_line_is_cut_off(tmp_path, torn):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"key": 1}\n{"key": 2}\n' + torn)
    lines = opened(path)
    assert list(lines) == [1, 2]
    lines.add({"key": 9})
    assert lines.get(9) == {"key": 9}
    lines.close()
    assert path.read_text() == '{"key": 1}\n{"key": 2}\n{"key": 9}\n'


def test_of_several_rows_of_one_key_the_last_counts(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"key": 1, "n": 1}\n{"key": 1, "n": 2}\n')
    lines = opened(path)
    assert (len(lines), lines.get(1)) == (1, {"key": 1, "n": 2})
    lines.add({"key": 1, "n": 3})
    assert lines.get(1) == {"key": 1, "n": 3}
    lines.close()


@pytest.mark.parametrize("bad", ["{]", "3", "{}", "[1]", '"x"', ""])
def test_a_damaged_line_is_named(tmp_path, bad):
    (tmp_path / "a.jsonl").write_text(f'{{"key": 1}}\n{bad}\n{{"key": 2}}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:2: not a line that openklear distill wrote"):
        opened(tmp_path / "a.jsonl")
