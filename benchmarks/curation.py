"""A million prompts through `openklear prepare`: read, normalise, exact and near duplicates, decontamination.

    python benchmarks/curation.py [--rows 1000000] [--rule weighted|ngrams] [--kilobytes 0]

Everything a user gets, from the generator's Parquet files (benchmarks/million_prompts.py) to the files of prepare, in
one child process; seconds and CPU seconds by step, rows a second, and the peak of the resident memory of the process
and its children, sampled ten times a second. With --kilobytes every row also has a response of that size, so that the
data can be made larger than memory: the peak must not grow with it.

Prediction (written before the first measurement, 2 cores): 1,000,000 rows of 300 characters: reading 30 s in two
processes, exact copies 5 s, near copies 25 s, decontamination 20 s, writing 15 s; exact, near and decontamination
together 50 s, peak 1.6 GiB.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from million_prompts import generate

CHILD = """
import json, os, sys, time
from pathlib import Path
from openklear.curation import curate
from openklear.run.pipeline import run_pipeline
from openklear.recipe.load import load_recipe

def main():
    times, worked = [], curate.work
    def timed(role, step, table):
        wall, cpu = time.monotonic(), sum(os.times()[:4])
        found = worked(role, step, table)
        times.append((role, step.name, time.monotonic() - wall, sum(os.times()[:4]) - cpu, found.marks.num_rows))
        return found
    curate.work = timed
    wall = time.monotonic()
    run_pipeline(load_recipe(Path(sys.argv[1])), Path(sys.argv[2]), through="prepare")
    print(json.dumps({"steps": times, "seconds": time.monotonic() - wall}))

if __name__ == "__main__":
    main()
"""
RECIPE = """
[data]
correct_only = []
require_format = false
[data.near_duplicates]
threshold = 0.8
[data.decontaminate]
type = "{rule}"
[[data.source]]
name = "prompts"
path = "prompts-*.parquet"
role = "{role}"
domain = "math"
[[data.source]]
name = "benchmark"
path = "benchmark.parquet"
role = "benchmark"
domain = "math"
"""


def peak_of(process: subprocess.Popen[str]) -> int:
    """Largest sum of resident bytes of the process and all below it, until it ends."""
    peak, root = 0, psutil.Process(process.pid)
    while process.poll() is None:
        with suppress(psutil.Error):  # it ended while it was asked
            peak = max(peak, sum(one.memory_info().rss for one in (root, *root.children(recursive=True))))
        time.sleep(0.1)
    return peak


def measure(directory: Path, rule: str, role: str) -> dict[str, Any]:
    """One run of prepare in a process of its own."""
    (directory / "recipe.toml").write_text(RECIPE.format(rule=rule, role=role))
    (directory / "child.py").write_text(CHILD)
    command = [sys.executable, str(directory / "child.py"), str(directory / "recipe.toml"), str(directory / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = peak_of(process)
    assert process.stdout is not None
    assert process.returncode == 0
    return {**json.loads(process.stdout.read().splitlines()[-1]), "peak": peak}


def fates(directory: Path) -> dict[str, Counter[str]]:
    """What the generator planted -> what became of it: the step that dropped it or the row it is a copy of, or none."""
    dropped = pq.read_table(directory / "run/prepare/data/dropped.parquet", columns=["id", "step"])
    steps = dict(zip(dropped["id"].to_pylist(), dropped["step"].to_pylist(), strict=True))
    ids = [
        f"prompts/{text}"
        for path in sorted(directory.glob("prompts-*.parquet"))
        for text in pq.read_table(path, columns=["id"])["id"].to_pylist()
    ]
    truth = pq.read_table(directory / "truth.parquet")
    found: dict[str, Counter[str]] = {}
    for name, kind, of in zip(ids, truth["kind"].to_pylist(), truth["of"].to_pylist(), strict=True):
        pair = [name, ids[of]] if kind in ("exact", "near") else [name]
        fate = next((steps[one] for one in pair if one in steps), "both kept" if len(pair) == 2 else "kept")
        found.setdefault(kind, Counter())[fate] += 1
    return found


def with_responses(directory: Path, kilobytes: int) -> None:
    """Give every row a response as large as asked; the rows are then demonstrations."""
    seeded = random.Random(0)
    for path in sorted(directory.glob("prompts-*.parquet")):
        with pq.ParquetFile(path) as source, pq.ParquetWriter(path.with_suffix(".new"), _WIDE) as writer:
            for batch in source.iter_batches(batch_size=256):
                texts = [
                    seeded.randbytes(512 * kilobytes).hex() for _ in range(batch.num_rows)
                ]  # packs 2 to 1, as text
                columns = [*(batch.column(name) for name in ("id", "prompt", "answer")), pa.array(texts)]
                writer.write_batch(pa.record_batch(columns, schema=_WIDE))
        path.with_suffix(".new").replace(path)


_WIDE = pa.schema([(name, pa.string()) for name in ("id", "prompt", "answer", "response")])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rule", choices=("weighted", "ngrams"), default="weighted")
    parser.add_argument("--kilobytes", type=int, default=0, help="a response of this size in every row")
    parser.add_argument("--benchmark", type=Path, help="JSONL of benchmark items to plant, instead of invented ones")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        generate(directory, arguments.rows, benchmark=arguments.benchmark)
        if arguments.kilobytes:
            with_responses(directory, arguments.kilobytes)
        size = sum(path.stat().st_size for path in directory.glob("prompts-*.parquet"))
        found = measure(directory, arguments.rule, "demonstrations" if arguments.kilobytes else "problems")
        show(arguments.rows, size, found, fates(directory))


def show(rows: int, size: int, found: dict[str, Any], kinds: dict[str, Counter[str]]) -> None:
    """Print the tables."""
    print(f"{rows:,} rows, {size / 2**20:,.0f} MiB of Parquet, {os.cpu_count()} cores")
    wanted = 0.0
    for role, step, wall, cpu, dropped in found["steps"]:
        wanted += wall if step in ("deduplicate", "near_duplicates", "decontaminate") else 0.0
        print(f"{role:10} {step:18} {wall:7.1f} s  {cpu:7.1f} CPU s  {dropped:9,} dropped")
    print(f"exact and near duplicates and decontamination {wanted:.1f} s; the whole run {found['seconds']:.1f} s")
    print(f"peak resident memory {found['peak'] / 2**30:.2f} GiB")
    for kind, fate in sorted(kinds.items()):
        total = sum(fate.values())
        print(f"planted as {kind:10}", ", ".join(f"{step} {count / total:.2%}" for step, count in fate.most_common()))


if __name__ == "__main__":
    main()
