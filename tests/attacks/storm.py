"""All attacks, many times over in random order with innocent programs between: `python -m tests.attacks.storm`.

On every level with walls, and where it is started as root, as root and as a user without any rights. Exit code 1 where
anything was not as it must be: a verdict, a process or a file left, an innocent program that failed.
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
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests import shared_data
from tests.attacks import corpus, crowds, judges, walls
from tests.attacks.arena import Arena
from tests.attacks.corpus import INNOCENT, Attack

from openklear.verifiers.workers import kernel, warden

ROOT = Path(__file__).parents[2]
LEVELS = ("bubblewrap",)
USERS = {"root": 0, "unprivileged": 54321}
_telling = threading.Lock()


def everything() -> list[Attack]:
    """Our own attacks, and the survey's where the shared material is."""
    survey = shared_data.ROOT / "attacks" / "programs.json"
    if not survey.exists():
        print(f"the surveyed attacks are left out: {survey} is not there", file=sys.stderr)
    return [*walls.ATTACKS, *crowds.ATTACKS, *judges.ATTACKS, *(corpus.surveyed(survey) if survey.exists() else [])]


def leg(level: str, rounds: int, seed: int, only: str, packages: Sequence[str]) -> int:
    """One level as the user we are: a line a round, then one with everything that was wrong."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would hand on to ignore it
    attacks = [attack for attack in everything() if only in attack.name]
    draw, started = random.Random(seed), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="storm-") as directory:
        with Arena(level, Path(directory), packages) as arena:  # type: ignore[arg-type]
            for number in range(1, rounds + 1):
                for attack in draw.sample(attacks, len(attacks)):
                    arena.run(attack, draw.choice(INNOCENT))
                _tell(level, "round", number, f"of {rounds}: {arena.judged} judged, {len(arena.complaints)} complaints")
        tempfile.tempdir = None
    summary = {
        "level": level,
        "packages": list(packages),
        "uid": os.getuid(),
        "rounds": rounds,
        "attacks": len(attacks),
        "judged": arena.judged,
        "seconds": round(time.monotonic() - started),
        "complaints": arena.complaints,
    }
    print(json.dumps(summary), flush=True)
    return 1 if arena.complaints else 0


def become(user: int) -> None:
    """Gives up root for `user`, having made this Python and this repository reachable in mounts of our own."""
    paths = [os.path.realpath(path) for path in (sys.base_prefix, sys.prefix, ROOT, shared_data.ROOT)]
    there = [path for path in paths if os.path.exists(path)]
    closed = {path: wall for path in there if (wall := warden.closed_ancestor(path)) is not None}
    kernel.own_mounts()
    held = {path: os.open(path, os.O_PATH) for path in closed}
    for wall in sorted(set(closed.values())):
        kernel.mount_empty(wall)
    for path, descriptor in held.items():
        os.makedirs(path, exist_ok=True)
        kernel.bind(f"/proc/self/fd/{descriptor}", path)
        os.close(descriptor)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def _tell(*words: object) -> None:
    with _telling:
        print(*words, file=sys.stderr, flush=True)


def _run_leg(user: str, level: str, options: argparse.Namespace) -> dict[str, object]:
    command = [sys.executable, "-m", "tests.attacks.storm", "--leg", level, "--user", user, "--only", options.only]
    command += ["--rounds", str(options.rounds), "--seed", str(options.seed)]
    command += ["--packages", *options.packages]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    environment["OPENKLEAR_DATA"] = str(shared_data.ROOT)
    environment[corpus.SECRET] = "must not be seen"
    environment.pop("TMPDIR", None)
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    lines = done.stdout.splitlines()
    if not lines:
        return {"level": level, "user": user, "complaints": [f"the run itself failed with status {done.returncode}"]}
    return {"user": user, **json.loads(lines[-1])}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the legs that are asked for, `--jobs` at a time, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--levels", nargs="+", default=LEVELS, choices=LEVELS)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="part of the names of the attacks to run")
    parser.add_argument("--packages", nargs="*", default=(), help="packages that are allowed to all programs")
    parser.add_argument("--user", choices=USERS, help="one user only; root can be asked for by root alone")
    parser.add_argument("--leg", choices=LEVELS, help="run one level in this process")
    options = parser.parse_args(arguments)
    if options.leg is not None:
        if options.user == "unprivileged" and os.getuid() == 0:
            become(USERS["unprivileged"])
        return leg(options.leg, options.rounds, options.seed, options.only, options.packages)
    users = [options.user] if options.user else list(USERS) if os.getuid() == 0 else ["unprivileged"]
    legs = [(user, level) for user in users for level in options.levels]
    with ThreadPoolExecutor(options.jobs) as threads:
        results = list(threads.map(lambda one: _run_leg(*one, options), legs))
    for result in results:
        complaints = result["complaints"]
        assert isinstance(complaints, list)
        print(
            f"{result['level']:12} {result['user']:12} {result.get('attacks', 0):>4} attacks x {options.rounds}, "
            f"{result.get('judged', 0):>6} judged in {result.get('seconds', 0)} s: {len(complaints)} complaints"
        )
        for complaint in complaints:
            print("   ", complaint)
    return 1 if any(result["complaints"] for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
