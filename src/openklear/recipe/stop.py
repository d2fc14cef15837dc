"""When a run stops by itself instead of going on with what is left (house rules 5 and 6)."""

from __future__ import annotations

from pydantic import Field

from openklear.recipe.section import Section, Share


class Stop(Section):
    """When a run stops by itself."""

    unscorable_share: Share = Field(
        0.5, description="share of a domain's verdicts in an iteration, a validation or an evaluation that say nothing"
    )
