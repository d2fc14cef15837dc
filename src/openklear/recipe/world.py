"""The table [world], and what names its files."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from openklear.recipe.curation import RESPONSES, Data
from openklear.recipe.numbers import Count, Seed
from openklear.recipe.section import Broken, NotNegative, Positive, Section, Share

WORLD = "world:"
"""Begins what names a file of the demo world."""
GRADED = "world:responses"
"""The directory of its graded responses."""


class World(Section):
    """The demo world: problems and demonstrations written from a seed, as ordinary files, with no download."""

    seed: Seed = Field(0, description="seed of the world's texts (the run's seed is the top-level key)")
    demonstrations: Positive = Field(
        2000, description="clean demonstrations per domain, over all teachers; of each teacher with same_prompts"
    )
    problems: Positive = Field(2000, description="RL problems per domain")
    validation: Positive = Field(64, description="validation problems per domain")
    heldout: Positive = Field(200, description="held-out problems per domain; the report's scores are on these")
    same_prompts: bool = Field(False, description="every teacher answers every prompt, so that they can be compared")
    slips: NotNegative = Field(1.0, description="how often the sloppy teacher is wrong, times its usual share")
    faulty_tests: Share = Field(
        0.0, description="share of the RL code problems of levels 2 to 4 whose tests a common wrong program passes"
    )
    responses: Count = Field(
        0, description=f"graded responses of a teacher to each RL problem, written as {GRADED}; 0 writes none"
    )


def faults_of_responses(data: Data, world: World | None) -> Iterator[Broken]:
    """Keys of [data] that name graded responses of the demo world which it does not write."""
    for table, key in RESPONSES:
        path = getattr(getattr(data, table), key, None)
        if path is None or not path.startswith(WORLD):
            continue
        if world is None:
            text = f"{path} is of the demo world, but there is no [world]; add [world] or name a directory"
        elif path != GRADED:
            text = f"the demo world's graded responses are {GRADED}, not {path}; write that"
        elif not world.responses:
            text = f"the demo world writes {GRADED} only where asked to; set world.responses = 4, or name a directory"
        else:
            continue
        yield Broken(("data", table, key), text)
