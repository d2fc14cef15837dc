"""Packages that only some recipes need."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from openklear.errors import UsageError
from openklear.recipe.curation import RayCluster
from openklear.recipe.optimizers import AdamW8bit
from openklear.recipe.schema import PretrainedModel, Recipe

EXTRAS = {
    "gguf": ("gguf", "openklear[gguf]"),
    "accelerate": ("accelerate", "openklear[gguf]"),
    "py3langid": ("py3langid", "openklear[language]"),
    "ray": ("ray", "openklear[cluster]"),
    "tensorboard": ("tensorboard", "openklear[tensorboard]"),
    "wandb": ("wandb", "openklear[wandb]"),
    "peft": ("peft", "openklear[lora]"),
    "torchao": ("torchao", "openklear[torchao]"),
    "trackio": ("trackio", "openklear[trackio]"),
}
"""What a recipe may need -> the module, and what pip installs for it."""


def missing(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """(key, fault) of the extras that the recipe needs and this Python lacks."""
    needed: dict[str, str] = {}
    if isinstance(recipe.model, PretrainedModel) and recipe.model.gguf_file is not None:
        needed |= dict.fromkeys(("gguf", "accelerate"), "model.gguf_file")
    if recipe.data.languages:
        needed["py3langid"] = "data.languages"
    if isinstance(recipe.data.engine, RayCluster):
        needed["ray"] = "data.engine"
    if recipe.cluster is not None:
        needed["ray"] = "cluster"
    if recipe.lora is not None:
        needed["peft"] = "lora"
    for key, optimizer in recipe.optimizers.items():
        if isinstance(optimizer, AdamW8bit):
            needed["torchao"] = f"{key}.optimizer"
    needed |= dict.fromkeys(recipe.track.to, "track.to")
    lacking: dict[str, list[str]] = {}
    for name, key in needed.items():
        if find_spec(EXTRAS[name][0]) is None:
            lacking.setdefault(key, []).append(name)
    for key, names in lacking.items():
        packages = f"package{'s' if len(names) > 1 else ''} {', '.join(names)}"
        yield key, f"{key}: needs the {packages}; run pip install '{EXTRAS[names[0]][1]}'"


def require_for_training(recipe: Recipe) -> None:
    """UsageError where the packages that train the recipe's model are not there, which no stage would find out soon."""
    for key, fault in missing(recipe):
        if key in ("lora", "cluster") or key.endswith(".optimizer"):
            raise UsageError(fault)
