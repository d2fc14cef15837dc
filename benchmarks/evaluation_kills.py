"""An evaluation of nine benchmarks, killed at ten random points and given again, beside one that nobody disturbed.

    python benchmarks/evaluation_kills.py MODEL DATA [--limit 4] [--samples 2] [--tokens 64] [--kills 10] [--seed 0]

DATA holds benchmarks/ and evaluation/benchmarks/ (docs/curation.md says what lies there). Prediction: tables
are equal, every completion is sampled once, one kill at least comes while AIME is sampled, and each kill costs the
start of a process and the completions under way. A completion goes on its way beside others after a kill, which moves
the last bits of its logits, so that one in some thousands may take another word.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

NAMES = ("aime24", "aime25", "hmmt24", "hmmt25", "amc23", "math500", "gsm8k", "olympiadbench", "humaneval", "mbpp")
ELSEWHERE = ("amc23", "olympiadbench")
FILES = ("completions.jsonl", "samples.jsonl", "problems.jsonl", "scores.json")


def command(given: argparse.Namespace, output: Path) -> list[str]:
    """The command line of the evaluation."""
    start = "import sys; from openklear.cli.main import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", start, "evaluate", given.model, *NAMES, "--output", str(output)]
    words += ["--data-dir", str(given.data / "benchmarks"), "--limit", str(given.limit), "--seed", "0"]
    for name in ELSEWHERE:
        words += ["--data", f"{name}={given.data / 'evaluation' / 'benchmarks' / f'{name}.jsonl'}"]
    return [
        *words,
        "--samples",
        str(given.samples),
        "--max-completion-tokens",
        str(given.tokens),
        "--slots",
        str(given.slots),
        "--threads",
        "1",
    ]


def finish(given: argparse.Namespace, output: Path) -> float:
    """Run it to its end; seconds."""
    began = time.perf_counter()
    subprocess.run(command(given, output), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def rows(output: Path) -> list[dict[str, str]]:
    """The whole lines of completions.jsonl."""
    path = output / "completions.jsonl"
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.is_file() else []


def kill_at(given: argparse.Namespace, output: Path, least: int) -> Counter[str]:
    """Start it and kill it once so many completions are there; what was there of each benchmark."""
    path = output / "completions.jsonl"
    process = subprocess.Popen(command(given, output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and (path.read_bytes().count(b"\n") if path.is_file() else 0) < least:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return Counter(row["benchmark"] for row in rows(output))


def main() -> None:
    """Print what was killed where, and whether everything is equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    for name, usual in (("limit", 4), ("samples", 2), ("tokens", 64), ("kills", 10), ("seed", 0), ("slots", 4)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    given = parser.parse_args()
    total = len(NAMES) * given.limit * given.samples
    draw = random.Random(given.seed)
    moments = sorted([1, *draw.sample(range(2, total), given.kills - 1)])
    with tempfile.TemporaryDirectory() as scratch:
        whole, parts = Path(scratch, "whole"), Path(scratch, "parts")
        print(f"undisturbed: {total} completions in {finish(given, whole):.0f} s")
        for moment in moments:
            there = kill_at(given, parts, moment)
            keys = [row["key"] for row in rows(parts)]
            aime = f"; AIME 2024 {there['aime24']} of {given.limit * given.samples}"
            print(f"killed with {len(keys)} completions there, {len(keys) - len(set(keys))} twice{aime}")
        finish(given, parts)
        for name in FILES:
            equal = (whole / name).read_bytes() == (parts / name).read_bytes()
            print(f"{name}: {'the same bytes' if equal else 'DIFFERENT'}")
        pairs = zip(rows(whole), rows(parts), strict=True)
        other = sum(one["text"] != another["text"] for one, another in pairs)
        print(f"{other} of {total} completions have another text: what is decoded beside one moves its last bits")


if __name__ == "__main__":
    main()
