"""The load test of the server, small: `benchmarks/grading_load.py` is the whole of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_hostile_rows_killed_workers_and_a_killed_server(tmp_path):
    """No verdict may be wrong, nothing may grow, and nothing may outlive the server."""
    command = [sys.executable, ROOT / "benchmarks" / "grading_load.py", "--gradings", "200", "--kills", "2", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    report = json.loads(done.stdout)
    assert (report["faults"], done.returncode) == ([], 0)
    assert report["load"]["gradings"] == 200
    assert set(report["load"]["verdicts"]) == {"correct", "incorrect"}
    assert report["load"]["latency ms"]["hostile code"]["max"] > 0
    assert report["workers killed"]["killed"] >= 2
    assert report["server killed"]["processes"] >= 4
    assert list(tmp_path.glob("openklear-load-*")) == []
