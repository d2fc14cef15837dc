"""The recipe's [track]: where a run can be watched. It changes no result, so changing it repeats nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from openklear.recipe.numbers import Count
from openklear.recipe.section import Broken, Section, repeated

TrackerName = Literal["tensorboard", "wandb", "trackio", "prometheus"]


class Track(Section):
    """What is shown of a run while it trains, beside its own files."""

    to: tuple[TrackerName, ...] = Field((), description="trackers that get every row of metrics: extras of their names")
    project: str = Field("openklear", description="project in W&B and Trackio")
    name: str | None = Field(None, description="name of the run there; by default that of its directory")
    sample_every: Count = Field(
        10, description="iterations between rollouts printed in RL, besides one with every validation; 0 prints none"
    )

    def broken_rules(self) -> Iterator[Broken]:
        """Each tracker once."""
        for _, name in repeated(list(self.to)):
            yield Broken(("to",), f'"{name}" is listed twice; name each tracker once')
