"""What all tables of the recipe share."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from operator import le, lt
from typing import Annotated, ClassVar, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from openklear.verifiers.domains import DOMAINS

MOST = 1_000_000
"""Bound of counts that have none by their nature: above any use, and below where arithmetic or file names break."""
LARGEST = 1e9
"""The same for numbers that are no counts."""

Positive = Annotated[int, Field(gt=0, le=MOST)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Decay = Annotated[float, Field(ge=0.0, lt=1.0)]
NotNegative = Annotated[float, Field(ge=0.0, le=LARGEST)]
Above = Annotated[float, Field(gt=0.0, le=LARGEST)]


def _known(name: str) -> str:
    if name not in DOMAINS:
        raise ValueError("no domain")  # recipe.explain says which there are, and which may have been meant
    return name


DomainName = Annotated[str, AfterValidator(_known)]
"""A domain of the table, which may have grown since this schema was made."""


class Broken(NamedTuple):
    """A rule that does not hold: the key, relative to the table that was checked, and what to do."""

    path: tuple[str | int, ...]
    message: str


VARIABLE = re.compile(r"\$(?:\{([^}]*)\}|(\w+))", re.ASCII)


def expanded(text: str) -> str:
    """The text with the environment's variables in it; one that is not set, or empty, stays, for `variable_fault`."""

    def value(found: re.Match[str]) -> str:
        known = os.environ.get(found[1] or found[2], "")
        return known if known.strip() else found[0]

    return VARIABLE.sub(value, text)


def variable_fault(path: str | None) -> str | None:
    """What is wrong with a path in which a variable is left: it names another place than was meant, or none."""
    found = VARIABLE.search(path or "")
    if found is None:
        return None
    name = found[1] or found[2]
    what = "empty" if name in os.environ else "not set"
    return f"the environment variable {name} is {what}; set it, or write the path without it"


class Section(BaseModel):
    """A table of the recipe: frozen, no unknown keys, no silent conversion of strings to numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    at_most: ClassVar[tuple[str, str] | None] = None
    """Two keys of which the first may not be above the second."""
    paths: ClassVar[tuple[str, ...]] = ()
    """Keys that hold paths, in which no variable may be left."""
    below: ClassVar[tuple[str, str] | None] = None
    """Two keys of which the first must be below the second."""

    def broken_rules(self) -> Iterable[Broken]:
        """Rules between keys that do not hold here; each names the key to blame, what is wrong and the remedy."""
        return ()

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        broken = [*self._out_of_order(), *self._variables(), *self.broken_rules()]
        if broken:
            text = "; ".join(f"{'.'.join(map(str, path)) or 'recipe'}: {message}" for path, message in broken)
            raise PydanticCustomError("rules", "{text}", {"text": text, "broken": broken})
        return self

    def _variables(self) -> Iterator[Broken]:
        for key in self.paths:
            if fault := variable_fault(getattr(self, key)):
                yield Broken((key,), fault)

    def _out_of_order(self) -> Iterator[Broken]:
        rules = ((self.at_most, le, "above", ""), (self.below, lt, "not below", ", so nothing would be left"))
        for pair, holds, words, consequence in rules:
            if pair and not holds(low := getattr(self, pair[0]), high := getattr(self, pair[1])):
                remedy = f"lower {pair[0]} or raise {pair[1]}"
                yield Broken((pair[0],), f"{low:g} is {words} {pair[1]} {high:g}{consequence}; {remedy}")


def repeated(names: list[str]) -> Iterator[tuple[int, str]]:
    """Index and name of every name that stood there once before."""
    for index, name in enumerate(names):
        if names[:index].count(name) == 1:
            yield index, name
