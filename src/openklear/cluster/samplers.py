"""Samplers as Ray actors, as one Sampler: requests are shared out among them, and a dead one is replaced.

Each free sampler takes a part of what waits: half of its fair share, so that parts become smaller towards the end and
one long completion does not keep the others idle (guided self-scheduling: Polychronopoulos and Kuck 1987). Requests
with one prompt stay together where they stand together. Draws depend on a request's key and its positions alone, so it
does not matter who serves it; what a dead sampler had not finished is asked of another one.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from openklear import progress
from openklear.cluster.actors import (
    BEAT,
    RAY,
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
from openklear.errors import EngineError, ProcessLost
from openklear.models.loading import LoadedModel, load_model
from openklear.models.numerics import set_up
from openklear.models.parcel import Parcel, pack, unpack
from openklear.planner.auto import Sizes
from openklear.recipe.schema import Recipe
from openklear.rollout.carry import NOTHING
from openklear.rollout.open import open_sampler
from openklear.rollout.protocol import OnCompletion, Progress, Sampler, Supports, Until
from openklear.training.memory import release
from openklear.types import Completion, SampleRequest, StopReason

REPLACED = 3
"""Times in a row that a sampler may be lost without one completion in between."""


@dataclass(frozen=True, slots=True)
class SamplerPost:
    """What a sampler is told before it begins."""

    recipe: Recipe
    model: Path
    sizes: Sizes


class SamplerActor:
    """A sampler's process."""

    def __init__(self, log: Path | None) -> None:
        print_into(log)
        self._loaded: LoadedModel | None = None
        self._sampler: Sampler | None = None
        self._doing = Doing()
        self._broken_off = -1
        """The newest call that was broken off."""

    def begin(self, post: SamplerPost) -> None:
        """Loads the model and opens the recipe's engine."""
        with self._doing("begin"):
            set_up(post.recipe.threads, post.recipe.device)
            self._loaded = load_model(post.model, dtype=post.sizes.dtype)
            needs = Supports(logprobs=True, publish=True, partial=True)
            self._sampler = open_sampler(post.recipe.engine, self._loaded, needs, post.sizes)

    def take(self, parcel: Parcel, version: int) -> str:
        """Samples from these weights from now on; their hash."""
        assert self._loaded is not None, "it has begun"
        assert self._sampler is not None, "it has begun"
        with self._doing(f"take weights of version {version}"):
            self._loaded.model.load_state_dict(unpack(parcel))
            self._sampler.publish(self._loaded.model, version)
        return parcel.hash

    def sample(self, requests: Sequence[SampleRequest], call: int) -> Iterator[tuple[int, Completion]]:
        """(index of the request, its completion), each as soon as it has ended; those broken off at the end.

        `call`: a number that grows from call to call.
        """
        made: queue.SimpleQueue[tuple[int, Completion] | BaseException | None] = queue.SimpleQueue()
        thread = threading.Thread(target=self._sample, args=(requests, call, made), daemon=True)
        thread.start()
        while (one := made.get()) is not None:
            if isinstance(one, BaseException):
                raise one
            yield one

    def _sample(self, requests: Sequence[SampleRequest], call: int, made: Any) -> None:
        assert self._sampler is not None, "it has begun"

        def ended(index: int, completion: Completion) -> None:
            made.put((index, completion))

        try:
            with self._doing(f"sample {len(requests)} requests"):
                all_of_them = self._sampler.sample(requests, None, ended, lambda: self._broken_off >= call)
                release()  # a trainer that sits beside works next
            for index, completion in enumerate(all_of_them):
                if completion.stop_reason is StopReason.PARTIAL:
                    made.put((index, completion))
            made.put(None)
        except BaseException as error:  # goes on in the thread that waits for completions
            made.put(error)

    @ray.method(concurrency_group="status")
    def break_off(self, call: int) -> None:
        """Ends this call of `sample` and those before it; it may come before the call itself."""
        self._broken_off = max(self._broken_off, call)

    @ray.method(concurrency_group="status")
    def status(self) -> dict[str, Any]:
        """Where it is, what it does, and the version of an engine in an environment of its own."""
        version = getattr(self._sampler, "engine_version", None)
        return {**whereabouts(), **self._doing.said(), "engine_version": version}


@dataclass(slots=True)
class Served:
    """One sampler, and what it has in hand."""

    number: int
    actor: Any
    place: Mapping[str, Any] = field(default_factory=dict)
    """Of its process; {} until it has begun."""
    stream: Any = None
    left: dict[int, int] = field(default_factory=dict)
    """Index in its part -> index of the request, of what has not ended."""
    idle_losses: int = 0
    """Times in a row that it was lost before a completion came."""

    @property
    def named(self) -> str:
        """For messages."""
        name = f"sampler {self.number}"
        return f"{name} ({self.place['host']}, pid {self.place['pid']})" if self.place else name


