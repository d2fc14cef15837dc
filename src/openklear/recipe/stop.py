"""The recipe's [stop]: what makes a run stop by itself, before it spends hours on what cannot be right."""

from __future__ import annotations

from pydantic import Field

from openklear.recipe.section import Section, Share


class Stop(Section):
    """Shares above which a run stops; 1.0 never stops it."""

    dropped_share: Share = Field(
        0.5,
        description="share of a source's prepared rows that the template or a length limit may take from a stage",
    )
    unscorable_share: Share = Field(
        0.5,
        description="share of a domain's verdicts in an iteration, a validation or an evaluation that may say nothing",
    )
