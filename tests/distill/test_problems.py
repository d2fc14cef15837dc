import json

import pytest

from openklear.data import store
from openklear.distill.problems import read_problems
from openklear.errors import DataError
from openklear.types import Problem


def put(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_rows_in_order_with_the_files_name(tmp_path):
    path = put(tmp_path / "sums.train.jsonl", {"id": 7, "problem": "a", "answer": 1}, {"question": "b", "answer": "2"})
    found = read_problems(path, "math", None)
    assert [problem.id for problem in found] == ["sums/7", f"sums/{found[1].content_hash}"]
    assert [problem.answer for problem in found] == ["1", "2"]
    assert [problem.id for problem in read_problems(path, "math", 1)] == ["sums/7"]


def test_a_problem_that_stands_twice_is_asked_once(tmp_path, capsys):
    row = {"id": 7, "problem": "a", "answer": "1", "domain": "math"}
    path = put(tmp_path / "a.jsonl", row, row, {**row, "problem": "b"}, {**row, "problem": " "}, {**row, "id": 8})
    found = read_problems(path, None, None)
    assert [(p.id, p.prompt[0]["content"]) for p in found] == [("a/7", "a"), ("a/7", "b"), ("a/8", "a")]
    said = capsys.readouterr().err
    assert "1 rows repeat an earlier id and prompt" in said
    assert "1 rows cannot be used and are left out (empty prompt" in said


def test_a_directory_is_one_source(tmp_path):
    for name in ("y", "x"):
        put(tmp_path / "set" / f"{name}.jsonl", {"id": name, "problem": name, "answer": "1", "domain": "math"})
    found = read_problems(str(tmp_path / "set"), None, None)
    assert [problem.id.rpartition("/")[2] for problem in found] == ["x", "y"]
    assert len({problem.source for problem in found}) == 1


def test_prepared_problems_keep_their_names(tmp_path):
    problems = [Problem("gsm8k/1", ({"role": "user", "content": "a"},), "math", answer="1", level="2", source="gsm8k")]
    store.write_problems(tmp_path / "problems.parquet", problems)
    assert read_problems(str(tmp_path / "problems.parquet"), None, None) == problems


def test_what_cannot_be_asked_is_said(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.jsonl: there are no problems here"):
        read_problems(put(tmp_path / "nothing.jsonl", {"problem": "", "answer": "1"}), "math", None)
    with pytest.raises(DataError, match="domain"):
        read_problems(put(tmp_path / "a.jsonl", {"problem": "a", "answer": "1"}), None, None)
    with pytest.raises(DataError, match="no such file"):
        read_problems(str(tmp_path / "none.jsonl"), None, None)