class ClusterSampler:
    """A Sampler (see rollout.protocol) over as many actors as a placement group has bundles. `close` it."""

    supports = Supports(logprobs=True, publish=True, partial=True)

    def __init__(
        self,
        group: Any,
        post: SamplerPost,
        *,
        patience: float,
        work: str = "",
        logs: Path | None = None,
        share: int = 1,
    ) -> None:
        """`patience`: seconds without an answer after which a sampler counts as hung. `work`: what they work for.
        `logs`: the directory of what they print. `share`: actors that have a bundle together.
        """
        self.version, self.patience, self.work, self._logs, self._share = 0, patience, work, logs, share
        self._group, self._post = group, post
        self._parcel: Any = None
        self._hash = ""
        self._calls = 0
        self._served = [Served(number, self._actor(number)) for number in range(len(group.bundle_specs))]
        calls = [one.actor.begin.remote(post) for one in self._served]
        try:
            for one, call in zip(self._served, calls, strict=True):
                self._begin(one, call)
        except BaseException:  # whatever it is, the processes must not outlive it
            self.close()
            raise

    @property
    def engine_version(self) -> str | None:
        """Of an engine in an environment of its own, as the first sampler has it."""
        version = self._served[0].place.get("engine_version")
        return None if version is None else str(version)

    def places(self) -> list[str]:
        """Host and process of each sampler."""
        return [f"sampler {one.number}: {one.place['host']}, pid {one.place['pid']}" for one in self._served]

    def close(self) -> None:
        """Ends all samplers, those that hang included."""
        end({one.actor: one.place for one in self._served}, patience=self.patience)

    def publish(self, model: Any, version: int) -> None:
        """The weights of a model in this process."""
        packed = pack(model.state_dict())
        self.take(ray.put(packed), version, packed.hash)

    def take(self, parcel: Any, version: int, hashed: str) -> None:
        """A `Parcel` in Ray's store, with its hash: every sampler takes it, and says the hash of what it took."""
        self._parcel, self.version, self._hash = parcel, version, hashed
        for one in self._served:
            if not one.place:  # it was to replace another one when the stage began again
                self._replace(one, "had not begun")
        calls = [one.actor.take.remote(parcel, version) for one in self._served]
        for one, call in zip(self._served, calls, strict=True):
            try:
                self._require_hash(one, answer(call, one.actor.status.remote, self.patience))
            except Silent:
                self._replace(one, f"has not answered for {self.patience:g} s while it took new weights")
            except RayActorError:
                self._replace(one, "died while it took new weights")
            except RayTaskError as error:
                raise ours(error) or EngineError(f"{one.named} did not take new weights: {line(error)}") from error

    def sample(
        self,
        requests: Sequence[SampleRequest],
        on_progress: Progress | None = None,
        on_completion: OnCompletion | None = None,
        until: Until | None = None,
    ) -> list[Completion]:
        """As every sampler; `until` is asked after each completion, and once in a BEAT."""
        found: dict[int, Completion] = {}
        waiting = deque(_together(requests))
        self._calls += 1
        broken = False
        try:
            while len(found) < len(requests) or any(one.stream is not None for one in self._served):
                if not broken and until is not None and until():
                    broken = True
                    self._break_off()
                if broken:  # what a sampler had that died meanwhile waits, too
                    found |= dict.fromkeys(chain.from_iterable(waiting), NOTHING)
                    waiting.clear()
                self._hand_out(waiting, requests)
                for one, index, completion in self._ended(waiting, requests):
                    found[index] = completion
                    one.idle_losses = 0
                    if completion.stop_reason is not StopReason.PARTIAL and on_completion is not None:
                        on_completion(index, completion)
                    if on_progress is not None:
                        on_progress(int(completion.stop_reason is not StopReason.PARTIAL), len(completion.token_ids))
        finally:
            self._break_off()
            self._forget_streams()
        return [found[index] for index in range(len(requests))]

    def _break_off(self) -> None:
        for one in self._served:
            if one.stream is not None:
                one.actor.break_off.remote(self._calls)

    def _hand_out(self, waiting: deque[list[int]], requests: Sequence[SampleRequest]) -> None:
        """To each free sampler half of its fair share of what waits."""
        for one in self._served:
            if one.stream is not None or not waiting:
                continue
            number = -(-len(waiting) // (2 * len(self._served)))
            part: list[int] = []
            for _ in range(number):
                part += waiting.popleft()
            one.left = dict(enumerate(part))
            asked = [requests[index] for index in part]
            one.stream = one.actor.sample.options(num_returns="streaming").remote(asked, self._calls)

    def _ended(
        self, waiting: deque[list[int]], requests: Sequence[SampleRequest]
    ) -> Iterator[tuple[Served, int, Completion]]:
        """(sampler, index of the request, completion) of what has ended since the last look."""
        streams: dict[Any, Served] = {one.stream: one for one in self._served if one.stream is not None}
        ready, _ = RAY.wait(list(streams), timeout=BEAT)
        if not ready:
            self._require_answers(list(streams.values()), waiting, requests)
        for stream in ready:
            one = streams[stream]
            try:
                place, completion = RAY.get(next(stream))
            except StopIteration:
                one.stream = None
            except RayTaskError as error:
                raise ours(error) or EngineError(f"{one.named} failed: {line(error)}") from error
            except RayError as error:  # with a node goes what lay in its store
                what = "died" if isinstance(error, RayActorError) else f"lost what it made ({line(error)})"
                self._lost(one, what, waiting, requests)
            else:
                yield one, one.left.pop(place), completion

    def _require_answers(
        self, busy: Sequence[Served], waiting: deque[list[int]], requests: Sequence[SampleRequest]
    ) -> None:
        asked = {one.actor.status.remote(): one for one in busy}
        answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=self.patience)
        for call in silent:
            self._lost(asked[call], f"has not answered for {self.patience:g} s", waiting, requests)
        for call in answered:
            try:
                ray.get(call)
            except RayError:
                self._lost(asked[call], "died", waiting, requests)

    def _lost(self, one: Served, what: str, waiting: deque[list[int]], requests: Sequence[SampleRequest]) -> None:
        """What it had in hand waits again, first of all; another process takes its place."""
        again = sorted(one.left.values())
        one.stream, one.left = None, {}
        waiting.extendleft(reversed(_together(requests, again)))
        self._replace(one, f"{what}; {len(again)} requests are asked again")

    def _replace(self, one: Served, what: str) -> None:
        """Another process in its place, with the same weights; ProcessLost where that one is lost at once, too."""
        progress.say(f"{one.named} {what}")
        one.idle_losses += 1
        if one.idle_losses > REPLACED:
            raise ProcessLost(f"{one.named} was lost {REPLACED} times in a row, and sampled nothing in between")
        end({one.actor: one.place}, patience=self.patience)
        one.actor, one.place = self._actor(one.number), {}
        self._begin(one, one.actor.begin.remote(self._post))
        if self._parcel is None:
            return
        try:
            call = one.actor.take.remote(self._parcel, self.version)
            self._require_hash(one, answer(call, one.actor.status.remote, self.patience))
        except Silent as error:
            raise ProcessLost(f"{one.named} hangs while it takes the weights of the one before it") from error
        except RayError as error:
            text = f"{one.named} did not take the weights of the one before it: {line(error)}"
            raise ours(error) or ProcessLost(text) from error

    def _actor(self, number: int) -> Any:
        name = ActorName("sampler", number, self.work)
        return placed(SamplerActor, self._group, name, logs=self._logs, share=self._share)

    def _begin(self, one: Served, call: Any) -> None:
        """Waits until it has; `call` is that of its `begin`."""
        try:
            one.place = begun(one.actor.status.remote(), f"sampler {one.number}")
            answer(call, one.actor.status.remote, self.patience)
            one.place = ray.get(one.actor.status.remote())
        except Silent as error:
            raise ProcessLost(f"{one.named} has not answered for {self.patience:g} s while it began") from error
        except RayError as error:
            text = f"sampler {one.number} did not start: {line(error)}"
            kind = EngineError if isinstance(error, RayTaskError) else ProcessLost
            raise ours(error) or kind(text) from error

    def _require_hash(self, one: Served, found: str) -> None:
        if found != self._hash:
            raise EngineError(f"{one.named} has other weights ({found}) than version {self.version} ({self._hash})")

    def _forget_streams(self) -> None:
        for one in self._served:
            one.stream, one.left = None, {}


def _together(requests: Sequence[SampleRequest], chosen: Sequence[int] | None = None) -> list[list[int]]:
    """Runs of neighbours with one prompt."""
    runs: list[list[int]] = []
    for index in range(len(requests)) if chosen is None else chosen:
        if runs and requests[runs[-1][-1]].prompt_ids == requests[index].prompt_ids:
            runs[-1].append(index)
        else:
            runs.append([index])
    return runs
