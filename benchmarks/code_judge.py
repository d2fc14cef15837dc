"""Programs and tests graded in a second: ours beside a plain subprocess a test and a fresh bubblewrap a test.

    python benchmarks/code_judge.py [--data DIR] [--rounds 3] [--workers 2] [--level bubblewrap]

Two sets of real programs (train/taco_stdin.jsonl, reference solutions that need under 0.1 s of their own CPU on all of
their tests): with their own 1..4 tests, and with 16 tests each (their own, repeated). All three ways run with as many
threads as workers, in turn within each round, in the same process; every verdict must be "correct". Overhead is what
two cores spent beyond the candidates' own CPU: workers * wall / programs - own CPU / programs, idle time included.

Prediction, written before the first run: own tests 150 programs/s (subprocess 50, bubblewrap 35), overhead 10 ms,
median latency 12 ms; 16 tests: 700 tests/s. The fork of a warm interpreter (1.5 ms) replaces its start (16 ms).
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
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from openklear.types import Outcome, Test
from openklear.verifiers.checkers import checker
from openklear.verifiers.code import CodeGrader
from openklear.verifiers.walls import bubblewrap

Program = tuple[str, tuple[Test, ...]]
WORDS = checker("tokens")  # two recorded outputs break lines differently from their references
SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache")


def read_programs(data: Path) -> list[Program]:
    programs = []
    for line in (data / "train" / "taco_stdin.jsonl").open():
        row = json.loads(line)
        tests = tuple(Test(*pair) for pair in zip(row["inputs"], row["outputs"], strict=True))
        programs.append((row["reference_solution"], tests))
    return programs


def own_cpu(program: Program) -> float:
    """CPU seconds of a program over all of its tests, beyond those of an interpreter that does nothing."""

    def cpu(source: str, stdin: str) -> float:
        with tempfile.TemporaryFile() as given:
            given.write(stdin.encode())
            given.seek(0)
            child = subprocess.Popen([sys.executable, "-I", "-c", source], stdin=given, stdout=subprocess.DEVNULL)
            _, _, usage = os.wait4(child.pid, 0)
            child.returncode = 0
        return usage.ru_utime + usage.ru_stime

    empty = min(cpu("pass", "") for _ in range(3))
    return sum(max(0.0, cpu(program[0], test.stdin) - empty) for test in program[1])


def by_command(command: Sequence[str]) -> Callable[[Program], bool]:
    def passes(program: Program) -> bool:
        for test in program[1]:
            done = subprocess.run([*command, program[0]], input=test.stdin, capture_output=True, text=True, check=False)
            if done.returncode != 0 or not WORDS.text(test.stdin, test.stdout, done.stdout):
                return False
        return True

    return passes


def fresh_bubblewrap() -> list[str]:
    python = os.path.realpath(sys.executable)
    options = ["--unshare-all", "--new-session", "--die-with-parent", "--tmpfs", "/tmp", "--proc", "/proc"]
    for path in (*SYSTEM, os.path.realpath(sys.base_prefix)):
        if os.path.islink(path):
            options += ["--symlink", os.readlink(path), path]
        elif os.path.exists(path):
            options += ["--ro-bind", path, path]
    return [bubblewrap(), *options, "--", python, "-I", "-c"]


def timed(passes: Callable[[Program], bool], programs: Sequence[Program], workers: int) -> tuple[float, list[float]]:
    """Wall seconds of all, and of each; every program must pass."""
    seconds = []

    def one(program: Program) -> None:
        start = time.perf_counter()
        if not passes(program):
            raise SystemExit(f"a reference solution failed:\n{program[0][:400]}")
        seconds.append(time.perf_counter() - start)

    start = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, programs))
    return time.perf_counter() - start, seconds


def spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.4g} ({min(values):.4g}..{max(values):.4g})"


def compare(
    name: str,
    programs: list[Program],
    ways: dict[str, Callable[[Program], bool]],
    options: argparse.Namespace,
    cpu: float,
) -> None:
    tests = sum(len(program[1]) for program in programs)
    walls: dict[str, list[float]] = {way: [] for way in ways}
    latency: list[float] = []
    for _ in range(options.rounds):
        for way, passes in ways.items():
            wall, each = timed(passes, programs, options.workers)
            walls[way].append(wall)
            if way == "ours":
                latency.append(statistics.median(each) * 1000)
    print(f"\n{name}: {len(programs)} programs, {tests} tests, {cpu:.2f} s of their own CPU; median (range) of rounds")
    for way, taken in walls.items():
        ratios = [theirs / ours for theirs, ours in zip(taken, walls["ours"], strict=True)]
        print(
            f"  {way:12} {spread([len(programs) / w for w in taken]):30} programs/s   "
            f"{spread([tests / w for w in taken]):30} tests/s   ours is {spread(ratios)} x"
        )
    overhead = [1000 * (options.workers * w - cpu) / len(programs) for w in walls["ours"]]
    print(f"  overhead of ours: {spread(overhead)} ms a program; median latency {spread(latency)} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("OPENKLEAR_DATA"), required="OPENKLEAR_DATA" not in os.environ
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--level", default=None, help="bubblewrap or rlimits; the strongest by default")
    options = parser.parse_args()
    timed_programs = [(program, own_cpu(program)) for program in read_programs(Path(options.data))]
    light = [(program, cpu) for program, cpu in timed_programs if cpu < 0.1]
    programs, cpu = [program for program, _ in light], sum(cpu for _, cpu in light)
    grader = CodeGrader(options.workers, 10.0, 512, "rlimits", options.level)
    print(f"isolation: {grader.isolation().level}; {options.workers} workers; {os.cpu_count()} cores")
    ways = {
        "ours": lambda program: grader.grade(program[0], program[1], checker=WORDS.name).outcome is Outcome.CORRECT,
        "subprocess": by_command([sys.executable, "-I", "-c"]),
        "bubblewrap": by_command(fresh_bubblewrap()),
    }
    compare("own tests", programs, ways, options, cpu)
    many = [(source, tuple(tests[i % len(tests)] for i in range(16))) for source, tests in programs]
    factor = [16 / len(tests) for _, tests in programs]
    cpu = sum(each * f for (_, each), f in zip(light, factor, strict=True))
    half = dict(list(ways.items())[:2])
    compare("16 tests a program", many, half, options, cpu)
    grader.close()


if __name__ == "__main__":
    main()
