"""Numbers of a special kind, each with the bounds that keep nonsense out; `section` has the common ones."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from openklear.recipe.section import LARGEST, MOST

Auto = Literal["auto"]
"""Found from the model and the machine when a stage begins (`training.sizes`), said and recorded there."""
Count = Annotated[int, Field(ge=0, le=MOST)]
Tokens = Annotated[int, Field(gt=0, le=1_000_000_000)]
Rows = Annotated[int, Field(gt=0, le=1_000_000_000)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
Rate = Annotated[float, Field(gt=0.0, le=10.0)]
"""A learning rate."""
Temperature = Annotated[float, Field(gt=0.0, le=100.0)]
Seconds = Annotated[float, Field(gt=0.0, le=86_400.0)]
Whole = Annotated[int, Field(ge=-MOST, le=MOST)]
Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
AboveOne = Annotated[float, Field(gt=1.0, le=LARGEST)]
Band = Annotated[float, Field(ge=0.0, le=1e30)]
"""An upper end of a band; one that is out of reach means none, and fp32 can still hold it."""
