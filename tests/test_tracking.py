"""Trackers: every row once, whatever is killed; and never a reason for a run to stop."""

import contextlib
import importlib.util
import socket
import sqlite3
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from openklear import progress, tracking
from openklear.durable.files import read_json
from openklear.errors import UsageError
from openklear.recipe.load import load_recipe
from openklear.tracking import bounded, numbers_of, require_trackers, run_tracker, track_scores

MINI = Path(__file__).parent / "e2e" / "mini.toml"


class Window:
    """Remembers what it is sent, over all attempts at a stage."""

    seen: list
    broken = None

    def __init__(self, opening):
        if Window.broken == "open":
            raise ConnectionError("nobody is there")
        Window.seen.append(("open", opening.run, opening.stage, opening.identity, opening.fresh))

    def log(self, numbers, step):
        if Window.broken == "log":
            raise ConnectionError("it went away")
        Window.seen.append((step, numbers))

    def close(self, summary):
        Window.seen.append(("close", summary))


@pytest.fixture(autouse=True)
def window(monkeypatch):
    Window.seen, Window.broken = [], None
    monkeypatch.setitem(tracking.KINDS, "trackio", Window)
    progress.say_once.cache_clear()
    return Window


def recipe(*more, to="trackio"):
    return load_recipe(MINI, (f'track.to=["{to}"]', *more))


def sent(root, steps, of=None, stage="sft"):
    (root / stage).mkdir(exist_ok=True)
    with run_tracker(of or recipe(), root, stage, root / stage) as tracker:
        for step in steps:
            tracker.log({"step": step, "loss": 1 / step, "bins": [1, 2], "alarms": ["x"]}, step)


def test_every_row_once_over_a_kill(tmp_path, window):
    sent(tmp_path, [1, 2, 3])
    sent(tmp_path, [2, 3, 4])  # it went back to a checkpoint
    opened = [one for one in window.seen if one[0] == "open"]
    assert opened[0][:3] == ("open", tmp_path.name, "sft")
    assert opened[0][3] == opened[1][3] == read_json(tmp_path / "sft" / "track.json")["id"]
    assert [one[4] for one in opened] == [True, False]
    rows = [one for one in window.seen if isinstance(one[0], int)]
    assert rows == [(step, {"loss": 1 / step}) for step in (1, 2, 3, 4)]
    assert window.seen[-1] == ("close", {"loss": 0.25})


def test_a_stage_that_runs_anew_is_another_run(tmp_path, window):
    sent(tmp_path, [1, 2], recipe("track.name=mine"))
    (tmp_path / "sft" / "track.json").unlink()  # its directory was moved to superseded/
    sent(tmp_path, [1, 2])
    first, second = (one for one in window.seen if one[0] == "open")
    assert first[1] == "mine"
    assert first[3] != second[3]
    assert [one[0] for one in window.seen if isinstance(one[0], int)] == [1, 2, 1, 2]


@pytest.mark.parametrize(("broken", "words"), [("open", "nobody is there"), ("log", "it went away")])
def test_an_outage_is_said_once_and_stops_nothing(tmp_path, window, broken, words, capsys):
    window.broken = broken
    sent(tmp_path, [1, 2, 3])
    lines = [line for line in capsys.readouterr().err.splitlines() if words in line]
    assert len(lines) == 1
    assert lines[0].startswith("trackio: ")
    assert "the run goes on without it" in lines[0]


def test_a_tracker_that_hangs_is_left_alone():
    with pytest.raises(TimeoutError, match=r"no answer in 0\.05 s"):
        bounded(lambda: time.sleep(5), 0.05)
    assert bounded(lambda: 3) == 3
    with pytest.raises(RuntimeError, match="SystemExit"):
        bounded(lambda: exec("raise SystemExit(2)"))


def test_a_tracker_that_hangs_keeps_no_hold_of_stdout(capsys):
    """What the run prints after it has given up is a result again, then and once the call comes to its end."""
    release, ended = threading.Event(), threading.Event()

    def hang():
        release.wait(5)
        ended.set()

    with pytest.raises(TimeoutError):
        bounded(hang, 0.05)
    print("a result")
    with contextlib.redirect_stdout(sys.stderr):
        release.set()
        assert ended.wait(5)
        time.sleep(0.05)
        print("progress")
    assert capsys.readouterr() == ("a result\n", "progress\n")


def test_what_a_tracker_prints_is_no_result(capsys):
    bounded(lambda: print("look here"))
    assert capsys.readouterr().out == ""


