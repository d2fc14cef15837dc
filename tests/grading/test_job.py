"""A file graded, interrupted anywhere, gone on with, and never mixed up with another."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openklear.durable.files import lock
from openklear.durable.journal import Journal
from openklear.errors import DataError, RunLocked, StageChanged, UsageError
from openklear.grading import Limits, job
from openklear.grading.job import Job, grade_file, short_reason

LIMITS = Limits(workers=2, math_seconds=2.0, code_seconds=1.0)


def math_rows(count):
    return [{"id": n, "reference": str(n), "completion": rf"\boxed{{{n + n % 4 % 2}}}", "x": "ü"} for n in range(count)]


def write(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def whole_lines(path):
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:  # not there yet, or taken away at the end
        return 0


def timeless(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.fixture
def made(tmp_path):
    source = write(tmp_path / "a.jsonl", math_rows(2500))
    return Job(source, tmp_path / "b.jsonl", "math", LIMITS)


def left(made):
    return sorted(path.name for path in made.output.parent.iterdir())


def interrupted(monkeypatch, made, *, batches=1, restart=False):
    """The job, with Ctrl-C once that many batches are on the disk."""
    true, done = Journal.add, []

    def add(journal, rows):
        true(journal, rows)
        done.append(rows)
        if len(done) == batches:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", add)
        with pytest.raises(KeyboardInterrupt):
            grade_file(made, restart=restart)


def test_a_file(made):
    summary = grade_file(made)
    rows = read(made.output)
    assert [row["verdict"] == "correct" for row in rows] == [n % 2 == 0 for n in range(2500)]
    assert [list(row)[:4] for row in rows] == [["id", "reference", "completion", "x"]] * 2500
    assert (summary["rows"], summary["correct"], summary["incorrect"], summary["unscorable"]) == (2500, 1250, 1250, 0)
    assert summary["share_correct"] == 0.5
    assert summary["reasons"] == [{"verdict": "incorrect", "reason": "wrong answer", "rows": 1250}]
    assert left(made) == ["a.jsonl", "b.jsonl", "b.jsonl.summary.json"]


def test_interrupted_and_gone_on_with(made, monkeypatch):
    interrupted(monkeypatch, made)
    assert left(made) == [".partial-b.jsonl", "a.jsonl"]
    journal = made.output.parent / ".partial-b.jsonl" / "verdicts.jsonl"
    known = read(journal)
    assert len(known) == 1024
    with journal.open("ab") as file:
        file.write(b'{"verdict": "correct", "rea')  # a kill in the middle of a write
    summary = grade_file(made)
    rows = read(made.output)
    assert [row["seconds"] for row in rows[:1024]] == [one["seconds"] for one in known]  # not graded again
    assert [row["verdict"] == "correct" for row in rows] == [n % 2 == 0 for n in range(2500)]
    assert (summary["rows"], summary["rows_graded_now"]) == (2500, 1476)
    assert left(made) == ["a.jsonl", "b.jsonl", "b.jsonl.summary.json"]


def test_unfinished_work_of_other_rows_or_settings_is_not_gone_on_with(made, monkeypatch):
    interrupted(monkeypatch, made)
    other = replace(made, limits=replace(LIMITS, math_seconds=3.0))
    with pytest.raises(StageChanged, match=r"'math_seconds': 2.0\} became \{'math_seconds': 3.0"):
        grade_file(other)
    with pytest.raises(StageChanged, match="skip_bad"):
        grade_file(replace(made, skip_bad=True))
    grade_file(replace(made, limits=replace(LIMITS, workers=1)))  # changes no verdict
    write(made.source, math_rows(3))
    with pytest.raises(UsageError, match="not what this command would make"):
        grade_file(made)
    assert len(read(made.output)) == 2500
    grade_file(made, restart=True)
    assert len(read(made.output)) == 3


def test_restart_begins_anew_and_is_itself_gone_on_with(made, monkeypatch):
    interrupted(monkeypatch, made)
    write(made.source, math_rows(2400))
    with pytest.raises(StageChanged, match="the input changed"):
        grade_file(made)
    interrupted(monkeypatch, made, batches=2, restart=True)
    assert grade_file(made, restart=True)["rows_graded_now"] == 2400 - 2048
    assert len(read(made.output)) == 2400


def test_what_is_done_is_not_done_again(made):
    first = grade_file(made)
    before = made.output.stat().st_mtime_ns
    again = grade_file(made)
    assert again == first | {"rows_graded_now": 0}
    assert made.output.stat().st_mtime_ns == before
    assert grade_file(made, restart=True)["rows_graded_now"] == 2500


def test_a_file_that_we_did_not_make_is_not_replaced(made):
    made.output.write_text("dear diary\n")
    with pytest.raises(UsageError, match="--restart to replace it"):
        grade_file(made)
    (made.output.parent / ".partial-b.jsonl").mkdir()  # of a run that was killed before it had done anything
    with pytest.raises(UsageError, match="--restart to replace it"):
        grade_file(made)
    assert made.output.read_text() == "dear diary\n"
    assert grade_file(made, restart=True)["rows"] == 2500


def test_all_bad_rows_are_named_before_any_is_graded(made, monkeypatch):
    rows = math_rows(40)
    for n in range(5, 35):
        del rows[n]["completion"]
    write(made.source, rows)
    with made.source.open("a") as file:
        file.write("{oops\n")
    monkeypatch.setattr(job, "Grader", None)  # no row may be graded
    with pytest.raises(DataError) as caught:
        grade_file(made)
    said = str(caught.value).splitlines()
    assert said[0].startswith(f"31 of 41 rows of {made.source} cannot be graded, so none was.")
    assert said[1].startswith(f"{made.source}:6: completion is missing")
    assert said[-1] == "... and 11 more"
    assert left(made) == ["a.jsonl"]


def test_bad_rows_can_be_skipped(made):
    rows = math_rows(4)
    del rows[1]["reference"]
    write(made.source, rows)
    with made.source.open("a") as file:
        file.write("{oops\n")
    summary = grade_file(replace(made, skip_bad=True))
    found = read(made.output)
    assert [row["verdict"] for row in found] == ["correct", "unscorable", "correct", "incorrect", "unscorable"]
    assert found[1]["reason"].startswith("malformed row: reference is missing")
    assert found[4]["unreadable"] == "{oops"
    assert found[4]["reason"].startswith("malformed row: not valid JSON at column 2")
    assert (summary["unscorable"], summary["share_correct"]) == (2, 2 / 3)


def test_parquet_of_programs(tmp_path):
    tests = json.dumps([{"stdin": "1", "stdout": "2"}, {"stdin": "3", "stdout": "4"}])
    programs = ["print(int(input()) + 1)", "print(2)", "x ="]
    table = pa.table({"id": [1, 2, 3], "program": programs, "tests": [tests] * 3, "ids": [[1], [], None]})
    pq.write_table(table, tmp_path / "a.parquet")
    made = Job(tmp_path / "a.parquet", tmp_path / "b.parquet", "code", LIMITS)
    summary = grade_file(made)
    found = pq.read_table(made.output).to_pylist()
    assert [(row["verdict"], row["passed"], row["total"]) for row in found] == [
        ("correct", 2, 2),
        ("incorrect", 1, 2),
        ("incorrect", 0, 2),
    ]
    assert [row["ids"] for row in found] == [[1], [], None]
    assert found[1]["reason"] == "test 2 of 2: wrong output"
    assert {one["reason"] for one in summary["reasons"]} >= {"wrong output"}
    assert summary["isolation"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source": Path("nowhere.jsonl")}, "no such file"),
        ({"output": Path("b.parquet")}, "of the input's kind"),
        ({"output": Path("nowhere/b.jsonl")}, "no such directory"),
    ],
)
def test_paths_that_cannot_be_meant(made, change, words):
    with pytest.raises(UsageError, match=words):
        grade_file(replace(made, **change))
    with pytest.raises(UsageError, match="would replace the input"):
        grade_file(replace(made, output=made.source))


def test_an_empty_file(made):
    made.source.write_text("\n")
    with pytest.raises(DataError, match="holds no rows"):
        grade_file(made)
    assert left(made) == ["a.jsonl"]


def test_a_damaged_file(made, tmp_path):
    source = tmp_path / "c.jsonl.gz"
    source.write_bytes(gzip.compress(made.source.read_bytes())[:-50])
    with pytest.raises(DataError, match="the gzip file is damaged"):
        grade_file(replace(made, source=source))
    assert left(made) == ["a.jsonl", "c.jsonl.gz"]


def test_two_at_once(made):
    with lock(made.output.parent / ".partial-b.jsonl"), pytest.raises(RunLocked, match="in use by"):
        grade_file(made)


@pytest.mark.parametrize(
    ("reason", "short"),
    [
        ("test 3 of 16: timeout", "timeout"),
        ("test 1 of 1: ValueError: invalid literal", "ValueError"),
        ("wrong answer", "wrong answer"),
        ("malformed row: tests is empty; give every row one", "malformed row"),
    ],
)
def test_reasons_that_many_rows_share(reason, short):
    assert short_reason(reason) == short


def test_killed_at_any_moment_the_same_command_gives_the_same_file(tmp_path):
    """SIGKILL as soon as one more batch is on the disk, until a run comes to its end."""
    program = "import time\ntime.sleep(0.01)\nprint(int(input()) * {})"
    source = write(
        tmp_path / "a.jsonl",
        [
            {"id": n, "program": program.format(2 + n % 2) + f"\n#{n}", "tests": [{"stdin": "3", "stdout": "6"}]}
            for n in range(150)
        ],
    )
    command = [sys.executable, "-m", "openklear", "grade", "code", str(source), "--workers", "2"]
    environment = {**os.environ, "PYTHONPATH": str(Path(job.__file__).parents[2])}
    journal = tmp_path / ".partial-a.graded.jsonl" / "verdicts.jsonl"
    kills = 0
    while True:
        before = whole_lines(journal)
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while process.poll() is None and whole_lines(journal) <= before:
            time.sleep(0.005)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            break
        assert process.returncode == -signal.SIGKILL, process.stderr.read()
        kills += 1
        assert not (tmp_path / "a.graded.jsonl").exists()
    assert kills >= 2
    rows = timeless(read(tmp_path / "a.graded.jsonl"))
    assert [row["verdict"] for row in rows] == ["correct", "incorrect"] * 75
    assert [row["id"] for row in rows] == list(range(150))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.graded.jsonl",
        "a.graded.jsonl.summary.json",
        "a.jsonl",
    ]
