"""What a GPU holds where many share a model: a trainer its part of the states, an engine what its cache leaves."""

from __future__ import annotations

from openklear.planner.auto import usable
from openklear.planner.memory import (
    LIBRARIES,
    WIDTH,
    activation_bytes,
    cached_token_bytes,
    head_bytes,
    optimizer_bytes,
)
from openklear.recipe.optimizers import Optimizer
from openklear.simulation.fleet import Placement
from openklear.simulation.training import TrainingWork


def states_bytes(work: TrainingWork, optimizer: Optimizer, ranks: int) -> int:
    """Weights, gradients, masters and moments of one rank's share."""
    width = WIDTH[work.dtype]
    return (2 * work.shape.parameters * width + optimizer_bytes(work.shape, optimizer, width)) // ranks


def trainer_bytes(work: TrainingWork, optimizer: Optimizer, ranks: int, longest: int) -> int:
    """All that a rank holds while it trains: its share, and a micro-batch of the longest row."""
    tokens = max(work.microbatch_tokens, longest)
    kind = work.machine.kind
    training = activation_bytes(work.shape, tokens, WIDTH[work.dtype], checkpointing=work.checkpointing)
    training += head_bytes(work.shape, tokens, kind)
    return states_bytes(work, optimizer, ranks) + training + LIBRARIES[kind]


def cache_tokens(work: TrainingWork, placement: Placement, beside: int = 0) -> int:
    """Tokens that the cache of one engine holds, beside its weights and `beside` bytes of each of its GPUs."""
    width = WIDTH[work.dtype]
    room = usable(work.machine) - LIBRARIES[work.machine.kind] - beside
    room -= work.shape.parameters * width // placement.tensor_parallel
    return placement.tensor_parallel * max(room, 0) // cached_token_bytes(work.shape, width)
