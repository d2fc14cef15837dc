"""Ranks as Ray actors: asked together, watched while they compute, and killed together.

A rank that dies is seen by Ray at once; the others then fail where they wait for it, so that its own end is looked for
before theirs is told. A rank that hangs does not answer `status`, which a thread of its own serves; the others would
wait for it as long as `training.rank.MEETING`. Nothing is repaired in a gang: after RankLost it is of no use, and
whoever leads makes another one and goes on from a checkpoint.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from openklear import progress
from openklear.cluster.actors import (
    BEAT,
    RAY,
    STARTING,
    ActorName,
    Doing,
    end,
    interface_of,
    line,
    ours,
    placed,
    print_into,
    whereabouts,
)
from openklear.errors import ProcessLost, RankLost
from openklear.training.rank import Post, Rank

LATE = 2.0
"""Seconds in which the rank that died first is looked for, once one has failed."""


class RankActor:
    """A rank's process. One thread computes, another one says that the process lives."""

    def __init__(self, log: Path | None) -> None:
        print_into(log)
        self._rank: Rank | None = None
        self._doing = Doing()

    def address(self) -> str:
        """Where the ranks can meet, if this one is the first."""
        host = RAY.util.get_node_ip_address()
        with socket.create_server((host, 0)) as server:
            return f"tcp://{host}:{server.getsockname()[1]}"

    def begin(self, post: Post) -> None:
        """Takes up its post."""
        name = interface_of(RAY.util.get_node_ip_address())
        if name is not None:  # a host with several would be met on whichever its name leads to
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
        with self._doing("begin"):
            self._rank = Rank(post)

    def do(self, method: str, arguments: Sequence[Any]) -> Any:
        """Calls a method of the rank."""
        with self._doing(method):
            return getattr(self._rank, method)(*arguments)

    @ray.method(concurrency_group="status")
    def status(self) -> dict[str, Any]:
        """Where it is, and what it does."""
        return {**whereabouts(), **self._doing.said()}


class Gang:
    """As many ranks as there are bundles in a placement group, each with one of them. Use it as a context manager."""

    def __init__(
        self, group: Any, post: Post, *, patience: float, work: str = "", logs: Path | None = None, share: int = 1
    ) -> None:
        """Starts the ranks; `post` is that of each but for its number, how many there are and where they meet.

        `patience`: seconds without an answer after which a rank counts as hung. `work`: what they work for.
        `logs`: the directory of what they print. `share`: actors that have a bundle together.
        """
        self.patience = patience
        self.ranks = len(group.bundle_specs)
        names = [ActorName("rank", number, work) for number in range(self.ranks)]
        self._actors = [placed(RankActor, group, name, logs=logs, share=share) for name in names]
        self._places: dict[int, Mapping[str, Any]] = {}
        try:
            self._places = dict(enumerate(self._get([actor.status.remote() for actor in self._actors])))
            address = self._get([self._actors[0].address.remote()])[0]
            posts = [replace(post, rank=n, ranks=self.ranks, address=address) for n in range(self.ranks)]
            self._wait("begin", [actor.begin.remote(one) for actor, one in zip(self._actors, posts, strict=True)])
        except BaseException:  # whatever it is, the processes must not outlive it
            self.close()
            raise

    def ask(self, method: str, arguments: Sequence[Sequence[Any]]) -> list[Any]:
        """Calls a method of `Rank` on every rank, each with its own arguments; what they returned, in their order.

        Raises what all of them raised where that is one of our errors; RankLost where one died, hangs or failed.
        """
        pairs = zip(self._actors, arguments, strict=True)
        return self._wait(method, [actor.do.remote(method, tuple(mine)) for actor, mine in pairs])

    def hand(self, method: str, then: str) -> tuple[Any, Any]:
        """Calls a method on every rank, and leaves what the first one returns in Ray's store.

        (its reference, what the method `then` of the first rank returns). Errors as in `ask`.
        """
        calls = [actor.do.remote(method, ()) for actor in self._actors]
        self._wait(method, calls, kept=calls[:1])
        return calls[0], self._wait(then, [self._actors[0].do.remote(then, ())])[0]

    def places(self) -> list[str]:
        """Host and process of each rank."""
        return [f"rank {n}: {place['host']}, pid {place['pid']}" for n, place in sorted(self._places.items())]

    def close(self) -> None:
        """Ends all ranks, those that hang included."""
        known = {actor: self._places.get(number, {}) for number, actor in enumerate(self._actors)}
        end(known, patience=self.patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _wait(self, what: str, calls: Sequence[Any], kept: Sequence[Any] = ()) -> list[Any]:
        """What the calls returned, None for those that are `kept` where they are."""
        waiting = {call: number for number, call in enumerate(calls)}
        found: dict[int, Any] = {}
        while waiting:
            done, _ = ray.wait(list(waiting), timeout=BEAT)
            for call in done:
                number = waiting.pop(call)
                try:
                    found[number] = None if call in kept else ray.get(call)
                except RayError as error:
                    raise self._failed(what, {number: error}, waiting) from error
            if not done:
                self._require_answers(what, waiting.values())
        return [found[number] for number in range(len(calls))]

    def _failed(self, what: str, faults: dict[int, RayError], waiting: Mapping[Any, int]) -> Exception:
        """The error to raise: of the rank that died, of all alike, or else of the one that failed first."""
        deadline, rest = time.monotonic() + LATE, dict(waiting)
        while rest and time.monotonic() < deadline and not _died(faults):
            done, _ = ray.wait(list(rest), timeout=0.1)
            for call in done:
                number = rest.pop(call)
                try:
                    ray.get(call)
                except RayError as error:
                    faults[number] = error
        for number, fault in faults.items():
            if isinstance(fault, RayActorError):
                return self._lost(number, f"died while all ranks were asked to {what}")
        number, fault = next(iter(faults.items()))
        return ours(fault) or self._lost(number, f"failed at {what}: {line(fault)}")

    def _require_answers(self, what: str, numbers: Iterable[int]) -> None:
        """RankLost where one of them does not say that it lives."""
        asked = {self._actors[number].status.remote(): number for number in numbers}
        _, silent = ray.wait(list(asked), num_returns=len(asked), timeout=self.patience)
        for call in silent:
            raise self._lost(asked[call], f"hangs: no answer for {self.patience:g} s while it was asked to {what}")

    def _lost(self, number: int, how: str) -> RankLost:
        """Says at once what happened: to end the others takes a while."""
        text = f"{self._named(number)} {how}"
        progress.say(f"{text}; all ranks are being ended")
        return RankLost(text)

    def _get(self, calls: Sequence[Any]) -> list[Any]:
        """Of actors that start: as long as the cluster takes to make room and processes."""
        try:
            return list(ray.get(list(calls), timeout=STARTING))
        except GetTimeoutError as error:
            raise ProcessLost(f"no rank has started for {STARTING:g} s: the cluster has not the room") from error
        except RayError as error:
            raise ProcessLost(f"a rank did not start: {line(error)}") from error

    def _named(self, number: int) -> str:
        place = self._places.get(number)
        return f"rank {number}" if place is None else f"rank {number} ({place['host']}, pid {place['pid']})"


def _died(faults: Mapping[int, RayError]) -> bool:
    return any(isinstance(error, RayActorError) for error in faults.values())
