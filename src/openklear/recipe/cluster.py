"""The table [cluster]: training stages on a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from pydantic import Field

from openklear.recipe.engine import Engine, gpus_of
from openklear.recipe.numbers import Count, Seconds
from openklear.recipe.optimizers import Optimizer
from openklear.recipe.section import Broken, Positive, Section


class Cluster(Section):
    """Who trains, samples and judges on a Ray cluster; each of them has a GPU where there are as many, else a core.

    A sampler has as many as engine.tensor_parallel says.
    """

    address: str = Field(
        "auto", description="the Ray cluster: host:port; auto: the one that Ray finds; local: a new one on this machine"
    )
    trainers: Positive = Field(1, description="ranks that train one model together, each with a part of it (FSDP2)")
    samplers: Count = Field(
        1,
        description="samplers, each with the whole model, which share the rollouts; 0: one beside each trainer, in its "
        "place, where the two work in turn",
    )
    judges: Positive = Field(1, description="processes that grade, each with verifiers.workers")
    patience: Seconds = Field(60.0, description="seconds without an answer after which a process counts as hung")

    @property
    def elsewhere(self) -> bool:
        """Whether its hosts may be others than that of the command."""
        return self.address != "local"

    @property
    def colocated(self) -> bool:
        """Whether trainers and samplers have the same places."""
        return self.samplers == 0

    def places(self, engine: Engine) -> int:
        """GPUs, or cores, of trainers and samplers together."""
        return self.trainers + self.samplers * gpus_of(engine)

    def evaluating(self, engine: Engine) -> int:
        """Samplers of an evaluation: where each has one place, in those of the trainers too. Trainers may sit one on a
        host, so that a sampler of several places fits nowhere else.
        """
        return self.places(engine) if gpus_of(engine) == 1 else self.samplers


class PhaseParts(Protocol):
    """Of a phase what matters here."""

    @property
    def aggregation(self) -> str:
        """How token losses become one."""


def cluster_rules(
    cluster: Cluster | None,
    engine: Engine,
    optimizers: Mapping[str, Optimizer],
    phases: Sequence[PhaseParts],
    *,
    adapted: bool,
) -> Iterator[Broken]:
    """What a model in parts on several ranks, and samplers of a cluster, cannot do yet."""
    if cluster is None:
        return
    if cluster.colocated and (gpus := gpus_of(engine)) > 1:
        text = f"with cluster.samplers = 0 an engine has the place of one trainer, not {gpus} GPUs"
        yield Broken(("engine", "tensor_parallel"), f"{text}; write 1, or give samplers places of their own")
    if adapted:
        yield Broken(("lora",), "adapters are trained on one device; remove [lora] or [cluster]")
    for key, optimizer in optimizers.items():
        if optimizer.type == "adamw8bit":
            text = f'{key}.optimizer: moments of 8 bits are of one device; write type = "adamw", or remove [cluster]'
            yield Broken(("cluster",), text)
    for phase in phases:
        if phase.aggregation == "klear_released" and cluster.trainers > 1:
            text = (
                'the aggregation "klear_released" depends on what shares a micro-batch, and so on the number of ranks'
            )
            yield Broken(("cluster", "trainers"), f"{text}; write 1")
