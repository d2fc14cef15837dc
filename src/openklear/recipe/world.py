"""The table [world]."""

from __future__ import annotations

from pydantic import Field

from openklear.recipe.numbers import Seed
from openklear.recipe.section import Positive, Section


class World(Section):
    """The demo world: problems and demonstrations written from a seed, as ordinary files, with no download."""

    seed: Seed = Field(0, description="seed of the world's texts (the run's seed is the top-level key)")
    demonstrations: Positive = Field(2000, description="clean demonstrations per domain, over all teachers")
    problems: Positive = Field(2000, description="RL problems per domain")
    validation: Positive = Field(64, description="validation problems per domain")
    heldout: Positive = Field(200, description="held-out problems per domain; the report's scores are on these")
