"""What is on a Ray cluster now: its nodes, and every process of a run, asked what it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from openklear.cluster.actors import NAMESPACE, RAY, ActorName
from openklear.cluster.join import knock, looked_up
from openklear.errors import UsageError

PATIENCE = 5.0
"""Seconds that processes have to answer."""
RESOURCES = ("CPU", "GPU")


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node, as Ray's head knows it."""

    host: str
    alive: bool
    resources: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ActorStatus:
    """One process of a run. Those that do not answer have no place."""

    name: ActorName
    place: Mapping[str, Any]

    @property
    def answers(self) -> bool:
        """Whether it said so in time."""
        return bool(self.place)

    def line(self) -> str:
        """For people."""
        who = f"{self.name.role} {self.name.number}"
        if not self.answers:
            return f"  {who:12}does not answer ({PATIENCE:g} s)"
        where = f"{self.place['host']}, pid {self.place['pid']}"
        doing = self.place.get("doing")
        if doing is None:
            return f"  {who:12}{where:32}idle"
        beside = f", {self.place['at_once']} at once" if self.place["at_once"] > 1 else ""
        return f"  {who:12}{where:32}{doing}, for {self.place['seconds']:g} s{beside}"


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """All of it."""

    address: str
    nodes: Sequence[NodeStatus]
    free: Mapping[str, float]
    actors: Sequence[ActorStatus]

    def lines(self) -> Iterator[str]:
        """For people."""
        alive = [one for one in self.nodes if one.alive]
        free = [f"{self.free.get(name, 0.0):g} of {total:g} {name}" for name, total in _total(alive).items()]
        said = ", ".join(free) or "nothing"
        yield f"cluster at {self.address}: {len(alive)} of {len(self.nodes)} nodes alive; free: {said}"
        for one in self.nodes:
            has = ", ".join(f"{amount:g} {name}" for name, amount in one.resources.items() if name in RESOURCES)
            yield f"  {one.host:24}{'alive' if one.alive else 'DEAD'}{f'; {has}' if has else ''}"
        if not self.actors:
            yield "no run of openklear is on it"
        works = dict.fromkeys(one.name.work for one in self.actors)
        for work in works:
            yield f"{work}:"
            yield from (one.line() for one in self.actors if one.name.work == work)

    def document(self) -> dict[str, Any]:
        """For --json."""
        return {
            "address": self.address,
            "nodes": [asdict(one) for one in self.nodes],
            "free": dict(self.free),
            "processes": [{**asdict(one.name), "answers": one.answers, **one.place} for one in self.actors],
        }


def _total(nodes: Sequence[NodeStatus]) -> dict[str, float]:
    """What they have together, of what there is."""
    total: dict[str, float] = {}
    for name in RESOURCES:
        amount = sum(one.resources.get(name, 0.0) for one in nodes)
        if amount:
            total[name] = amount
    return total


def cluster_status(address: str | None) -> ClusterStatus:
    """Of the cluster at `address`, or the one that Ray finds. UsageError where there is none."""
    where, named_by = looked_up(address, "--address")
    if where is None:
        raise UsageError("no Ray cluster is found; start one with `ray start --head`, or name its --address")
    knock(where, named_by)
    with _visiting(where):
        nodes = [NodeStatus(one["NodeManagerAddress"], one["Alive"], one["Resources"]) for one in RAY.nodes()]
        nodes.sort(key=lambda one: one.host)
        return ClusterStatus(where, nodes, RAY.available_resources(), _asked())


@contextmanager
def _visiting(where: str) -> Iterator[None]:
    RAY.init(address=where, namespace=NAMESPACE, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


def _asked() -> list[ActorStatus]:
    """Every process that has one of our names, in the order of works, roles and numbers."""
    calls: dict[Any, ActorName] = {}
    for listed in RAY.util.list_named_actors(all_namespaces=True):
        name = ActorName.read(listed["name"]) if listed["namespace"] == NAMESPACE else None
        if name is None:
            continue
        try:
            calls[RAY.get_actor(str(name), NAMESPACE).status.remote()] = name
        except ValueError:  # it ended meanwhile
            continue
    answered, silent = ray.wait(list(calls), num_returns=len(calls), timeout=PATIENCE) if calls else ([], [])
    found = [ActorStatus(calls[call], {}) for call in silent]
    for call in answered:
        try:
            found.append(ActorStatus(calls[call], ray.get(call)))
        except RayError:  # it died meanwhile
            found.append(ActorStatus(calls[call], {}))
    return sorted(found, key=lambda one: (one.name.work, one.name.role, one.name.number))
