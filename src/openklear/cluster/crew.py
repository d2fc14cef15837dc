"""Ranks, samplers and judges on a Ray cluster, for one stage: placed, started, said, and ended with it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from openklear import progress
from openklear.cluster.actors import NAMESPACE, RAY, SOON, STARTING, line, ours
from openklear.cluster.gang import Gang
from openklear.cluster.join import knock, looked_up
from openklear.cluster.judges import JudgePool
from openklear.cluster.samplers import ClusterSampler, SamplerPost
from openklear.errors import EngineError, UsageError
from openklear.models.loading import LoadedModel
from openklear.models.numerics import set_up
from openklear.planner.auto import Sizes
from openklear.recipe.cluster import Cluster
from openklear.recipe.engine import gpus_of
from openklear.recipe.schema import Phase, Sft
from openklear.rollout.open import require
from openklear.rollout.protocol import Sampler, Supports
from openklear.run.context import Kept, StageContext
from openklear.training.crew import StageCrew, StagePanel
from openklear.training.leading import LeadingLearner, LeadingSupervised, LedTrainee
from openklear.training.rank import Post
from openklear.training.sizes import Computing, here


@contextmanager
def open_cluster_crew(
    context: StageContext, loaded: LoadedModel, settings: Phase | Sft, sizes: Sizes, *, takes_sampled: bool
) -> Iterator[StageCrew]:
    """The crew of a stage; `loaded` is an outline. Directories of the run are seen by all nodes under the same paths.

    UsageError where there is no such cluster, EngineError where it has not the room.
    """
    recipe = context.recipe
    cluster = recipe.cluster
    assert cluster is not None, "asked for a recipe with [cluster]"
    with ExitStack() as stack:
        own = stack.enter_context(closing(Kept()))
        kept = context.kept or own
        kept.once("ray", lambda: _joined(cluster.address, cluster.places(recipe.engine) + cluster.judges))
        on_gpus = _on_gpus(recipe.device)
        group = own.once("trainers", lambda: _placed("trainers", cluster.trainers, on_gpus=on_gpus))
        share = 2 if cluster.colocated else 1
        if cluster.colocated:  # in the trainers' places, which end with them
            panel = _panel(context, sizes, group, share, kept, own)
        else:
            each = gpus_of(recipe.engine)
            beside = kept.once("places", lambda: _placed("samplers", cluster.samplers, each, on_gpus=on_gpus))
            panel = _panel(context, sizes, beside, share, kept, kept)
        post = Post(recipe, settings, _model(context), sizes, 0, 1, "", takes_sampled)
        gang = Gang(group, post, share=share, **_named(context, cluster))
        stack.enter_context(gang)
        for place in gang.places():
            progress.say(f"{context.name}: {place} trains")
        ranks = cluster.trainers
        learner: LeadingLearner | LeadingSupervised
        if isinstance(settings, Phase):
            learner = LeadingLearner(gang.ask, ranks, takes_sampled)
        else:
            learner = LeadingSupervised(gang.ask, ranks)

        def hand(sampler: Sampler, version: int) -> None:
            assert isinstance(sampler, ClusterSampler), "the crew's own"
            parcel, hashed = gang.hand("parcel", "sent")
            sampler.take(parcel, version, hashed)

        parameters = sum(p.numel() for p in loaded.model.parameters())
        trainee = LedTrainee(gang.ask, ranks, parameters, hand)
        yield StageCrew(loaded, sizes, trainee, learner, panel)


@cache
def computing_there(address: str, device: str, threads: int) -> Computing:
    """What a trainer of the cluster at an address computes on: on one of its hosts, whatever this one has."""
    with _joined(address, 0):
        needs = {"num_gpus": 1} if _on_gpus(device) else {"num_cpus": 1}
        call = RAY.remote(max_retries=0, **needs)(_computing).remote(device, threads)
        try:
            if not ray.wait([call], timeout=SOON)[0]:
                progress.say("asking a host of the cluster what it computes on waits for room there")
            found: Computing = ray.get(call, timeout=STARTING)
        except GetTimeoutError as error:
            raise EngineError(f"the cluster has had no room for a process for {STARTING:g} s") from error
        except RayError as error:
            text = f"no host of the cluster says what it computes on: {line(error)}"
            raise ours(error) or EngineError(text) from error
        return found


def _computing(device: str, threads: int) -> Computing:
    set_up(threads, device)
    return here()


@contextmanager
def open_cluster_panel(context: StageContext, sizes: Sizes) -> Iterator[StagePanel]:
    """The panel of a stage that trains nothing: samplers of one GPU have the trainers' places too. Errors as above."""
    recipe = context.recipe
    cluster = recipe.cluster
    assert cluster is not None, "asked for a recipe with [cluster]"
    each = gpus_of(recipe.engine)
    number = cluster.evaluating(recipe.engine)
    with closing(Kept()) as own:
        own.once("ray", lambda: _joined(cluster.address, number * each + cluster.judges))
        on_gpus = _on_gpus(recipe.device)
        group = own.once("places", lambda: _placed("samplers", number, each, on_gpus=on_gpus))
        yield _panel(context, sizes, group, 1, own, own)


