"""From the recipe's [lora] to the model that a stage trains."""

from __future__ import annotations

from openklear import progress
from openklear.models.loading import LoadedModel
from openklear.models.lora import add_adapters, trained_parameters
from openklear.recipe.schema import Recipe


def adapt(loaded: LoadedModel, recipe: Recipe, stage: str) -> None:
    """Put adapters in the model and say so, if the recipe asks for them; they are fresh in every stage."""
    if recipe.lora is None:
        return
    whole = sum(p.numel() for p in loaded.model.parameters())
    seed = recipe.seed_of("sft" if stage == "sft" else "rl")
    layers = add_adapters(loaded.model, recipe.lora, seed, stage)
    experts = sum(p.numel() for p in loaded.model.parameters() if p.ndim > 2)
    frozen = f"; {experts:,} of those, of stacked experts, get no adapters" if experts else ""
    progress.say(
        f"{stage}: adapters of rank {recipe.lora.rank} in {layers} layers; {trained_parameters(loaded.model):,} "
        f"numbers are trained, and the model's {whole:,} stay until the adapters are merged at the end{frozen}"
    )
