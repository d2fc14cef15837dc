"""Named protocols: everything that a published number was made with, so that ours is made with the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from openklear.errors import UsageError
from openklear.evaluation.catalogue.definition import DATA, Named
from openklear.recipe.load import read_toml

NAMES = {"every": "samples"}
"""What users call a field that has another name here."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """How completions are drawn, how many, and how long they may be."""

    name: str
    source: str
    temperature: float
    top_p: float
    top_k: int = 0
    min_p: float = 0.0
    max_completion_tokens: int | None = None
    """None: each benchmark's own."""
    budgets: Mapping[str, int] = field(default_factory=dict)
    """The same of one benchmark."""
    samples: Mapping[str, int] = field(default_factory=dict)
    """k of a benchmark; the others have their own."""
    every: int | None = None
    """k of all."""
    yarn: float | None = None
    """By which factor the model's positions are stretched."""
    judge: str = "openklear"
    """Whose harness runs programs."""

    def samples_of(self, named: Named) -> int:
        """k of a benchmark."""
        return self.every or self.samples.get(_stem(named)) or named.definition.samples

    def budget_of(self, named: Named) -> int:
        """Tokens that a completion of it may have."""
        own = self.max_completion_tokens or named.definition.max_completion_tokens
        return self.budgets.get(_stem(named), own)


def protocols() -> dict[str, Protocol]:
    """All of them."""
    return {name: Protocol(name, **table) for name, table in read_toml(DATA / "protocols.toml").items()}


def protocol_named(name: str, changes: Mapping[str, Any]) -> Protocol:
    """The protocol, with what is given (not None) in place of its own; its name says so then.

    UsageError, with the nearest name, where there is none.
    """
    known = protocols()
    if name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UsageError(f"{name}: no such protocol; {hint}they are {', '.join(known)}")
    found = known[name]
    given = {key: value for key, value in changes.items() if value is not None}
    budgets = {} if "max_completion_tokens" in given else found.budgets
    changed = replace(found, budgets=budgets, **given)
    if changed.temperature == 0.0 and (changed.every or 1) > 1:
        raise UsageError(f"temperature 0 is greedy: {changed.every} completions of a problem would be alike; ask for 1")
    if changed.temperature == 0.0:
        changed = replace(changed, every=1)
    named = [NAMES.get(key, key) for key, value in given.items() if value != getattr(found, key)]
    return replace(changed, name=f"{name}, changed: {', '.join(named)}") if named else changed


def _stem(named: Named) -> str:
    return named.name.partition(":")[0]