def _panel(context: StageContext, sizes: Sizes, group: Any, share: int, judging: Kept, sampling: Kept) -> StagePanel:
    """Samplers in each bundle of a group, which `share` actors have together, and judges; kept by these two."""
    recipe = context.recipe
    cluster = recipe.cluster
    assert cluster is not None, "asked for a recipe with [cluster]"
    named = _named(context, cluster)
    benches = judging.once("benches", lambda: _placed("judges", cluster.judges, on_gpus=False))
    judges = judging.once("judges", lambda: closing(JudgePool(benches, recipe.verifiers.limits, **named)))

    def opened() -> closing[ClusterSampler]:
        made = ClusterSampler(group, SamplerPost(recipe, _model(context), sizes), share=share, **named)
        for place in made.places():
            progress.say(f"{context.name}: {place} samples")
        return closing(made)

    def sampler(needs: Supports) -> Sampler:
        require(ClusterSampler.supports, needs, "cluster")
        return sampling.once("samplers", opened)

    return StagePanel(sampler, judges.driver_limits, judges.verifiers, len(group.bundle_specs))


def _on_gpus(device: str) -> bool:
    """Whether the recipe demands GPUs, or the cluster has any: fewer than are asked for are waited for."""
    return device.startswith("cuda") or (device != "cpu" and RAY.cluster_resources().get("GPU", 0) > 0)


def _named(context: StageContext, cluster: Cluster) -> dict[str, Any]:
    """What processes work for, in words for people; where they print; and when they count as hung."""
    root = context.root.resolve()
    work, logs = f"{context.name} of {root.name}", root / "logs" / context.name
    return {"work": work, "logs": logs, "patience": cluster.patience}


def _model(context: StageContext) -> Path:
    """Where the stage's model lies, on every node."""
    return (context.inputs["model"] / "model").resolve()


@contextmanager
def _joined(named: str, workers: int) -> Iterator[None]:
    """Within, this process is a driver of the cluster at an address; a local one is made for so many workers."""
    address = None if named == "local" else named
    if address is not None:
        where, named_by = looked_up(address, "cluster.address")
        if where is None:
            raise UsageError(
                'cluster.address = "auto": no Ray cluster is found; start one with `ray start --head`, name its '
                'address, or write "local" for a new one on this machine'
            )
        knock(where, named_by)
    more = {"num_cpus": workers} if address is None else {"address": address}
    before = signal.getsignal(signal.SIGTERM)  # Ray's own handler would end the process with exit code 15
    RAY.init(namespace=NAMESPACE, log_to_driver=False, include_dashboard=False if address is None else None, **more)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _placed(role: str, number: int, each: int = 1, *, on_gpus: bool) -> Iterator[Any]:
    """A bundle for each of a role, all of it on one host: `each` GPUs where trainers and samplers compute on GPUs, else
    as many cores.
    """
    bundle = {"CPU": float(each)}
    if on_gpus and role != "judges":
        bundle["GPU"] = float(each)
    group = RAY.util.placement_group([bundle] * number, strategy="PACK" if role == "trainers" else "SPREAD")
    try:
        _require_room(group, role, number, bundle)
        yield group
    finally:
        RAY.util.remove_placement_group(group)


def _require_room(group: Any, role: str, number: int, bundle: dict[str, float]) -> None:
    ready = group.ready()
    try:
        if not ray.wait([ready], timeout=SOON)[0]:
            progress.say(f"{number} {role} wait for room on the cluster; a node that joins it (`ray start`) gives some")
        ray.get(ready, timeout=STARTING)
    except GetTimeoutError as error:
        held = {name: RAY.cluster_resources().get(name, 0) for name in bundle}
        text = ", ".join(f"{number * each:g} {name}" for name, each in bundle.items())
        has = ", ".join(f"{amount:g} {name}" for name, amount in held.items())
        raise EngineError(f"{number} {role} need {text}, and the cluster has {has} in all") from error
