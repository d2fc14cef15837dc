"""What ranks, samplers and judges have in common as actors: where they are placed, what they raise, how they end."""

from __future__ import annotations

import faulthandler
import fcntl
import os
import re
import secrets
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from openklear import progress
from openklear.errors import OpenKlearError, ProcessLost

BEAT = 1.0
"""Seconds between two looks at an actor that works."""

RAY: Any = ray
"""Without its annotations, which do not know all that it takes."""


NAMESPACE = "openklear"
"""Where actors are found by their names."""


@dataclass(frozen=True, slots=True)
class ActorName:
    """What an actor is called in Ray, so that `openklear cluster status` finds it."""

    role: str
    number: int
    work: str
    """Stage and run that it works for."""
    token: str = field(default_factory=lambda: secrets.token_hex(4))
    """Tells it from one that had its place before."""

    def __str__(self) -> str:
        return f"{self.role}/{self.number}/{self.token}/{self.work}"

    @staticmethod
    def read(text: str) -> ActorName | None:
        """None for a name of something else."""
        found = re.fullmatch(r"(rank|sampler|judge)/(\d+)/([0-9a-f]{8})/(.*)", text)
        return None if found is None else ActorName(found[1], int(found[2]), found[4], found[3])


def placed(
    kind: type, group: Any, name: ActorName, *arguments: Any, logs: Path | None, share: int = 1, **options: Any
) -> Any:
    """An actor of that kind in the bundle of its number in a placement group, which as many as `share` have together.

    It is never restarted by Ray. Its first argument is the file in `logs` that it prints into; None: Ray keeps that.
    """
    log = None if logs is None else logs / f"{name.role}-{name.number}.log"
    bundle = group.bundle_specs[name.number]
    place = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=name.number)
    cpus, gpus = (bundle.get(resource, 0) / share for resource in ("CPU", "GPU"))
    needs = {"num_cpus": cpus, "num_gpus": gpus, "scheduling_strategy": place}
    groups = {"concurrency_groups": {"status": 1}, **options}
    return RAY.remote(max_restarts=0, **groups)(kind).options(name=str(name), **needs).remote(log, *arguments)


def print_into(log: Path | None) -> None:
    """What this process prints from now on goes to the end of a file, native code and crashes included."""
    if log is None:
        return
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        file = log.open("ab")
    except OSError as error:  # a host may see the run without being allowed to write; it goes to Ray, as ever
        print(f"{log} cannot be written: {error}", flush=True)
        return
    with file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())
    faulthandler.enable()
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')}: process {os.getpid()} on {socket.gethostname()}", flush=True)


class Doing:
    """What an actor does, for those who ask while it does it."""

    def __init__(self) -> None:
        self._begun: dict[int, tuple[str, float]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        """Within, it does `what`, beside what other threads do."""
        key = threading.get_ident()
        with self._lock:
            self._begun[key] = (what, time.time())
        try:
            yield
        finally:
            with self._lock:
                del self._begun[key]

    def said(self) -> dict[str, Any]:
        """What it has done longest, for how many seconds, and in how many threads it works; {} where it is idle."""
        with self._lock:
            begun = list(self._begun.values())
        if not begun:
            return {}
        what, since = min(begun, key=lambda one: one[1])
        return {"doing": what, "seconds": round(time.time() - since, 1), "at_once": len(begun)}


class Silent(Exception):
    """An actor does not say that it lives."""


def answer(call: Any, status: Callable[[], Any], patience: float) -> Any:
    """What a call returns, however long it takes, as long as its actor answers `status` within so many seconds.

    Raises Silent where it does not, and what `ray.get` raises.
    """
    while True:
        done, _ = ray.wait([call], timeout=BEAT)
        if done:
            return ray.get(call)
        answered, _ = ray.wait([status()], timeout=patience)
        if not answered:
            raise Silent


def begun(status: Any, named: str) -> dict[str, Any]:
    """What an actor's first `status` returns, which waits for room on the cluster: a node may be gone.

    Raises ProcessLost after STARTING, and what `ray.get` raises.
    """
    for seconds in (SOON, STARTING - SOON):
        done, _ = ray.wait([status], timeout=seconds)
        if done:
            place: dict[str, Any] = ray.get(status)
            return place
        if seconds == SOON:
            progress.say_once(f"{named} has not started yet; if its node is gone, another (`ray start`) gives room")
    raise ProcessLost(f"{named} did not start for {STARTING:g} s: the cluster has not the room")


SOON = 10.0
"""Seconds after which a process that waits for room is said to."""
STARTING = 300.0
"""Seconds that processes may take to start."""


def whereabouts() -> dict[str, Any]:
    """Of the process that asks: its number, its node in Ray's words, its host."""
    host = f"{socket.gethostname()} ({RAY.util.get_node_ip_address()})"
    return {"pid": os.getpid(), "node": ray.get_runtime_context().get_node_id(), "host": host}


def interface_of(address: str) -> str | None:
    """The network interface that has this IPv4 address; None where none has, or the system does not say."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                found = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue
            if socket.inet_ntoa(found[20:24]) == address:
                return name
    return None


SIOCGIFADDR = 0x8915
"""Asks Linux for the address of an interface: netdevice(7)."""


def ours(error: RayError) -> OpenKlearError | None:
    """What an actor raised, where it is one of our errors."""
    cause: object = error.cause if isinstance(error, RayTaskError) else None
    return cause if isinstance(cause, OpenKlearError) else None


def line(error: object) -> str:
    """The last line of what an error says."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[-1][:300]


def end(actors: Mapping[Any, Mapping[str, Any]], *, patience: float) -> None:
    """Ends actors, by the places of their processes ({} where it is not known): one that is stopped outlives Ray's own
    kill, so each is killed on its node too."""
    kills = []
    for actor, place in actors.items():
        ray.kill(actor, no_restart=True)
        if place:
            there = NodeAffinitySchedulingStrategy(place["node"], soft=False)
            task = RAY.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(_kill)
            kills.append(task.remote(place["pid"]))
    if kills:
        ray.wait(kills, num_returns=len(kills), timeout=patience)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
