"""A run on a local Ray cluster has the figures and scores of one process, also where a rank is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from openklear.durable.sealed import latest
from openklear.models.loading import load_model
from openklear.recipe.load import load_recipe
from openklear.reporting.tokens import open_weights

pytest.importorskip("ray", reason="the extra `cluster` is not installed")
pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
MINI = Path(__file__).with_name("mini.toml")
CLUSTER = ["cluster.address=local", "cluster.trainers=2", "cluster.samplers=2", "cluster.patience=20"]
BESIDE = [*CLUSTER, "cluster.samplers=0"]
"""A sampler beside each trainer."""
STEADY = ["sft.optimizer.type=adamw", "sft.learning_rate=0.003", "sft.min_learning_rate=0.001", "sft.save_every=3"]
"""Muon orthogonalises in bfloat16, which makes more of another last digit."""


def start(through: str, root: Path, *changes: str) -> subprocess.Popen[str]:
    """The mini recipe without its phase on programs."""
    recipe = root.with_suffix(".toml")
    recipe.write_text(MINI.read_text().replace('[[rl.phase]]\nname = "code"\ndomains = ["code"]\n', ""))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "RAY_DEDUP_LOGS": "0"}
    command = [sys.executable, "-m", "openklear", through, str(recipe), "--output", str(root)]
    for change in (*STEADY, *changes):
        command += ["--set", change]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def finished(process: subprocess.Popen[str]) -> str:
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said[-3000:]
    return said


def rows(root: Path, stage: str) -> list[dict]:
    return [json.loads(line) for line in (root / stage / "metrics.jsonl").read_text().splitlines()]


def scores(root: Path, stage: str) -> object:
    return json.loads((root / stage / "scores.json").read_text())["scores"]


def last_weights(root: Path) -> dict[str, torch.Tensor]:
    """Of the phase's newest checkpoint, as a report opens it."""
    newest = latest(root / "rl-math")
    assert newest is not None
    assert (newest / "shards").is_dir()
    return open_weights(newest, load_recipe(root / "recipe.toml"), root / "sft").model.state_dict()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("alone") / "run"
    finished(start("evaluate", root))
    return root


def same_figures(root: Path, alone: Path, stage: str, unit: str) -> None:
    ours, theirs = rows(root, stage), rows(alone, stage)
    assert [row[unit] for row in ours] == [row[unit] for row in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], abs=1e-4)
        assert mine["learning_rate"] == other["learning_rate"]


def test_figures_and_scores_are_those_of_one_process(alone: Path, tmp_path: Path) -> None:
    """The whole way to the report, which reads the weights of checkpoints: they lie in parts."""
    said = finished(start("run", tmp_path / "run", *CLUSTER))
    assert len(re.findall(r"^sft: rank \d: .*, pid \d+ trains$", said, re.M)) == 2
    assert len(re.findall(r"^rl-math: sampler \d: .*, pid \d+ samples$", said, re.M)) == 2
    same_figures(tmp_path / "run", alone, "sft", "step")
    same_figures(tmp_path / "run", alone, "rl-math", "iteration")
    for mine, other in zip(rows(tmp_path / "run", "rl-math"), rows(alone, "rl-math"), strict=True):
        assert (mine["rollouts"], mine["reward"]) == (other["rollouts"], other["reward"])
        assert mine["gap_max"] < 1e-4, "the samplers have the trainers' weights"
    assert len(re.findall(r"^evaluate-sft: sampler \d: .*, pid \d+ samples$", said, re.M)) == 4
    for stage in ("evaluate-base", "evaluate-sft", "evaluate-rl-math"):
        assert scores(tmp_path / "run", stage) == scores(alone, stage)
    assert (tmp_path / "run" / "report.html").is_file()
    opened, handed_on = last_weights(tmp_path / "run"), load_model(tmp_path / "run" / "rl-math" / "model").model
    assert all(torch.equal(opened[name], tensor) for name, tensor in handed_on.state_dict().items())


def steps_done(root: Path, number: int, stage: str = "sft") -> None:
    """Waits until a stage has made so many steps or iterations."""
    metrics = root / stage / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while not metrics.is_file() or metrics.read_text().count("\n") < number:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_told_to_end_it_saves_and_goes_on_and_a_rank_that_is_killed_costs_no_step(alone: Path, tmp_path: Path) -> None:
    """SIGTERM first, which Ray would answer in its own way; then the same command, and a rank is killed."""
    root = tmp_path / "run"
    process = start("sft", root, *BESIDE)
    steps_done(root, 2)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=200)
    assert process.returncode == 143, said[-3000:]
    saved = re.search(r"sft: ended as told \(SIGTERM\); step (\d) of 8 is saved", said)
    assert saved is not None, said[-3000:]
    process = start("sft", root, *BESIDE)
    assert process.stderr is not None
    said, pid = "", 0
    while not pid:
        line = process.stderr.readline()
        assert line, said
        said += line
        if found := re.match(r"sft: rank 1: .*, pid (\d+) trains", line):
            pid = int(found[1])
    steps_done(root, int(saved[1]) + 1)
    os.kill(pid, signal.SIGKILL)
    said += finished(process)
    assert re.search(rf"rank 1 \(.*, pid {pid}\) died .*; all ranks are being ended", said)
    assert "sft: its ranks have ended; the stage begins again, from its newest checkpoint" in said
    assert f"sft: going on after step {saved[1]} of 8" in said
    same_figures(root, alone, "sft", "step")


def test_an_asynchronous_phase_survives_a_sampler_and_a_rank_and_samples_from_the_version_before(
    tmp_path: Path,
) -> None:
    """What two ranks and two samplers do at once, with rollouts that are carried over, and a kill of either kind."""
    changes = (*CLUSTER, "rl.asynchronous=true", "rl.correction.type=truncate", "rl.iterations=6", "rl.save_every=2")
    carry = ("rl.partial_rollouts.type=carry_over", "rl.partial_rollouts.extra=0.5")
    process = start("rl", tmp_path / "run", *changes, *carry)
    said: list[str] = []
    listening = threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True)
    listening.start()
    for victim, done in (("sampler", 1), ("rank", 3)):
        steps_done(tmp_path / "run", done, "rl-math")
        (pid,) = re.findall(rf"rl-math: {victim} 1: .*, pid (\d+) ", "".join(said))
        os.kill(int(pid), signal.SIGKILL)
    assert process.wait(timeout=600) == 0, said[-30:]
    listening.join()
    table = rows(tmp_path / "run", "rl-math")
    assert [row["iteration"] for row in table] == [1, 2, 3, 4, 5, 6]
    assert all(row["staleness_max"] >= 1 for row in table[1:])
    assert max(row["staleness_max"] for row in table) <= 4 + 1, "oldest, and the one that it is sampled before"
    for victim in ("sampler", "rank"):
        assert re.search(rf"{victim} 1 \(.*\) died", "".join(said)), said[-30:]
    assert "".join(said).count("rl-math: sampler 0: ") == 1, "who samples goes on where a rank is lost"
