"""Whether a recipe fits the memory of a machine, and the nearest change of it that does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from openklear.planner.amounts import Amounts
from openklear.planner.auto import Sizes, chosen, usable
from openklear.planner.footprints import footprints
from openklear.planner.machines import GPUS, Machine
from openklear.planner.memory import Footprint
from openklear.planner.shape import ModelShape
from openklear.recipe.load import with_overrides
from openklear.recipe.schema import Phase, Recipe


@dataclass(frozen=True, slots=True)
class Change:
    """Keys to set so that a recipe fits."""

    keys: tuple[str, ...]
    """As for --set."""
    peak: int
    """Bytes then."""

    def __str__(self) -> str:
        return "--set " + " --set ".join(f"'{key}'" if " " in key else key for key in self.keys)


def peak(recipe: Recipe, shape: ModelShape, machine: Machine, amounts: Amounts) -> tuple[str, Footprint]:
    """The stage that holds most, and what it holds."""
    sizes = stage_sizes(recipe, shape, machine, amounts)
    return max(footprints(recipe, shape, sizes, machine, amounts), key=lambda one: one[1].peak)


def stage_sizes(recipe: Recipe, shape: ModelShape, machine: Machine, amounts: Amounts) -> dict[str, Sizes]:
    """Stage -> its sizes. SFT's go by the longest row that was seen, RL's by the longest that the recipe allows."""
    longest: dict[str, int | None] = {"evaluate": None}
    if recipe.sft is not None:
        longest["sft"] = min(amounts.demonstrations.longest or recipe.sft.max_tokens, recipe.sft.max_tokens)
    for phase in recipe.rl.phase if recipe.rl is not None else ():
        longest[f"rl-{phase.name}"] = phase.max_prompt_tokens + phase.max_completion_tokens
    return {name: chosen(recipe, shape, machine, longest=tokens) for name, tokens in longest.items()}


def fits(recipe: Recipe, shape: ModelShape, machine: Machine, amounts: Amounts) -> bool:
    """Whether every stage fits what is planned with of the machine's memory."""
    return peak(recipe, shape, machine, amounts)[1].peak <= usable(machine)


def nearest_change(recipe: Recipe, shape: ModelShape, machine: Machine, amounts: Amounts) -> Change | None:
    """The first that fits, of those that change no result, then moments, weights and lengths; None if none does.

    Each is tried alone, then on top of those before it.
    """
    before: list[str] = []
    for keys in _candidates(recipe, machine):
        for tried in (keys, [*before, *keys]):
            changed = with_overrides(recipe, tried)
            if changed is not None and fits(changed, shape, machine, amounts):
                return Change(tuple(tried), peak(changed, shape, machine, amounts)[1].peak)
        if with_overrides(recipe, [*before, *keys]) is not None:
            before += keys
    return None


def smallest_gpu(recipe: Recipe, shape: ModelShape, amounts: Amounts) -> str | None:
    """The name of the smallest known GPU that the recipe fits as it is; None where there is none."""
    by_size = sorted(GPUS, key=lambda name: GPUS[name].memory_bytes)
    return next((name for name in by_size if fits(recipe, shape, GPUS[name], amounts)), None)


def _candidates(recipe: Recipe, machine: Machine) -> Iterator[list[str]]:
    """From what costs nothing to what changes the result: each a list of keys to set."""
    said: int | str = recipe.microbatch_tokens
    if said != "auto":
        yield ["microbatch_tokens=auto"]
    if recipe.activation_checkpointing is False:
        yield ["activation_checkpointing=auto"]
    if recipe.engine.type == "local":
        slots: int | str = recipe.engine.slots
        if recipe.engine.cache_tokens != "auto":
            yield ["engine.cache_tokens=auto"]
        for fewer in (64, 16, 4):
            if slots == "auto" or int(slots) > fewer:
                yield [f"engine.slots={fewer}"]
    if machine.kind == "gpu" and recipe.dtype == "float32" and getattr(recipe.model, "type", "") == "pretrained":
        yield ["model.dtype=bfloat16"]
    yield [f"{key}.optimizer.type=adamw8bit" for key, stage in _stages(recipe) if stage.optimizer.type == "adamw"]
    if recipe.lora is None:
        yield ["lora.rank=16"]
    for factor in (2, 4, 8, 16):
        yield list(_shorter(recipe, factor))


def _shorter(recipe: Recipe, factor: int) -> Iterator[str]:
    """Rows of a part of their length."""
    if recipe.sft is not None:
        yield f"sft.max_tokens={max(recipe.sft.max_tokens // factor, 1)}"
    for phase in recipe.rl.phase if recipe.rl is not None else ():
        yield f"rl.phase.{phase.name}.max_completion_tokens={max(phase.max_completion_tokens // factor, 1)}"
    yield f"evaluation.max_completion_tokens={max(recipe.evaluation.max_completion_tokens // factor, 1)}"


def _stages(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    if recipe.sft is not None:
        yield "sft", recipe.sft
    phases: tuple[Phase, ...] = recipe.rl.phase if recipe.rl is not None else ()
    for phase in phases:
        yield f"rl.phase.{phase.name}", phase
