"""A run that is killed and restarted ends with the bits of an undisturbed one (house rule 10)."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

HERE = Path(__file__).parent
RECIPE = HERE / "mini.toml"

# Twenty moments: kind -> where in the run they fall, as shares of all moments of that kind.
MOMENTS = {
    "rename": (0.02, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.97),
    "sync": (0.05, 0.45, 0.9),
    "half-save": (0.01, 0.4, 0.99),
    "step": (0.1, 0.6, 0.95),
    "sample": (0.05, 0.5, 0.95),
}
CASES = [(kind, share) for kind, shares in MOMENTS.items() for share in shares]


def command(*arguments: str, output: Path, extra: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(HERE.parents[1] / "src"),
        "KILL_LOG": str(output.with_suffix(".log")),
    }
    full = [sys.executable, str(HERE / "kill_at.py"), *arguments, "--", "run", str(RECIPE), "--output", str(output)]
    full += extra
    return subprocess.run(full, capture_output=True, text=True, env=environment, timeout=300, check=False)


def digest(root: Path) -> dict[str, str]:
    """What must be equal in bits: weights, optimizers, rollouts, metrics, scores; not clocks or the host's facts."""
    clocks = {"timings.jsonl", "stage.json", "manifest.json", "report.html", "summary.json", "lock", "verdicts.jsonl"}
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.name not in clocks)
    found = {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    summary = json.loads((root / "summary.json").read_text())
    found["summary"] = json.dumps({k: summary[k] for k in ("scores", "weights", "seed", "recipe")}, sort_keys=True)
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    root = tmp_path_factory.mktemp("undisturbed") / "run"
    counts = root.parent / "counts.json"
    done = command("count", str(counts), output=root)
    assert done.returncode == 0, done.stderr
    return digest(root), json.loads(counts.read_text()), sampled(root)


@pytest.mark.chaos
@pytest.mark.parametrize(("kind", "share"), CASES, ids=[f"{k}-{s}" for k, s in CASES])
def test_a_killed_run_ends_with_the_bits_of_an_undisturbed_one(kind, share, undisturbed, tmp_path):
    expected, counts, batches = undisturbed
    root = tmp_path / "run"
    number = max(1, round(share * counts[kind]))
    killed = command(f"{kind}:{number}", output=root)
    assert killed.returncode == -signal.SIGKILL, f"{kind} {number} of {counts[kind]} never came:\n{killed.stderr}"
    finished = command("count", str(tmp_path / "counts.json"), output=root)
    assert finished.returncode == 0, finished.stderr
    assert digest(root) == expected
    again = sampled(root) - batches
    assert len(again) <= 2, "at most one iteration's rollouts, and its validation, may be sampled twice"
    assert all(times == 1 for times in again.values())


def sampled(root: Path) -> Counter[str]:
    """How often each batch of requests was sampled to its end, over all attempts at a run."""
    return Counter(root.with_suffix(".log").read_text().split())


@pytest.mark.chaos
def test_two_runs_are_equal_and_another_seed_is_not(undisturbed, tmp_path):
    expected, _, _ = undisturbed
    again = command("count", str(tmp_path / "counts.json"), output=tmp_path / "again")
    assert again.returncode == 0, again.stderr
    assert digest(tmp_path / "again") == expected
    other = command("count", str(tmp_path / "counts.json"), output=tmp_path / "other", extra=("--set", "seed=1"))
    assert other.returncode == 0, other.stderr
    weights = [json.loads((tmp_path / run / "summary.json").read_text())["weights"] for run in ("again", "other")]
    assert all(weights[0][stage] != weights[1][stage] for stage in weights[0])


@pytest.mark.chaos
def test_a_run_that_is_told_to_end_saves_what_is_done_and_ends_with_the_same_bits(undisturbed, tmp_path):
    """SIGTERM, in SFT and again in RL, whose steps are saved at other places than in an undisturbed run."""
    expected, _, _ = undisturbed
    root = tmp_path / "run"
    for stage in ("sft", "rl-math"):
        process = begun(root)
        metrics = root / stage / "metrics.jsonl"
        until = time.monotonic() + 200
        while not (metrics.is_file() and b"\n" in metrics.read_bytes()):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < until
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=100)
        assert process.returncode == 143, said
        assert re.search(rf"{stage}: ended as told \(SIGTERM\); \w+ \d+ of \d+ is saved, and the same command", said)
    finished = command("count", str(tmp_path / "counts.json"), output=root)
    assert finished.returncode == 0, finished.stderr
    assert digest(root) == expected


def begun(root):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1] / "src")}
    words = [sys.executable, "-m", "openklear", "run", str(RECIPE), "--output", str(root)]
    return subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


CARRYING = (
    *("--set", "rl.correction.type=truncate", "--set", "rl.partial_rollouts={ type = 'carry_over', extra = 0.5 }"),
    *("--set", "rl.max_completion_tokens=64", "--set", "rl.iterations=4"),
)


@pytest.mark.chaos
def test_a_run_that_carries_rollouts_over_ends_with_the_bits_of_an_undisturbed_one_too(tmp_path):
    whole = tmp_path / "whole"
    done = command("count", str(tmp_path / "counts.json"), output=whole, extra=CARRYING)
    assert done.returncode == 0, done.stderr
    assert list(whole.glob("rl-math/iterations/*/carried.parquet"))
    counts, expected = json.loads((tmp_path / "counts.json").read_text()), digest(whole)
    for kind, share in (("sample", 0.6), ("rename", 0.75)):
        root = tmp_path / kind
        killed = command(f"{kind}:{round(share * counts[kind])}", output=root, extra=CARRYING)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        finished = command("count", str(tmp_path / "again.json"), output=root, extra=CARRYING)
        assert finished.returncode == 0, finished.stderr
        assert digest(root) == expected
