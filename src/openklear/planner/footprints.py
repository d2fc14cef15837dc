"""What each stage of a recipe holds in memory, part by part, with the sizes that it would have on a machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from openklear.planner.amounts import Amounts
from openklear.planner.auto import Sizes, ranks
from openklear.planner.machines import Machine
from openklear.planner.memory import (
    LIBRARIES,
    WIDTH,
    Footprint,
    activation_bytes,
    adapter_parameters,
    cached_token_bytes,
    head_bytes,
    optimizer_bytes,
    probability_bytes,
)
from openklear.planner.shape import ModelShape
from openklear.recipe.lengths import max_prompt_tokens
from openklear.recipe.schema import Phase, Recipe, Sft


def footprints(
    recipe: Recipe, shape: ModelShape, by_stage: Mapping[str, Sizes], machine: Machine, amounts: Amounts
) -> Iterator[tuple[str, Footprint]]:
    """(stage, what it holds) of every stage with a model; the evaluations are one, "evaluate"."""
    if recipe.sft is not None:
        settings, sizes = recipe.sft, by_stage["sft"]
        longest = min(settings.max_tokens, amounts.demonstrations.longest or settings.max_tokens)
        tokens = min(max(sizes.microbatch_tokens, longest), max(settings.batch_tokens, longest))
        validated = _sampled(recipe, shape, sizes, amounts.validated(recipe, None)[0], _evaluated(recipe, shape))
        yield "sft", _trained(recipe, shape, sizes, machine, settings, tokens, longest, validated)
    for phase in recipe.rl.phase if recipe.rl is not None else ():
        sizes = by_stage[f"rl-{phase.name}"]
        row = phase.max_prompt_tokens + phase.max_completion_tokens
        update = row * phase.problems_per_update * phase.group_size
        tokens = min(max(sizes.microbatch_tokens, row), update)
        rollouts = phase.problems_per_iteration * phase.group_size
        sampled = _sampled(recipe, shape, sizes, rollouts, min(row, shape.positions or row))
        yield f"rl-{phase.name}", _trained(recipe, shape, sizes, machine, phase, tokens, row, sampled)
    sizes = by_stage["evaluate"]
    sampled = _sampled(recipe, shape, sizes, amounts.completions or sizes.slots, _evaluated(recipe, shape))
    weights = shape.parameters * WIDTH[sizes.dtype]
    kept = {"libraries": LIBRARIES[machine.kind], "weights": weights, **_engine(recipe, shape, sizes)}
    yield "evaluate", Footprint(kept, {}, sampled)


def _trained(
    recipe: Recipe,
    shape: ModelShape,
    sizes: Sizes,
    machine: Machine,
    stage: Sft | Phase,
    tokens: int,
    longest: int,
    sampled: dict[str, int],
) -> Footprint:
    """A stage that trains: `tokens` of its largest micro-batch, `longest` row."""
    width = WIDTH[sizes.dtype]
    adapters = adapter_parameters(shape, recipe)
    trained = shape.parameters if adapters is None else adapters
    number = ranks(recipe)
    states = {
        "weights": (shape.parameters * width + (0 if adapters is None else adapters * width)) // number,
        "optimizer": optimizer_bytes(shape, stage.optimizer, width, adapters=adapters) // number,
    }
    engine = _engine(recipe, shape, sizes)
    if recipe.cluster is not None:  # a sampler has a model of its own, whatever serves it
        engine["sampler"] = engine.get("sampler", 0) + shape.parameters * width
    activations = activation_bytes(shape, tokens, width, checkpointing=sizes.activation_checkpointing)
    head = head_bytes(shape, tokens, machine.kind, trained=adapters is None)
    moving = 4 * trained if width < 4 else 0  # fp32 gradients, while the weights move and activations are gone
    moving //= number
    held = trained * width // number
    training = {"gradients": held, "activations": activations, "head": max(head, moving - activations)}
    if sizes.dtype == "float32" and machine.kind == "cpu":
        again = sizes.activation_checkpointing
        training["attention"] = probability_bytes(shape, tokens, longest, checkpointing=again)
    libraries = {"libraries": LIBRARIES[machine.kind]}
    if recipe.cluster is not None and not recipe.cluster.colocated:  # two devices: the fuller one counts
        return Footprint(libraries, states | training, engine | sampled)
    return Footprint(libraries | states | engine, training, sampled)


def _engine(recipe: Recipe, shape: ModelShape, sizes: Sizes) -> dict[str, int]:
    """What an engine in a process of its own keeps all the while: weights, its cache, and its libraries."""
    if recipe.engine.type != "vllm":
        return {}
    weights = shape.parameters * WIDTH[sizes.dtype] // recipe.engine.tensor_parallel
    return {"sampler": weights + int(recipe.engine.cache_gb * 2**30) + VLLM_BYTES}


VLLM_BYTES = 1_500_000_000
"""Of vLLM's process besides weights and cache, about: not measured on a GPU."""


def _sampled(recipe: Recipe, shape: ModelShape, sizes: Sizes, requests: int, longest: int) -> dict[str, int]:
    """The sampler's fused or packed copies of the weights, keys and values at their fullest, logits of a step."""
    if recipe.engine.type != "local" or not requests:
        return {}
    slots = min(sizes.slots, requests)
    held = min(slots * longest, max(sizes.cache_tokens, longest))
    return {
        "copies": shape.parameters * WIDTH[sizes.dtype],
        "cache": held * cached_token_bytes(shape, WIDTH[sizes.dtype]),
        "logits": LOGIT_COPIES * slots * shape.vocabulary * 4,
    }


LOGIT_COPIES = 3
"""Of a step's logits while tokens are drawn."""


def _evaluated(recipe: Recipe, shape: ModelShape) -> int:
    longest = max_prompt_tokens(recipe) + recipe.evaluation.max_completion_tokens
    return min(longest, shape.positions or longest)
