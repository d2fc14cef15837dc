"""Whether an iteration waits for its longest rollout, or ends earlier and carries over what is unfinished."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Literal, Protocol

from pydantic import Field

from openklear.recipe.cluster import Cluster
from openklear.recipe.engine import Engine
from openklear.recipe.section import Broken, Positive, Section


class NoCarryOver(Section):
    """Every rollout of an iteration ends in it, so all of its tokens are drawn from the same weights."""

    carries: ClassVar[bool] = False
    type: Literal["none"] = Field("none", description="an iteration waits for all of its rollouts")


class CarryOver(Section):
    """Partial rollouts: an iteration samples more problems than it trains on, and ends once enough of them are whole.

    What is unfinished goes on in the next iteration, from the weights of then. The rule is that of APRIL (arXiv
    2509.18521); Kimi k1.5 (arXiv 2501.12599) carries rollouts over by a budget of tokens.
    """

    carries: ClassVar[bool] = True
    type: Literal["carry_over"] = Field("carry_over", description="rollouts go on in the next iteration")
    extra: Annotated[float, Field(gt=0.0, le=100.0)] = Field(
        0.25, description="problems under way beyond those an iteration trains on, as a share of these"
    )
    oldest: Positive = Field(4, description="iterations that a problem may be carried over; then it is waited for")


UNCORRECTED = (
    "{what} are drawn from older weights than the iteration begins with, which the loss must be told; write "
    'correction = {{ type = "truncate" }}, or "mask"'
)
PartialRollouts = Annotated[NoCarryOver | CarryOver, Field(discriminator="type")]


def under_way(partial: NoCarryOver | CarryOver, quotas: Mapping[str, int]) -> dict[str, int]:
    """Problems sampled at once, by the names of `quotas`, which has those that an iteration trains on."""
    extra = partial.extra if isinstance(partial, CarryOver) else 0.0
    return {name: count + math.ceil(count * extra) for name, count in quotas.items()}


def stale_rollouts(partial: NoCarryOver | CarryOver, *, asynchronous: bool) -> str:
    """Which rollouts are drawn, in part or whole, from older weights than their iteration begins with; "": none."""
    if asynchronous:
        return "rollouts that are sampled while the iteration before them trains"
    return "parts of rollouts that are carried over" if partial.carries else ""


class Overlapping(Protocol):
    """Of a phase what matters here."""

    @property
    def asynchronous(self) -> bool:
        """Whether it samples while it trains."""


def beside_rules(phases: Sequence[Overlapping], cluster: Cluster | None, engine: Engine) -> Iterator[Broken]:
    """Who samples while a model is trained needs weights, and a place, of its own."""
    for index, phase in enumerate(phases):
        if not phase.asynchronous:
            continue
        text = ""
        if cluster is None and engine.type == "local":
            text = (
                "the local engine samples from the very weights that are trained; write a [cluster] with samplers, or "
                'engine.type = "vllm"'
            )
        elif cluster is not None and cluster.colocated:
            text = "with cluster.samplers = 0, samplers and trainers work in turn; give samplers places of their own"
        if text:
            yield Broken(("rl", "phase", index, "asynchronous"), f"{text}, or remove asynchronous")
