"""What a recipe's "auto" stands for on this machine, found once, when a stage begins."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from openklear.durable.files import stage_record
from openklear.models.loading import LoadedModel
from openklear.models.numerics import weights_type
from openklear.recipe.schema import Recipe

KEYS = {
    "microbatch_tokens": "microbatch_tokens",
    "activation_checkpointing": "activation_checkpointing",
    "slots": "engine.slots",
    "cache_tokens": "engine.cache_tokens",
    "dtype": "model.dtype",
}
"""Field of `FixedSizes` -> the recipe's key."""


@dataclass(frozen=True, slots=True)
class FixedSizes:
    """What changes speed and memory alone."""

    microbatch_tokens: int = 8192
    activation_checkpointing: bool = False
    slots: int = 64
    cache_tokens: int | None = None
    dtype: str = "float32"


def resolved(recipe: Recipe, loaded: LoadedModel) -> FixedSizes:
    """The recipe's own sizes, and for each that is "auto" the one found for this model on this machine."""
    dtype = str(loaded.model.dtype).removeprefix("torch.")
    found = asdict(FixedSizes(dtype=dtype))
    engine = recipe.engine
    written = {
        "microbatch_tokens": recipe.microbatch_tokens,
        "activation_checkpointing": recipe.activation_checkpointing,
        "slots": getattr(engine, "slots", "auto"),
        "cache_tokens": getattr(engine, "cache_tokens", "auto"),
    }
    found |= {name: value for name, value in written.items() if value != "auto"}
    return FixedSizes(**found)


def by_key(sizes: FixedSizes) -> dict[str, Any]:
    """Dotted key of the recipe -> value: what is recorded with a stage's attempt."""
    return {KEYS[name]: value for name, value in asdict(sizes).items()}


def stage_dtype(recipe: Recipe, directory: Path) -> str:
    """The type of a stage's weights: what the recipe says; for "auto" the one that the stage in `directory` began with.

    On another machine "auto" may mean another type, and a stage half done in one cannot go on in the other unharmed.
    """
    if recipe.dtype != "auto":
        return recipe.dtype
    for attempt in (stage_record(directory) or {}).get("attempts", ()):
        began = attempt.get("settings", {}).get("model.dtype")
        if began in ("float32", "bfloat16"):
            return str(began)
    return weights_type("auto")