def test_a_missing_package_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'wandb is not installed; run pip install "openklear\[wandb\]"'):
        require_trackers(("wandb",))
    require_trackers(())


def test_without_a_tracker_nothing_is_written(tmp_path, window):
    sent(tmp_path, [1, 2], load_recipe(MINI))
    assert list((tmp_path / "sft").iterdir()) == []
    assert window.seen == []


def test_scores_are_a_step_a_model(tmp_path, window):
    rows = [
        {"stage": stage, "benchmark": "b", "domain": "math", "k": 2, "value": value}
        for stage, value in (("base", 0.25), ("sft", 0.5))
    ]
    track_scores(recipe(), tmp_path, tmp_path, rows)
    assert [one for one in window.seen if isinstance(one[0], int)] == [
        (1, {"b/math/avg@2": 0.25}),
        (2, {"b/math/avg@2": 0.5}),
    ]


def test_numbers_alone():
    assert numbers_of({"step": 3, "a": 1, "b": 0.5, "c": [1], "d": "x", "e": None}) == {"a": 1.0, "b": 0.5}


def test_tensorboard_reads_it_back(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sent(tmp_path, [1, 2, 3], recipe(to="tensorboard"))
    sent(tmp_path, [3, 4], recipe(to="tensorboard"))
    found = EventAccumulator(str(tmp_path / "tensorboard" / "sft"))
    found.Reload()
    assert [(event.step, event.value) for event in found.Scalars("loss")] == [
        (1, 1.0),
        (2, 0.5),
        (3, pytest.approx(1 / 3)),
        (4, 0.25),
    ]
    assert found.Tags()["tensors"] == ["recipe/text_summary"]


def test_wandb_takes_it_without_a_network(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    sent(tmp_path, [1, 2], recipe(to="wandb"))
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    until = time.monotonic() + 20  # its own process writes the file
    while b"loss" not in file.read_bytes() and time.monotonic() < until:
        time.sleep(0.05)
    assert b"loss" in file.read_bytes()


def test_wandb_without_a_login_does_not_ask(tmp_path, monkeypatch, capsys):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    sent(tmp_path, [1, 2], recipe(to="wandb"))
    assert "run wandb login, or set WANDB_MODE=offline" in capsys.readouterr().err


def test_trackio_reads_it_back(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when it is imported
    pytest.importorskip("trackio")
    monkeypatch.setitem(tracking.KINDS, "trackio", tracking.Trackio)
    sent(tmp_path, [1, 2], recipe("track.project=mine"))
    with sqlite3.connect(tmp_path / "trackio" / "mine.db") as file:
        assert [row[0] for row in file.execute("select step from metrics order by step")] == [1, 2]


def test_prometheus_is_told_the_newest_row_of_the_stage_that_runs(tmp_path, monkeypatch):
    pytest.importorskip("prometheus_client")
    from prometheus_client.parser import text_string_to_metric_families

    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv(tracking.METRICS_ADDRESS, address)
    for stage, rows in (("sft", 2), ("rl-math", 3)):  # the second stage has the first one's port
        (tmp_path / stage).mkdir()
        with run_tracker(recipe(to="prometheus"), tmp_path, stage, tmp_path / stage) as tracker:
            for step in range(1, rows + 1):
                tracker.log({"step": step, "loss": 1 / step, "clip/low": 0.25}, step)
            text = urllib.request.urlopen(f"http://{address}/metrics", timeout=10).read().decode()
        found = {sample.name: sample for family in text_string_to_metric_families(text) for sample in family.samples}
        assert found["openklear_loss"].labels == {"run": tmp_path.name, "stage": stage}
        assert (found["openklear_loss"].value, found["openklear_step"].value) == (pytest.approx(1 / rows), rows)
        assert found["openklear_clip_low"].value == 0.25
        assert abs(found["openklear_row_timestamp_seconds"].value - time.time()) < 60


def test_a_port_that_is_taken_costs_the_metrics_alone(tmp_path, monkeypatch, capsys):
    pytest.importorskip("prometheus_client")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv(tracking.METRICS_ADDRESS, f"127.0.0.1:{taken.getsockname()[1]}")
        sent(tmp_path, [1], recipe(to="prometheus"))
    assert "prometheus: " in capsys.readouterr().err
    monkeypatch.setenv(tracking.METRICS_ADDRESS, "9400x")
    sent(tmp_path, [2], recipe(to="prometheus"))
    assert "write host:port" in capsys.readouterr().err
