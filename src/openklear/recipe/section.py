"""What all tables of the recipe share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from openklear.recipe import rules
from openklear.verifiers.domains import DOMAINS

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Decay = Annotated[float, Field(ge=0.0, lt=1.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Above = Annotated[float, Field(gt=0.0)]


def _known(name: str) -> str:
    if name not in DOMAINS:
        raise ValueError("no domain")  # recipe.explain says which there are, and which may have been meant
    return name


DomainName = Annotated[str, AfterValidator(_known)]
"""A domain of the table, which may have grown since this schema was made."""


class Section(BaseModel):
    """A table of the recipe: frozen, no unknown keys, no silent conversion of strings to numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def broken_rules(self) -> Iterable[rules.Broken]:
        """Rules between keys that do not hold here; see `openklear.recipe.rules`."""
        return ()

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        broken = list(self.broken_rules())
        if broken:
            text = "; ".join(f"{'.'.join(map(str, path)) or 'recipe'}: {message}" for path, message in broken)
            raise PydanticCustomError("rules", "{text}", {"text": text, "broken": broken})
        return self
