"""The recipe's [seeds]: a seed of its own for a part of the run, so that studies vary one part and share the others."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from openklear.recipe.numbers import Seed
from openklear.recipe.section import Section

Part = Literal["data", "sft", "rl", "evaluation"]


class Seeds(Section):
    """Seeds of parts of the run; one that is not set is the recipe's own `seed`."""

    data: Seed | None = Field(None, description="which rows are drawn, mixed and asked ([world] has its own seed)")
    sft: Seed | None = Field(None, description="initial weights of a new model, order of the demonstrations")
    rl: Seed | None = Field(None, description="order of the problems of RL, and every rollout")
    evaluation: Seed | None = Field(None, description="completions of the evaluations")
