import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from openklear.durable import files
from openklear.errors import DataError, NoSpace, RunLocked, UsageError

SRC = Path(__file__).parents[2] / "src"


def partials(directory: Path) -> list[str]:
    return [p.name for p in directory.rglob(".partial-*")]


def inode(path: Path) -> int:
    return path.stat().st_ino


@pytest.fixture
def calls(monkeypatch):
    """The order of fsyncs and renames; an fsync is told by the file's name."""
    log: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def logged_fsync(descriptor):
        log.append(("fsync", Path(os.readlink(f"/proc/self/fd/{descriptor}")).name))
        fsync(descriptor)

    def logged_replace(old, new):
        log.append(("replace", Path(new).name))
        replace(old, new)

    monkeypatch.setattr(os, "fsync", logged_fsync)
    monkeypatch.setattr(os, "replace", logged_replace)
    return log


def test_a_file_is_on_the_disk_before_it_takes_its_name_and_its_name_after(tmp_path, calls):
    files.write_atomic(tmp_path / "deep" / "a.txt", "grün\n")
    assert (tmp_path / "deep" / "a.txt").read_bytes() == "grün\n".encode()
    assert calls == [("fsync", ".partial-a.txt"), ("replace", "a.txt"), ("fsync", "deep")]


def test_a_new_version_is_another_file_so_that_links_to_the_old_one_stay(tmp_path):
    files.write_atomic(tmp_path / "a", b"old")
    os.link(tmp_path / "a", tmp_path / "link")
    files.write_atomic(tmp_path / "a", b"new")
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "link").read_bytes()) == (b"new", b"old")


def test_a_full_disk_keeps_the_old_version_and_leaves_nothing(tmp_path, monkeypatch):
    files.write_atomic(tmp_path / "a", "old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoSpace, match=re.escape(str(tmp_path / "a"))):
        files.write_atomic(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    assert partials(tmp_path) == []


def test_a_directory_appears_whole_with_every_file_on_the_disk(tmp_path, calls):
    with files.whole_directory(tmp_path / "model") as partial:
        (partial / "sub").mkdir()
        (partial / "sub" / "weights").write_text("w")
        (partial / "config").write_text("c")
        assert not (tmp_path / "model").exists()
    renamed = calls.index(("replace", "model"))
    assert {("fsync", "weights"), ("fsync", "config"), ("fsync", "sub")} <= set(calls[:renamed])
    assert calls[renamed + 1 :] == [("fsync", tmp_path.name)]
    assert (tmp_path / "model" / "sub" / "weights").read_text() == "w"
    assert partials(tmp_path) == []


def test_a_directory_that_failed_is_not_there_and_the_old_one_is(tmp_path):
    with files.whole_directory(tmp_path / "model") as partial:
        (partial / "a").write_text("old")

    def fail() -> None:
        with files.whole_directory(tmp_path / "model") as partial:
            (partial / "a").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (tmp_path / "model" / "a").read_text() == "old"
    assert partials(tmp_path) == []


def test_leftovers_of_a_killed_process_are_not_taken_into_a_directory(tmp_path):
    left = tmp_path / ".partial-model"
    left.mkdir()
    (left / "torn").write_text("x")
    with files.whole_directory(tmp_path / "model") as partial:
        (partial / "a").write_text("a")
    assert [p.name for p in (tmp_path / "model").iterdir()] == ["a"]


def test_a_directory_replaces_another_whole(tmp_path):
    for text in ("one", "two"):
        with files.whole_directory(tmp_path / "model") as partial:
            (partial / text).write_text(text)
    assert [p.name for p in (tmp_path / "model").iterdir()] == ["two"]
    assert partials(tmp_path) == []


def test_remove_partials_looks_into_stages_alone(tmp_path):
    (tmp_path / "sft" / "checkpoints" / ".partial-000001").mkdir(parents=True)
    (tmp_path / "sft" / "checkpoints" / "000001").mkdir()
    (tmp_path / "sft" / "stage.json").write_text("{}")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".partial-x").write_text("somebody else's")
    (tmp_path / ".partial-summary.json").write_text("{")
    files.remove_partials(tmp_path)
    assert partials(tmp_path) == [".partial-x"]
    assert (tmp_path / "sft" / "checkpoints" / "000001").is_dir()


def test_json_holds_what_the_rooms_give_it(tmp_path):
    value = {"n": np.float32(0.5), "k": np.int64(3), "a": np.arange(2), "p": Path("x/y"), "t": (1, None), "b": True}
    files.write_json(tmp_path / "a.json", value | {"nan": float("nan"), "inf": [np.float64("inf")]})
    plain = {"n": 0.5, "k": 3, "a": [0, 1], "p": "x/y", "t": [1, None], "b": True, "nan": None, "inf": [None]}
    assert files.read_json(tmp_path / "a.json") == plain
    assert files.read_json(tmp_path / "a.json")["b"] is True
    with pytest.raises(TypeError, match="object"):
        files.write_json(tmp_path / "b.json", {"x": object()})


def test_json_lines_survive_any_text(tmp_path):
    rows = [{"text": "a\u2028b\nc\r"}, {"text": "lone \ud800 surrogate"}, {"text": "grün"}]
    files.write_jsonl_atomic(tmp_path / "rows.jsonl", rows)
    assert files.read_jsonl(tmp_path / "rows.jsonl") == rows
    assert (tmp_path / "rows.jsonl").read_bytes().count(b"\n") == 3
    assert "grün".encode() in (tmp_path / "rows.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("text", "said"),
    [(b'{"a": 1}\n{"a": \n', "x:2: not valid JSON"), (b"{}\n\n[1]\n", "x:3: .* not list"), (b"\xff", "x: not UTF-8")],
)
def test_malformed_rows_are_named(tmp_path, text, said):
    (tmp_path / "x").write_bytes(text)
    with pytest.raises(DataError, match=said):
        files.read_jsonl(tmp_path / "x")


def test_malformed_and_missing_documents_are_named(tmp_path):
    (tmp_path / "x").write_text('{\n "a": }')
    with pytest.raises(DataError, match=r"x:2: not valid JSON"):
        files.read_json(tmp_path / "x")
    with pytest.raises(DataError, match=r"y: no such file"):
        files.read_json(tmp_path / "y")


HOLD = """
import os, sys, time
from pathlib import Path
from openklear.durable import files
with files.lock(Path(sys.argv[1])):
    forked, alive = os.pipe()
    if sys.argv[2] == "fork":
        if os.fork() == 0:
            os.write(alive, b"!")
            time.sleep(60)
            os._exit(0)
        os.read(forked, 1)  # the child's own first steps, which drop the lock, are behind it
    print("held", flush=True)
    time.sleep(60)
"""


def hold(root: Path, how: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root), how],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("how", ["alone", "fork"])
def test_the_second_process_is_told_who_holds_the_run_and_a_kill_frees_it(tmp_path, how):
    process = hold(tmp_path / "run", how)
    try:
        said = rf"run is in use by process {process.pid} on .+; wait for it or stop it"
        with pytest.raises(RunLocked, match=said), files.lock(tmp_path / "run"):
            pass
        with pytest.raises(RunLocked, match=said), files.reading(tmp_path / "run"):
            pass
        process.kill()
        process.wait()
        with files.lock(tmp_path / "run"):  # with "fork", an orphan of the killed process still lives
            held = json.loads((tmp_path / "run" / "lock").read_text())
            assert held["pid"] == os.getpid()
    finally:
        if how == "fork" or process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_readers_share_and_keep_writers_out_without_writing(tmp_path):
    with files.lock(tmp_path):
        pass
    before = (tmp_path / "lock").read_bytes(), (tmp_path / "lock").stat().st_mtime_ns
    with files.reading(tmp_path), files.reading(tmp_path), pytest.raises(RunLocked), files.lock(tmp_path):
        pass
    assert ((tmp_path / "lock").read_bytes(), (tmp_path / "lock").stat().st_mtime_ns) == before


