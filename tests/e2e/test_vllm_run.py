"""A recipe's RL phase over vLLM: weights published each iteration, vLLM killed, then the trainer, and resumed; and in the
pool of a cluster, over two of them, and over one that two processes hold.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.vllm

RECIPE = """
[world]
demonstrations = 10
problems = 40
validation = 4
heldout = 4

[model]
type = "tiny"
hidden_size = 64
layers = 2
heads = 2

[data]
correct_only = []

[[data.source]]
name = "math-problems"
path = "world:problems/math.jsonl"
role = "problems"

[[data.source]]
name = "math-heldout"
path = "world:heldout/math.jsonl"
role = "heldout"

[rl]
iterations = 5
problems_per_iteration = 4
group_size = 8
problems_per_update = 2
learning_rate = 1e-3
warmup_steps = 0
max_prompt_tokens = 128
max_completion_tokens = 160
overlong = "soft"
filter_zero_advantage = false

[[rl.phase]]
name = "math"
domains = ["math"]

[engine]
type = "vllm"
slots = 16
cache_gb = 0.125

[verifiers]
minimum_isolation = "rlimits"
"""


CLUSTER = """
[cluster]
address = "local"
trainers = 1
samplers = 2
judges = 1
"""
TOGETHER = """
[cluster]
address = "local"
trainers = 1
samplers = 1
judges = 1
"""


def command(folder: Path, name: str, more: str = "", *words: str) -> list[str]:
    (folder / "recipe.toml").write_text(RECIPE + more)
    run = ["rl", str(folder / "recipe.toml"), "--output", str(folder / name), *words]
    return [sys.executable, "-m", "openklear", *run]


def environment() -> dict[str, str]:
    if "OPENKLEAR_VLLM" not in os.environ:
        pytest.skip("OPENKLEAR_VLLM names no interpreter with vLLM: run make test-vllm")
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2] / "src")}


def finished(folder: Path, name: str, more: str = "", *words: str) -> str:
    done = subprocess.run(
        command(folder, name, more, *words), env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def drawn(root: Path) -> list[tuple[list[list[int]], set[int]]]:
    """Of each iteration: the tokens of its rollouts, and the versions of the weights they were drawn from."""
    found = []
    for record in sorted((root / "rl-math" / "iterations").iterdir()):
        table = pq.read_table(record / "rollouts.parquet")
        found.append((table["token_ids"].to_pylist(), set(table["policy_version"].to_pylist())))
    return found


def figures(root: Path) -> list[dict]:
    return [json.loads(line) for line in (root / "rl-math" / "metrics.jsonl").read_text().splitlines()]


def test_five_iterations_and_the_same_after_both_were_killed(tmp_path):
    said = finished(tmp_path, "whole")
    assert "the sampler is vLLM" in said
    rows = figures(tmp_path / "whole")
    assert len(rows) == 5
    assert max(row["gap_max"] for row in rows) <= 1e-5
    assert not any("differ" in text for row in rows for text in row.get("alarms", ()))
    whole = drawn(tmp_path / "whole")
    assert [versions for _, versions in whole] == [{0}, {1}, {2}, {3}, {4}]

    killed_twice(tmp_path)
    assert "going on after iteration" in finished(tmp_path, "killed")
    assert drawn(tmp_path / "killed") == whole
    weights = [(tmp_path / name / "rl-math/model/model.safetensors").read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]


def test_two_of_them_in_a_clusters_pool(tmp_path):
    """Each iteration is drawn from the weights before it: a sampler whose hash of them differs would have ended the run.

    `gap_max` holds what vLLM says of every token against what the trainer says of it, so old weights would show, too.
    """
    pytest.importorskip("ray", reason="the pool needs openklear[cluster]")
    finished(tmp_path, "pool", CLUSTER)
    assert [versions for _, versions in drawn(tmp_path / "pool")] == [{0}, {1}, {2}, {3}, {4}]
    assert max(row["gap_max"] for row in figures(tmp_path / "pool")) <= 1e-5
    for sampler in (0, 1):
        assert "vLLM" in (tmp_path / "pool" / "logs" / "rl-math" / f"sampler-{sampler}.log").read_text()


def test_one_that_two_processes_hold_in_a_clusters_pool(tmp_path):
    pytest.importorskip("ray", reason="the pool needs openklear[cluster]")
    finished(tmp_path, "pool", TOGETHER, "--set", "engine.tensor_parallel=2", "--set", "rl.iterations=2")
    assert [versions for _, versions in drawn(tmp_path / "pool")] == [{0}, {1}]
    assert max(row["gap_max"] for row in figures(tmp_path / "pool")) <= 1e-5


def killed_twice(folder: Path) -> None:
    """Kill vLLM after the first iteration, and the trainer, which has gone on with another one, after the third."""
    with open(folder / "said", "w") as said:
        run = subprocess.Popen(command(folder, "killed"), env=environment(), stderr=said)
        wait_for(folder, run, 1)
        first = worker_of(run.pid)
        os.kill(first, signal.SIGKILL)
        wait_for(folder, run, 3)
        second = worker_of(run.pid)
        run.kill()
        run.wait()
    assert second != first
    words = " ".join((folder / "said").read_text().split())
    assert "vLLM was killed by signal 9 (SIGKILL) while" in words
    assert "it is started once more" in words
    until = time.monotonic() + 20
    while Path(f"/proc/{second}/cmdline").exists() and Path(f"/proc/{second}/cmdline").read_bytes():
        assert time.monotonic() < until, "vLLM outlives the run"
        time.sleep(0.05)


def wait_for(folder: Path, run: subprocess.Popen, iteration: int) -> None:
    record = folder / "killed" / "rl-math" / "iterations" / f"{iteration:06d}"
    until = time.monotonic() + 240
    while not record.is_dir():
        assert run.poll() is None, (folder / "said").read_text()
        assert time.monotonic() < until
        time.sleep(0.01)


def worker_of(pid: int) -> int:
    """The process that runs vLLM, a child of one of the threads of `pid`."""
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    children = " ".join(thread.read_text() for thread in threads).split()
    (found,) = [int(c) for c in children if b"vllm_worker" in Path(f"/proc/{c}/cmdline").read_bytes()]
    return found
