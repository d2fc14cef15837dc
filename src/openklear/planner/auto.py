"""What the recipe's "auto" sizes stand for on a machine: the fastest that fits its memory, the same every time."""

from __future__ import annotations

from dataclasses import dataclass

from openklear.planner.machines import Machine
from openklear.planner.memory import (
    LIBRARIES,
    WIDTH,
    activation_bytes,
    adapter_parameters,
    cached_token_bytes,
    head_bytes,
    optimizer_bytes,
    token_bytes,
)
from openklear.planner.shape import ModelShape
from openklear.recipe.engine import gpus_of
from openklear.recipe.lengths import max_prompt_tokens
from openklear.recipe.schema import Recipe

CPU_TOKENS = 2048
"""Of a micro-batch on a CPU: its states stay in the cache (1.5 times as fast as 8,192 for a small model)."""
GPU_TOKENS = 65536
"""Of a micro-batch on a GPU, at most: beyond it a kernel is no faster."""
CPU_SLOTS, CPU_SLOTS_LARGE, LARGE = 256, 64, 50_000_000
"""Sequences decoded at once on a CPU; of a model with so many parameters 64 read its weights as fast as any number."""
GPU_SLOTS = 512
USABLE = {"cpu": 0.85, "gpu": 0.9}
"""Share of the memory that is planned with; the rest is for libraries, fragments and other processes."""
CACHE_SHARE = 0.25
"""Of a CPU's memory, at most for keys and values."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What changes speed and memory alone."""

    microbatch_tokens: int
    """Most tokens of a forward and backward pass; a longer row is one of its own."""
    activation_checkpointing: bool
    slots: int
    """Sequences decoded at once."""
    cache_tokens: int
    """Most tokens whose keys and values are held at once while sampling."""
    dtype: str
    """Of the weights."""


def chosen(recipe: Recipe, facts: ModelShape, machine: Machine, *, longest: int | None = None) -> Sizes:
    """What the recipe's sizes are on this machine: its own numbers, and one for every "auto".

    `longest`: tokens of the longest row that is trained, where the rows are known; else what the recipe allows.
    """
    dtype = dtype_of(recipe, machine)
    width = WIDTH[dtype]
    rows = longest or longest_trained(recipe)
    room = usable(machine) - LIBRARIES[machine.kind] - static_bytes(recipe, facts, width)
    tokens, checkpointing = _training(recipe, facts, machine, rows, room, width)
    said: int | str = getattr(recipe.engine, "slots", "auto")
    slots = _slots(facts, machine) if said == "auto" else int(said)
    said = getattr(recipe.engine, "cache_tokens", "auto")
    cache = _cache_tokens(recipe, facts, machine, slots, room, width) if said == "auto" else int(said)
    return Sizes(tokens, checkpointing, slots, cache, dtype)


def dtype_of(recipe: Recipe, machine: Machine) -> str:
    """fp32 on a CPU, bf16 with fp32 masters on a GPU, unless the recipe says which."""
    said = getattr(recipe.model, "dtype", "float32")
    if said != "auto":
        return str(said)
    return "float32" if machine.kind == "cpu" else "bfloat16"


def longest_trained(recipe: Recipe) -> int:
    """Tokens of the longest row that the recipe lets a training stage have."""
    lengths = [recipe.sft.max_tokens] if recipe.sft is not None else []
    lengths += [p.max_prompt_tokens + p.max_completion_tokens for p in (recipe.rl.phase if recipe.rl else ())]
    return max(lengths, default=1)


def longest_sampled(recipe: Recipe) -> int:
    """Tokens of the longest row that a stage of the recipe may sample."""
    lengths = [max_prompt_tokens(recipe) + recipe.evaluation.max_completion_tokens]
    lengths += [p.max_prompt_tokens + p.max_completion_tokens for p in (recipe.rl.phase if recipe.rl else ())]
    return max(lengths)


def ranks(recipe: Recipe) -> int:
    """That a model's weights, gradients and moments are shared by."""
    return 1 if recipe.cluster is None else recipe.cluster.trainers


def static_bytes(recipe: Recipe, facts: ModelShape, width: int) -> int:
    """Weights, gradients and the largest optimizer state of a training stage, of one rank. On a cluster a sampler has
    its weights and their copies beside that, or has a GPU of its own.
    """
    adapters = adapter_parameters(facts, recipe)
    trained = facts.parameters if adapters is None else adapters
    stages = [stage for stage in (recipe.sft, *(recipe.rl.phase if recipe.rl else ())) if stage is not None]
    moments = [optimizer_bytes(facts, stage.optimizer, width, adapters=adapters) for stage in stages]
    states = ((facts.parameters + trained) * width + max(moments, default=0)) // ranks(recipe)
    if recipe.cluster is None:
        return states
    sampler = facts.parameters * width + facts.parameters * width // gpus_of(recipe.engine)
    return states + sampler if recipe.cluster.colocated else max(states, sampler)


def usable(machine: Machine) -> int:
    """Bytes of its memory that are planned with."""
    return int(machine.memory_bytes * USABLE[machine.kind])


def _training(
    recipe: Recipe, facts: ModelShape, machine: Machine, rows: int, room: int, width: int
) -> tuple[int, bool]:
    """(tokens of a micro-batch, whether activations are computed again)."""
    said: int | str = recipe.microbatch_tokens
    wanted: bool | str = recipe.activation_checkpointing
    fastest = CPU_TOKENS if machine.kind == "cpu" else GPU_TOKENS
    most = fastest if said == "auto" else int(said)
    needed = rows if said == "auto" and machine.kind == "gpu" else max(most, rows)
    room -= head_bytes(facts, needed, machine.kind)
    if wanted == "auto":
        wanted = needed * token_bytes(facts, width) > room
    checkpointing = bool(wanted)
    if said == "auto":
        each = activation_bytes(facts, 1024, width, checkpointing=checkpointing)
        most = max(1024, min(most, room // each * 1024))
    return most, checkpointing


def _slots(facts: ModelShape, machine: Machine) -> int:
    if machine.kind == "gpu":
        return GPU_SLOTS
    return CPU_SLOTS if facts.parameters < LARGE else CPU_SLOTS_LARGE


def _cache_tokens(recipe: Recipe, facts: ModelShape, machine: Machine, slots: int, room: int, width: int) -> int:
    """As many as all slots may need, or as memory holds: at least one row."""
    longest = min(longest_sampled(recipe), facts.positions or longest_sampled(recipe))
    room -= 12 * slots * facts.vocabulary  # a step's logits; where the gradients were, the sampler has its own weights
    if machine.kind == "cpu":
        room = min(room, int(CACHE_SHARE * machine.memory_bytes))
    return max(longest, min(slots * longest, room // cached_token_bytes(facts, width)))
