"""What ranks, samplers and judges have in common as actors: where they are placed, what they raise, how they end."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from openklear.errors import OpenKlearError

BEAT = 1.0
"""Seconds between two looks at an actor that works."""

RAY: Any = ray
"""Without its annotations, which do not know all that it takes."""


def placed(kind: type, group: Any, number: int, *arguments: Any, **options: Any) -> Any:
    """An actor of that kind in the bundle `number` of a placement group; it is never restarted by Ray."""
    bundle = group.bundle_specs[number]
    place = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=number)
    needs = {"num_cpus": bundle.get("CPU", 0), "num_gpus": bundle.get("GPU", 0), "scheduling_strategy": place}
    return RAY.remote(max_restarts=0, **options)(kind).options(**needs).remote(*arguments)


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


def whereabouts() -> dict[str, Any]:
    """Of the process that asks: its number, its node in Ray's words, its host."""
    return {"pid": os.getpid(), "node": ray.get_runtime_context().get_node_id(), "host": socket.gethostname()}


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
