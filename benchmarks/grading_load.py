"""Load on the grading server: known verdicts, hostile rows among them, leaks, and what is left after a SIGKILL.

    python benchmarks/grading_load.py                  # 20,000 gradings
    python benchmarks/grading_load.py --gradings 2000

A real server (`openklear grade serve`) in a process of its own; `--clients` threads send one row a request. Half of the
rows is mathematics, half programs; of each half two thirds are right; one row in 20 is hostile. Three parts:

1. load      every verdict is compared with what is known; descriptors, processes and memory of the server and all that
             it started are read once a second, and the last third of the readings is compared with the first;
2. workers   a random worker is killed again and again under load: every verdict must be right or unscorable;
3. the end   the server is killed under load: nothing that it started may be alive a few seconds later.

Ends with 1 and says why where something does not hold.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grading_rows import TRACE, Item, item

CODE_SECONDS = 0.5
"""Loops cost this much CPU each."""
MEMORY_MB = 64
GONE_SECONDS = 10.0
WORKER_AGE = 3.0
"""Seconds after which a process is a worker and not a program that it runs."""


class Server:
    """The server under load, and what it started."""

    def __init__(self, workers: int, scratch: str):
        options = ["--code-seconds", str(CODE_SECONDS), "--math-seconds", "2", "--memory-mb", str(MEMORY_MB)]
        self.log = Path(scratch, "stderr.txt")
        self.temporary = Path(scratch, "tmp")
        self.temporary.mkdir()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "openklear",
                    "grade",
                    "serve",
                    "--port",
                    "0",
                    "--workers",
                    str(workers),
                    *options,
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "TMPDIR": str(self.temporary)},
            )
        assert self.process.stdout is not None
        url = self.process.stdout.readline().decode().strip()
        if not url:
            raise SystemExit(f"the server did not start: {self.log.read_text()}")
        self.host = url.removeprefix("http://")

    def ask(self, one: Item) -> dict[str, Any]:
        """Grades a row; OSError or HTTPException where the server is gone."""
        while True:
            connection = http.client.HTTPConnection(self.host, timeout=120)
            try:
                headers = {"Content-Type": "application/json"}
                connection.request("POST", f"/grade/{one.kind}", json.dumps(one.row), headers)
                answer = connection.getresponse()
                said: dict[str, Any] = json.loads(answer.read())
            finally:
                connection.close()
            if answer.status == 200:
                return said
            if answer.status != 503:
                return {"verdict": f"HTTP {answer.status}", "reason": said.get("error")}
            time.sleep(float(answer.headers.get("Retry-After", "1")))

    def health(self) -> dict[str, Any]:
        """What it says of itself."""
        connection = http.client.HTTPConnection(self.host, timeout=60)
        try:
            connection.request("GET", "/health")
            said: dict[str, Any] = json.loads(connection.getresponse().read())
            return said
        finally:
            connection.close()

    def family(self) -> list[int]:
        """The server and everything below it."""
        children: dict[int, list[int]] = {}
        for pid in processes():
            children.setdefault(status(pid)[0], []).append(pid)
        found = [self.process.pid]
        for pid in found:
            found += children.get(pid, [])
        return found


def processes() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def status(pid: int) -> tuple[int, float]:
    """(parent, age in seconds); (-1, 0) where the process is gone, or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return -1, 0.0
    if fields[0] in "ZX":
        return -1, 0.0
    up = float(Path("/proc/uptime").read_text().split()[0])
    return int(fields[1]), up - int(fields[19]) / os.sysconf("SC_CLK_TCK")


def reading(server: Server) -> dict[str, float]:
    """What the server and its long-lived workers hold."""
    own = server.process.pid
    workers = [pid for pid in server.family()[1:] if status(pid)[1] > WORKER_AGE]
    return {
        "descriptors of the server": float(descriptors(own)),
        "descriptors of the workers": float(sum(map(descriptors, workers))),
        "threads of the server": float(len(os.listdir(f"/proc/{own}/task"))),
        "workers": float(len(workers)),
        "MiB of the server": resident(own),
        "MiB of the workers": sum(map(resident, workers)),
        "temporary files": float(len(os.listdir(server.temporary))),
    }


def descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:  # gone, or another user's
        return 0


