"""Verifiers on other machines, behind the one judge: the driver keeps journal and batches, actors do the work.

The judge (`verifiers.judge`) asks a verifier for each attempt from one of its threads. Here that verifier asks the
actor with the least to do. An actor that dies or hangs is replaced and the attempt asked again; an attempt with which
every actor that is asked is lost is unscorable, with the reason (house rule 5).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from openklear import progress
from openklear.cluster.actors import (
    ActorName,
    Doing,
    Silent,
    answer,
    begun,
    end,
    line,
    ours,
    placed,
    print_into,
    whereabouts,
)
from openklear.errors import ProcessLost, VerifierError
from openklear.types import Outcome, Problem, Verdict
from openklear.verifiers.domains import DOMAINS, RunsPrograms, Verifier
from openklear.verifiers.limits import Limits
from openklear.verifiers.walls import LEVELS, Isolation

TRIES = 3
"""Actors that an attempt may take with it before it counts as unscorable."""


class JudgeActor:
    """A process that grades, on as many threads as the limits have workers."""

    def __init__(self, log: Path | None, limits: Limits) -> None:
        print_into(log)
        self._verifiers = {name: domain.verifier(limits) for name, domain in DOMAINS.items()}
        self._doing = Doing()

    def grade(self, domain: str, problem: Problem, graded: str, stop_early: bool) -> Verdict:
        """`Verifier.grade` of the domain."""
        with self._doing(f"grade {domain}"):
            return self._verifiers[domain].grade(problem, graded, stop_early=stop_early)

    @ray.method(concurrency_group="status")
    def status(self) -> dict[str, Any]:
        """Where it is, and what it does."""
        return {**whereabouts(), **self._doing.said()}

    def isolation(self) -> Isolation | None:
        """What programs are kept from there."""
        found = [one.isolation() for one in self._verifiers.values() if isinstance(one, RunsPrograms)]
        return found[0] if found else None


@dataclass(slots=True)
class Bench:
    """One actor, and how much it has to do."""

    number: int
    actor: Any
    begun: Any
    """Its `status` when it began, in Ray's store: where it is, also once it hangs."""
    asked: int = 0

    @property
    def place(self) -> Mapping[str, Any]:
        """Of its process; {} where it has not begun."""
        try:
            place: Mapping[str, Any] = ray.get(self.begun, timeout=0)
        except (GetTimeoutError, RayError):
            return {}
        return place


class JudgePool:
    """Actors that grade, one in each bundle of a placement group. `close` it."""

    def __init__(
        self, group: Any, limits: Limits, *, patience: float, work: str = "", logs: Path | None = None
    ) -> None:
        """`patience`: seconds without an answer after which a judge counts as hung. `work`: what they work for.
        `logs`: the directory of what they print.
        """
        self.limits, self.patience, self.work, self._logs, self._group = limits, patience, work, logs, group
        self._lock = threading.Lock()
        self._benches = [Bench(number, *self._begin(number)) for number in range(len(group.bundle_specs))]

    @property
    def driver_limits(self) -> Limits:
        """Of the judge that leads: with a thread for every worker of the pool."""
        return replace(self.limits, workers=self.limits.workers * len(self._benches))

    def pids(self) -> list[int]:
        """Of the actors' processes, each on its host."""
        places = ray.get([bench.begun for bench in self._benches])
        return [place["pid"] for place in places]

    def verifiers(self) -> Mapping[str, Verifier]:
        """For the judge: each domain's verifier asks the pool."""
        return {name: RemoteVerifier(self, name) for name in DOMAINS}

    def isolation(self) -> Isolation | None:
        """The weakest of what the actors' hosts keep programs from; None where a server runs them.

        VerifierError where a host has less than the limits demand.
        """
        calls = [(bench, bench.actor, bench.actor.isolation.remote()) for bench in self._benches]
        every = [self._isolation(bench, actor, call) for bench, actor, call in calls]
        found = [one for one in every if one is not None]
        return min(found, key=lambda one: LEVELS.index(one.level)) if found else None

    def _isolation(self, bench: Bench, actor: Any, call: Any) -> Isolation | None:
        """What the call returned; of another actor where this one is lost, as when its node died with a rank."""
        for _ in range(TRIES):
            try:
                begun(bench.begun, f"judge {bench.number}")
                found: Isolation | None = answer(call, actor.status.remote, self.patience)
                return found
            except RayActorError:
                self._replace(bench, actor, "died")
            except Silent:
                self._replace(bench, actor, f"has not answered for {self.patience:g} s")
            except RayTaskError as error:
                raise ours(error) or VerifierError(f"a judge cannot isolate programs: {line(error)}") from error
            except RayError as error:
                raise ProcessLost(f"a judge was lost at its start: {line(error)}") from error
            actor = bench.actor
            call = actor.isolation.remote()
        raise ProcessLost(f"judge {bench.number} was lost {TRIES} times at its start")

    def grade(self, domain: str, problem: Problem, graded: str, *, stop_early: bool) -> Verdict:
        """On the actor with the least to do; any thread may call."""
        for _ in range(TRIES):
            bench, actor, status = self._taken()
            try:
                begun(status, f"judge {bench.number}")
                call = actor.grade.remote(domain, problem, graded, stop_early)
                verdict: Verdict = answer(call, actor.status.remote, self.patience)
                return verdict
            except RayActorError:
                self._replace(bench, actor, "died")
            except Silent:
                self._replace(bench, actor, f"has not answered for {self.patience:g} s")
            except RayTaskError as error:
                raise ours(error) or VerifierError(f"judge {bench.number} failed: {line(error)}") from error
            finally:
                with self._lock:
                    bench.asked -= 1
        total = DOMAINS[domain].total(problem)
        return Verdict(Outcome.UNSCORABLE, f"{TRIES} judges were lost while they graded it", total=total)

    def close(self) -> None:
        """Ends all actors, those that hang included."""
        end({bench.actor: bench.place for bench in self._benches}, patience=self.patience)

    def _taken(self) -> tuple[Bench, Any, Any]:
        """The bench with the least to do, its actor, and that one's first status."""
        with self._lock:
            bench = min(self._benches, key=lambda one: one.asked)
            bench.asked += 1
            return bench, bench.actor, bench.begun

    def _replace(self, bench: Bench, lost: Any, what: str) -> None:
        """Once, however many threads found it lost."""
        with self._lock:
            if bench.actor is not lost:
                return
            place = bench.place
            bench.actor, bench.begun = self._begin(bench.number)
        progress.say(f"judge {bench.number} {what}; another one takes its place")
        end({lost: place}, patience=self.patience)

    def _begin(self, number: int) -> tuple[Any, Any]:
        name = ActorName("judge", number, self.work)
        workers = self.limits.workers
        actor = placed(JudgeActor, self._group, name, self.limits, logs=self._logs, max_concurrency=workers)
        return actor, actor.status.remote()


@dataclass(frozen=True, slots=True)
class RemoteVerifier:
    """A domain's verifier that a pool stands for."""

    pool: JudgePool
    domain: str

    def grade(self, problem: Problem, graded: str, *, stop_early: bool) -> Verdict:
        """As the domain's own."""
        return self.pool.grade(self.domain, problem, graded, stop_early=stop_early)

    def isolation(self) -> Isolation | None:
        """What programs are kept from."""
        return self.pool.isolation()

    def close(self) -> None:
        """The pool is closed by whoever opened it."""
