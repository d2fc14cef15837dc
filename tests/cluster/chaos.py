"""Random deaths on a cluster of three hosts, and what becomes of the run.

    python -m tests.cluster.chaos [--trials 20] [--first 0] [--seed 0]

Each trial runs SFT and RL of the mini recipe on hosts of their own (tests.cluster.hosts), with two ranks, two samplers
and two judges, and kills one of them, a host, or the command, at a random moment. The run must end with each step and
iteration once and the losses of an undisturbed run; printed are how long after the blow the log named the fault and how,
when ranks that had to begin again were back, and when the next step or iteration was done. Exit code 1 where a trial did
not end so.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.hosts import PORT, Hosts, missing

MINI = Path(__file__).parents[1] / "e2e" / "mini.toml"
VICTIMS = ("sampler", "judge", "rank", "node", "command")
ACTORS = {"sampler": "SamplerActor", "judge": "JudgeActor", "rank": "RankActor"}
"""Role -> how Ray titles its processes."""
STAGES = {"sft": 24, "rl-math": 12}
"""Stage -> its steps or iterations."""
CHANGES = (
    f"cluster.address={Hosts.address(0)}:{PORT}",
    *("cluster.trainers=2", "cluster.samplers=2", "cluster.judges=2", "cluster.patience=6"),
    *("sft.epochs=6", "sft.optimizer.type=adamw", "sft.learning_rate=0.003", "sft.save_every=5"),
    *("rl.iterations=12", "rl.save_every=3", "rl.validate_every=6"),
)
TOLERANCE = 1e-4
FAULT = re.compile(r"(rank|sampler|judge) \d (\(.*?\) )?(died|hangs|failed|has not answered|waits for room)")
BACK = re.compile(r"rank \d+: .* trains")
PATIENCE = 300.0


@dataclass
class Command:
    """The run's command, and what it says."""

    hosts: Hosts
    root: Path
    said: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        recipe = self.root.with_suffix(".toml")
        recipe.write_text(MINI.read_text().replace('[[rl.phase]]\nname = "code"\ndomains = ["code"]\n', ""))
        words = [sys.executable, "-m", "openklear", "rl", str(recipe), "--output", str(self.root)]
        for change in CHANGES:
            words += ["--set", change]
        self.process = self.hosts.start(0, words)
        threading.Thread(target=self._read, args=(self.process.stderr,), daemon=True).start()

    def _read(self, stream) -> None:
        for line in stream:
            self.said.append(f"{time.monotonic():.3f} {line.decode(errors='replace')}")

    def rows(self, stage: str) -> list[dict]:
        path = self.root / stage / "metrics.jsonl"
        if not path.is_file():
            return []
        return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]

    def first(self, pattern: re.Pattern[str], begun: float) -> tuple[str, str]:
        """How long after a moment it first said something like that, and what; "-" and "" where it did not."""
        for line in self.said:
            when, _, text = line.partition(" ")
            if float(when) >= begun and pattern.search(text):
                return f"{float(when) - begun:.1f} s", text.strip()
        return "-", ""

    def wait_for(self, happens: Callable[[], bool]) -> bool:
        """Whether it happened before the command or its time was over."""
        assert self.process is not None
        until = time.monotonic() + PATIENCE
        while not happens():
            if self.process.poll() is not None or time.monotonic() > until:
                return happens()
            time.sleep(0.02)
        return True

    def ended(self) -> int | None:
        assert self.process is not None
        try:
            return self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            return None


def living(role: str, hosts: Hosts) -> list[int]:
    """The processes of a role. Asked of the system, not of `openklear cluster status`, which takes seconds on loaded
    cores: the moment would be another one, and the stage may be over.
    """
    title = f"ray::{ACTORS[role]}".encode()
    return [pid for pid in hosts.pids() if _title(pid).startswith(title)]


def _title(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended meanwhile
        return b""


def strike(victim: str, command: Command, hosts: Hosts, draws: random.Random) -> bool:
    """Kills it; False where there was none. A host comes back after three seconds, a command at once."""
    if victim == "command":
        assert command.process is not None
        command.process.send_signal(signal.SIGKILL)
        command.process.wait()
        command.start()
    elif victim == "node":
        host = draws.choice((1, 2))
        hosts.kill(host)
        threading.Timer(3.0, hosts.ray, (host, 2)).start()
    else:
        found = living(victim, hosts)
        if not found:
            return False
        os.kill(draws.choice(found), signal.SIGKILL)
    return True


def trial(number: int, place: Path, expected: dict[str, list[dict]], draws: random.Random) -> bool:
    victim, stage = VICTIMS[number % len(VICTIMS)], draws.choice(list(STAGES))
    after, delay = draws.randrange(1, STAGES[stage] - 2), draws.random()
    with Hosts(3) as hosts:
        for host in range(3):
            hosts.ray(host, 2)
        command = Command(hosts, place / f"run{number}")
        command.start()
        reached = command.wait_for(lambda: len(command.rows(stage)) >= after)
        time.sleep(delay)
        before, begun = len(command.rows(stage)), time.monotonic()
        struck = reached and strike(victim, command, hosts, draws)
        command.wait_for(lambda: len(command.rows(stage)) > before)
        recovered, code = time.monotonic() - begun, command.ended()
    right = struck and code == 0 and as_undisturbed(command, expected)
    named, text = command.first(FAULT, begun)
    back, _ = command.first(BACK, begun)
    print(
        f"{number:3} {victim:8} {stage:8} after {after:2}: named {named}, ranks back {back}, went on {recovered:.1f} s, "
        f"exit {code}, {right}: {text[:90]}",
        flush=True,
    )
    if not right:
        print("".join(command.said)[-3000:], flush=True)
    return right and (bool(text) or victim == "command")


def as_undisturbed(command: Command, expected: dict[str, list[dict]]) -> bool:
    """Every step and iteration once, with the loss that it has where nothing dies."""
    for stage, units in (("sft", "step"), ("rl-math", "iteration")):
        ours, theirs = command.rows(stage), expected[stage]
        if [row[units] for row in ours] != list(range(1, len(theirs) + 1)):
            return False
        if any(abs(row["loss"] - other["loss"]) > TOLERANCE for row, other in zip(ours, theirs, strict=True)):
            return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first trial, each of which has draws of its own"
    )
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if why := missing():
        print(f"NOT RUN: {why}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="chaos") as name:
        place = Path(name)
        with Hosts(3) as hosts:
            for host in range(3):
                hosts.ray(host, 2)
            whole = Command(hosts, place / "undisturbed")
            whole.start()
            if whole.ended() != 0:
                print("".join(whole.said)[-3000:], file=sys.stderr)
                return 1
        expected = {stage: whole.rows(stage) for stage in STAGES}
        print({stage: len(rows) for stage, rows in expected.items()}, flush=True)
        numbers = range(asked.first, asked.first + asked.trials)
        right = [trial(number, place, expected, random.Random(f"{asked.seed}/{number}")) for number in numbers]
    print(f"{sum(right)} of {len(right)} ended as an undisturbed run, with the fault named")
    return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main())