def test_a_file_is_no_run_directory(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(UsageError, match="choose another --output"), files.lock(tmp_path / "x"):
        pass


def test_space_is_asked_for_where_the_file_will_be(tmp_path):
    files.require_space(tmp_path / "not" / "yet", 1, "a checkpoint")
    with pytest.raises(NoSpace, match=r"a checkpoint needs 1048576\.0 GiB, but .* are free at"):
        files.require_space(tmp_path / "not" / "yet", 2**50, "a checkpoint")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "x"),
        OSError(errno.EDQUOT, "x"),
        ValueError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598"),
    ],
)
def test_every_librarys_full_disk_is_one_error(tmp_path, error):
    with pytest.raises(NoSpace, match="no space left"), files.disk_errors(tmp_path):
        raise error


@pytest.mark.parametrize("error", [OSError(errno.EIO, "x"), ValueError("x"), NoSpace("mine"), DataError("mine")])
def test_other_errors_pass_unchanged(tmp_path, error):
    with pytest.raises(type(error)) as caught, files.disk_errors(tmp_path):
        raise error
    assert caught.value is error


def test_kills_while_writing_leave_the_old_version_or_the_new(tmp_path):
    """Every fsync and rename of a write of a file and of a directory, each the last thing a process does."""
    outcomes = []
    for moment in range(1, 20):
        root = tmp_path / str(moment)
        write_both(root, "old")
        pid = os.fork()
        if pid == 0:
            die_at(moment)
            write_both(root, "new")
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        directory = (root / "directory" / "a").read_text() if (root / "directory").exists() else "none"
        outcomes.append(((root / "file").read_text(), directory))
        if os.WIFEXITED(status):
            break
        write_both(root, "again")
        assert ((root / "file").read_text(), (root / "directory" / "a").read_text()) == ("again", "again")
        assert partials(root) == []
    assert outcomes[-1] == ("new", "new")
    assert dict.fromkeys(outcomes) == dict.fromkeys([("old", "old"), ("new", "old"), ("new", "none"), ("new", "new")])


def write_both(root: Path, text: str) -> None:
    files.write_atomic(root / "file", text)
    with files.whole_directory(root / "directory") as partial:
        (partial / "a").write_text(text)


def die_at(moment: int) -> None:
    left = moment

    def dying(original):
        def patched(*args):
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)
            return original(*args)

        return patched

    os.replace, os.fsync = dying(os.replace), dying(os.fsync)


def test_a_row_that_does_not_fit_is_not_there_at_all(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    files.append_jsonl(path, {"a": 1})
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    with pytest.raises(NoSpace):
        files.append_jsonl(path, {"b": 2})
    monkeypatch.undo()
    files.append_jsonl(path, {"c": 3})
    assert path.read_text() == '{"a": 1}\n{"c": 3}\n'
