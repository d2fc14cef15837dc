import os

import pytest

from openklear.durable.journal import Journal, KeyedJournal
from openklear.errors import DataError


def opened(path, seen=None):
    known = seen if seen is not None else []
    return KeyedJournal(path, lambda row: row["key"], lambda key, row: known.append((key, row)))


def test_rows_are_found_again(tmp_path):
    lines = opened(tmp_path / "a.jsonl")
    for n in range(5):
        lines.add([{"key": n, "text": "é" * n + "\n\u2028\ud83d"}])
    assert lines.get(3) == {"key": 3, "text": "ééé\n\u2028\ud83d"}
    assert (len(lines), 4 in lines, 5 in lines, lines.get(5)) == (5, True, False, None)
    lines.close()
    lines.close()
    seen = []
    again = opened(tmp_path / "a.jsonl", seen)
    assert [key for key, _ in seen] == list(again) == [0, 1, 2, 3, 4]
    assert again.get(2) == {"key": 2, "text": "éé\n\u2028\ud83d"}
    again.close()


def test_one_add_is_one_write_and_one_fsync(tmp_path, monkeypatch):
    calls, write, fsync = [], os.write, os.fsync
    with Journal(tmp_path / "a.jsonl") as journal:
        monkeypatch.setattr(os, "write", lambda *given: (calls.append("write"), write(*given))[1])
        monkeypatch.setattr(os, "fsync", lambda *given: (calls.append("fsync"), fsync(*given))[1])
        spans = journal.add([{"key": 1}, {"key": 22}])
        assert calls == ["write", "fsync"]
        assert (tmp_path / "a.jsonl").read_text() == '{"key": 1}\n{"key": 22}\n'
        assert spans == [(0, 11), (11, 12)]
        assert journal.read(spans[1]) == {"key": 22}
        assert (len(journal), list(journal)) == (2, [{"key": 1}, {"key": 22}])


@pytest.mark.parametrize("torn", [b"{", b'{"key": 9, "text": "half', b'{"key": 9}', b"\xc3"])
def test_a_torn_last_line_is_cut_off(tmp_path, torn):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"key": 1}\n{"key": 2}\n' + torn)
    lines = opened(path)
    assert list(lines) == [1, 2]
    lines.add([{"key": 9}])
    assert lines.get(9) == {"key": 9}
    lines.close()
    assert path.read_text() == '{"key": 1}\n{"key": 2}\n{"key": 9}\n'


def test_what_could_not_be_written_whole_leaves_nothing_behind(tmp_path, monkeypatch):
    """The disk fills up in the middle of a line; the next line must stand on its own."""
    write, written = os.write, []

    def fills_up(file, data):
        if written:
            raise OSError(28, "No space left on device")
        written.append(write(file, bytes(data)[:5]))
        return 5

    with Journal(tmp_path / "a.jsonl") as journal:
        journal.add([{"key": 1}])
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", fills_up)
            with pytest.raises(OSError, match="No space"):
                journal.add([{"key": 2}])
        journal.add([{"key": 3}])
    assert (tmp_path / "a.jsonl").read_text() == '{"key": 1}\n{"key": 3}\n'


def test_of_several_rows_of_one_key_the_last_counts(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"key": 1, "n": 1}\n{"key": 1, "n": 2}\n')
    lines = opened(path)
    assert (len(lines), lines.get(1)) == (1, {"key": 1, "n": 2})
    lines.add([{"key": 1, "n": 3}])
    assert lines.get(1) == {"key": 1, "n": 3}
    lines.close()


@pytest.mark.parametrize("bad", ["{]", "3", "{}", "[1]", '"x"', ""])
def test_a_damaged_line_is_named(tmp_path, bad):
    (tmp_path / "a.jsonl").write_text(f'{{"key": 1}}\n{bad}\n{{"key": 2}}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:2: not a line that openklear wrote"):
        opened(tmp_path / "a.jsonl")
