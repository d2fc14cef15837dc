"""Three hosts with addresses of their own: they form a cluster, train, and survive a link that is cut."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.cluster.hosts import PORT, Hosts, missing

pytest.importorskip("ray", reason="the extra `cluster` is not installed")
pytestmark = pytest.mark.cluster
MINI = Path(__file__).parents[1] / "e2e" / "mini.toml"
STEPS = 60


@pytest.fixture
def hosts():
    if why := missing():
        pytest.skip(f"NOT TESTED: {why}")
    with Hosts(3) as made:
        for host in range(3):
            made.ray(host, 2)
        yield made


def steps(root: Path) -> list[int]:
    metrics = root / "sft" / "metrics.jsonl"
    if not metrics.is_file():
        return []
    return [json.loads(line)["step"] for line in metrics.read_text().splitlines() if line.endswith("}")]


NAMED = re.compile(r"^(rank|sampler|judge) \d \(.*\) (hangs|died|failed|has not answered)", re.M)


def wait_for(happens, run, said) -> None:
    until = time.monotonic() + 120
    while not happens():
        assert run.poll() is None, "".join(said)[-3000:]
        assert time.monotonic() < until, "".join(said)[-3000:]
        time.sleep(0.05)


def test_a_cut_link_is_named_and_the_run_goes_on_where_it_was(hosts, tmp_path):
    """Three ranks on hosts of two cores, so that two hosts train; one without the command is cut off, and comes back."""
    root = tmp_path / "run"
    words = [sys.executable, "-m", "openklear", "sft", str(MINI), "--output", str(root)]
    changes = [f"cluster.address={hosts.address(0)}:{PORT}", "cluster.trainers=3", "cluster.samplers=2"]
    changes += ["cluster.patience=6", f"sft.epochs={STEPS // 4}", "sft.optimizer.type=adamw", "sft.save_every=5"]
    for change in changes:
        words += ["--set", change]
    run = hosts.start(0, words)
    assert run.stderr is not None
    said: list[str] = []
    reading = threading.Thread(target=lambda: said.extend(line.decode() for line in run.stderr), daemon=True)
    reading.start()
    wait_for(lambda: len(steps(root)) >= 12, run, said)
    away = [int(host) - 1 for host in re.findall(r"rank \d: \S+ \(10\.77\.0\.(\d)\), pid \d+ trains", "".join(said))]
    victim = max(away)
    assert victim > 0, "three ranks have not the room on one host"
    hosts.cut(victim)
    cut = time.monotonic()
    wait_for(lambda: NAMED.search("".join(said)), run, said)
    named = time.monotonic() - cut
    hosts.mend(victim)
    hosts.ray(victim, 2)
    assert run.wait(timeout=200) == 0, "".join(said)[-3000:]
    reading.join()
    text = "".join(said)
    assert named < 30, text[-3000:]
    assert re.search(r"rank \d \(.*\) .*; all ranks are being ended", text), text[-3000:]
    assert "sft: its ranks have ended; the stage begins again, from its newest checkpoint" in text
    found = steps(root)
    assert found == list(range(1, len(found) + 1))
    assert len(found) >= 20
