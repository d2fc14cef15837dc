"""What a recipe's "auto" stands for on this machine, found once, when a stage begins."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from openklear.durable.files import stage_record
from openklear.models.loading import LoadedModel
from openklear.models.numerics import device, weights_type
from openklear.models.recompute import layers
from openklear.planner.auto import Sizes, chosen
from openklear.planner.machines import Machine, gpu_called, this_cpu
from openklear.planner.shape import ModelShape, shape_of
from openklear.recipe.schema import Recipe

KEYS = {
    "microbatch_tokens": "microbatch_tokens",
    "activation_checkpointing": "activation_checkpointing",
    "slots": "engine.slots",
    "cache_tokens": "engine.cache_tokens",
    "dtype": "model.dtype",
}
"""Field of `Sizes` -> the recipe's key."""


@dataclass(frozen=True, slots=True)
class Computing:
    """Who computes: this process, or the trainers and samplers of a cluster."""

    machine: Machine
    device: str
    """As torch calls it there."""
    dtype: str
    """Of weights whose type is "auto"."""


def here() -> Computing:
    """What this process computes on."""
    return Computing(machine(), str(device()), weights_type("auto"))


def resolved(
    recipe: Recipe, loaded: LoadedModel, longest: int | None = None, computing: Computing | None = None
) -> Sizes:
    """The recipe's own sizes, and for each that is "auto" the one found for this model on who computes (None: `here`).

    `longest`: tokens of the longest row that the stage trains; None: what the recipe allows. The same every time on the
    same machine: it goes by the whole memory, never by what is free. The type is that of the weights as they are loaded
    (`stage_dtype`).
    """
    whose = machine() if computing is None else computing.machine
    sizes = chosen(recipe, shape_of_loaded(loaded), whose, longest=longest)
    return replace(sizes, dtype=str(loaded.model.dtype).removeprefix("torch."))


def shape_of_loaded(loaded: LoadedModel) -> ModelShape:
    """The sizes that the plan goes by; those that a configuration does not name as others do are read off the model."""
    model = loaded.model
    rows, width = model.get_input_embeddings().weight.shape
    known = {
        "num_attention_heads": 1,
        "hidden_size": width,
        "vocab_size": rows,
        "num_hidden_layers": len(layers(model)),
    }
    config = model.config.get_text_config().to_dict()
    said = {name: value for name, value in config.items() if name not in known or isinstance(value, int)}
    return shape_of({**known, **said}, sum(parameter.numel() for parameter in model.parameters()))


def machine() -> Machine:
    """What the process computes on."""
    here = device()
    if here.type != "cuda":
        return this_cpu()
    return gpu_called(torch.cuda.get_device_name(here), torch.cuda.get_device_properties(here).total_memory)


def found(recipe: Recipe, sizes: Sizes, computing: Computing) -> dict[str, Any]:
    """What the recipe's "auto" stands for: dotted key -> value, to be said and recorded with the attempt."""
    every = {KEYS[name]: value for name, value in asdict(sizes).items()} | {"device": computing.device}
    return {key: value for key, value in every.items() if _written(recipe, key) == "auto"}


def _written(recipe: Recipe, key: str) -> Any:
    """The recipe's value; None where it has no such key."""
    value: Any = recipe
    for word in key.split("."):
        value = getattr(value, word, None)
    return value


def stage_dtype(recipe: Recipe, directory: Path, auto: str | None = None) -> str:
    """The type of a stage's weights: what the recipe says; for "auto" the one that the stage in `directory` began with.

    `auto`: of one that begins now; None: as on this machine. On another machine "auto" may mean another type, and a
    stage half done in one cannot go on in the other unharmed.
    """
    if recipe.dtype != "auto":
        return recipe.dtype
    for attempt in (stage_record(directory) or {}).get("attempts", ()):
        began = attempt.get("settings", {}).get("model.dtype")
        if began in ("float32", "bfloat16"):
            return str(began)
    return weights_type("auto") if auto is None else auto
