"""Whether the quickstart on a Ray cluster of three nodes ends where it ends in one process.

    python benchmarks/cluster_quickstart.py              # 20 minutes on two cores; needs openklear[cluster]

Three Ray nodes on this machine: two ranks train, two samplers sample, two judges grade, by the recipe of `make
quickstart` with a [cluster] table and nothing else changed. Its scores stand beside those of reports/demonstration, the
same recipe in one process with eight seeds: one more run's score lies, 95 times in 100, in the interval printed
(Student's, for one more draw). Those of programs are wide, since seed 5 ended at 54 % where the others ended at 90, so
the run of the same seed stands beside them, too. A score outside ends the command with exit code 1.

Predicted: all six inside, and those of SFT within 3 points of the same seed in one process, those of RL within 6: the
sums over ranks are rounded otherwise, so the runs part after some updates and end as two seeds of RL do.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openklear.evaluation.statistics import student_quantile

ROOT = Path(__file__).parents[1]
SCORES = ROOT / "reports" / "demonstration" / "scores.jsonl"
SHAPE = ("cluster.trainers=2", "cluster.samplers=2", "cluster.judges=2")
Score = tuple[str, str]
"""Stage and domain."""


@contextmanager
def three_nodes() -> Iterator[str]:
    """The address of a Ray cluster whose three nodes have two cores each."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=2)
        yield cluster.address
    finally:
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]


def run(address: str, directory: Path) -> dict[Score, float]:
    """The scores of the quickstart there, in percent."""
    words = [sys.executable, "-m", "openklear", "run", str(ROOT / "recipes" / "quickstart.toml")]
    words += ["--output", str(directory)]
    for change in (f"cluster.address={address}", *SHAPE):
        words += ["--set", change]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(words, check=True, env=environment)
    rows = json.loads((directory / "summary.json").read_text())["scores"]
    return {
        (row["stage"], row["domain"]): 100 * row["value"]
        for row in rows
        if row["metric"] == "avg" and row["level"] is None
    }


def in_one_process() -> dict[Score, dict[int, float]]:
    """Score -> seed -> what reports/demonstration has, in percent."""
    found: dict[Score, dict[int, float]] = {}
    for line in SCORES.read_text().splitlines():
        document = json.loads(line)
        if document["arm"] != "quickstart":
            continue
        for series in document["series"]:
            value = 100 * sum(series["correct"]) / sum(series["scorable"])
            found.setdefault((series["model"], series["domain"]), {})[document["seed"]] = value
    return found


def for_one_more(values: list[float]) -> tuple[float, float]:
    """Where one more draw lies, 95 times in 100."""
    mean, n = statistics.mean(values), len(values)
    half = student_quantile(n - 1) * statistics.stdev(values) * (1 + 1 / n) ** 0.5
    return max(0.0, mean - half), min(100.0, mean + half)


def compared(ours: dict[Score, float], theirs: dict[Score, dict[int, float]]) -> bool:
    """Prints the table; whether every score is inside."""
    inside = True
    print(f"{'':18}{'cluster':>8}{'seed 0':>8}   eight seeds, one process")
    for (stage, domain), by_seed in theirs.items():
        low, high = for_one_more(list(by_seed.values()))
        value = ours[stage, domain]
        inside &= low <= value <= high
        mean = statistics.mean(by_seed.values())
        said = "" if low <= value <= high else "  OUTSIDE"
        name = f"{stage}, {domain}"
        print(f"{name:18}{value:8.1f}{by_seed[0]:8.1f}   mean {mean:.1f}, one more [{low:.1f}, {high:.1f}]{said}")
    return inside


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="keep the run there (default: a directory that is removed)")
    asked = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as name, three_nodes() as address:
        ours = run(address, (asked.output or Path(name) / "run").resolve())
    print(f"{(time.monotonic() - begun) / 60:.1f} min")
    return 0 if compared(ours, in_one_process()) else 1


if __name__ == "__main__":
    sys.exit(main())
