"""The reward schemes: a tagged union of verdict -> number, computed in `openklear.rewards`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from openklear.recipe.section import NotNegative, Section


class ReportReward(Section):
    """The report's rewards. It gives no number for the penalty: this one is ours."""

    type: Literal["report"] = Field("report", description="the report's rewards, with a penalty of our own")
    format_penalty: NotNegative = Field(
        0.5, description="taken off where the reasoning is not inside one <think>...</think> (our number)"
    )
    code: Literal["soft", "hard"] = Field(
        "soft", description="code reward: share of tests passed, or all of them (tests stop at the first that fails)"
    )


class KlearReleased(Section):
    """The numbers of the code that was released with the report."""

    type: Literal["klear_released"] = Field("klear_released", description="the released code's numbers")


class CustomReward(Section):
    """A function of the user's own."""

    type: Literal["custom"] = Field("custom", description="a function of your own")
    function: str = Field(description="module:function of (verdict, domain), giving a number or a mapping of parts")


RewardScheme = Annotated[ReportReward | KlearReleased | CustomReward, Field(discriminator="type")]