def resident(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return 0.0


@dataclass
class Seen:
    """What the clients saw."""

    verdicts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    latencies: dict[str, list[float]] = field(default_factory=dict)
    broken: int = 0
    guard: threading.Lock = field(default_factory=threading.Lock)

    def note(self, one: Item, said: dict[str, Any], seconds: float, *, unscorable: bool) -> None:
        with self.guard:
            self.verdicts[said["verdict"]] += 1
            group = f"hostile {one.kind}" if one.hostile else one.kind
            self.latencies.setdefault(group, []).append(seconds)
            if said["verdict"] != one.verdict and not (unscorable and said["verdict"] == "unscorable"):
                what = f"{one.kind} row {one.row['id']} {one.hostile}".strip()
                self.wrong.append(f"{what}: {said['verdict']} ({said['reason']}), not {one.verdict}")


def load(server: Server, items: Iterator[Item], clients: int, *, unscorable: bool = False) -> Seen:
    """Sends the items from `clients` threads; `unscorable`: whether that is a verdict an innocent row may get."""
    seen, guard = Seen(), threading.Lock()

    def client() -> None:
        while True:
            with guard:
                one = next(items, None)
            if one is None:
                return
            started = time.monotonic()
            try:
                said = server.ask(one)
            except (OSError, http.client.HTTPException, ValueError):
                with seen.guard:
                    seen.broken += 1
                if server.process.poll() is not None or seen.broken > 1000:
                    return
            else:
                seen.note(one, said, time.monotonic() - started, unscorable=unscorable)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


class Every:
    """Calls something again and again on a thread, while in its `with`."""

    def __init__(self, seconds: float, work: Callable[[], None]):
        self._seconds, self._work, self._end = seconds, work, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._end.wait(self._seconds):
            self._work()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def measured_load(server: Server, gradings: int, clients: int) -> dict[str, Any]:
    """Part 1."""
    readings: list[dict[str, float]] = []
    load(server, (item(-1 - i, hostile=False) for i in range(10 * clients)), clients)
    time.sleep(WORKER_AGE + 1.0)  # all workers are up, and old enough to be read
    started = time.monotonic()
    with Every(min(1.0, gradings / 1000), lambda: readings.append(reading(server))):
        seen = load(server, map(item, range(gradings)), clients)
    took = time.monotonic() - started
    third = max(1, len(readings) // 3)
    trend = {
        name: (
            statistics.median(r[name] for r in readings[:third]),
            statistics.median(r[name] for r in readings[-third:]),
        )
        for name in readings[0]
    }
    every = [seconds for group in seen.latencies.values() for seconds in group]
    groups = {"all": every, **dict(sorted(seen.latencies.items()))}
    return {
        "gradings": sum(seen.verdicts.values()),
        "seconds": took,
        "gradings a second": sum(seen.verdicts.values()) / took,
        "verdicts": dict(seen.verdicts),
        "wrong": seen.wrong,
        "broken connections": seen.broken,
        "latency ms": {name: percentiles(group) for name, group in groups.items()},
        "first and last third": trend,
        "grown": [name for name, (first, last) in trend.items() if last > 1.1 * first + (16 if "MiB" in name else 4)],
    }


def percentiles(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    marks = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: 1000 * ordered[min(len(ordered) - 1, int(mark * len(ordered)))] for name, mark in marks.items()}


def with_workers_killed(server: Server, gradings: int, kills: int, clients: int) -> dict[str, Any]:
    """Part 2: at least so many gradings and kills."""
    dice, killed = random.Random(0), [0]

    def kill_one() -> None:
        workers = [pid for pid in server.family()[1:] if status(pid)[1] > WORKER_AGE]
        if workers:
            try:
                os.kill(dice.choice(workers), signal.SIGKILL)
                killed[0] += 1
            except ProcessLookupError:
                pass

    def items() -> Iterator[Item]:
        index = 0
        while index < gradings or killed[0] < kills:
            index += 1
            yield item(10**9 + index, hostile=False)

    with Every(1.0, kill_one):
        seen = load(server, items(), clients, unscorable=True)
    alive = server.process.poll() is None
    return {"killed": killed[0], "verdicts": dict(seen.verdicts), "wrong": seen.wrong, "server goes on": alive} | {
        "broken connections": seen.broken
    }


def server_killed(server: Server, clients: int) -> dict[str, Any]:
    """Part 3."""
    family: list[int] = []

    def kill() -> None:
        server.process.send_signal(signal.SIGSTOP)  # so that it starts nothing between the two lines
        family.extend(server.family()[1:])
        server.process.kill()

    timer = threading.Timer(2.0, kill)
    timer.start()
    load(server, (item(2 * 10**9 + i) for i in range(10**6)), clients)
    timer.join()
    server.process.wait()
    died = time.monotonic()
    while (left := [pid for pid in family if status(pid)[0] >= 0]) and time.monotonic() - died < GONE_SECONDS:
        time.sleep(0.05)
    return {"processes": len(family), "left": len(left), "seconds until all were gone": time.monotonic() - died}


def faults(report: dict[str, Any], gradings: int) -> list[str]:
    """What does not hold."""
    first, second, third = report["load"], report["workers killed"], report["server killed"]
    found = [f"wrong verdict: {one}" for one in (*first["wrong"], *second["wrong"])]
    found += [f"grown: {name} {first['first and last third'][name]}" for name in first["grown"]]
    found += [] if first["gradings"] == gradings else [f"{first['gradings']} of {gradings} rows were graded"]
    found += ["an answer was executed"] if Path(TRACE).exists() else []
    found += ["connections broke under load"] if first["broken connections"] + second["broken connections"] else []
    found += [] if second["server goes on"] else ["the server did not outlive its workers"]
    found += [f"{third['left']} processes outlived the server"] if third["left"] else []
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gradings", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--kills", type=int, default=10, help="workers that are killed, one a second")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="openklear-load-") as scratch:
        server = Server(options.workers, scratch)
        try:
            said = server.health()
            report = {
                "isolation": said["isolation"],
                "workers": said["workers"],
                "cores": len(os.sched_getaffinity(0)),
                "load": measured_load(server, options.gradings, options.clients),
                "workers killed": with_workers_killed(server, options.gradings // 20, options.kills, options.clients),
                "server killed": server_killed(server, options.clients),
            }
        finally:
            server.process.kill()
        report["faults"] = faults(report, options.gradings)
    print(json.dumps(report, indent=2, default=str))
    if not options.json:
        print("\n".join(report["faults"]) or "all verdicts right, nothing grew, nothing was left")
    return 1 if report["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
