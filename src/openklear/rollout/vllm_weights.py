"""A model's weights in the memory that a vLLM process shares with this one."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from typing import Any

import torch

from openklear.rollout.vllm_worker import digest

ALIGNED = 64
"""Bytes at a multiple of which every tensor begins."""


@dataclass(frozen=True, slots=True)
class Written:
    """What lies there."""

    size: int
    hash: str
    """Of all bytes."""
    tensors: tuple[tuple[str, str, tuple[int, ...], int], ...]
    """(name, dtype, shape, offset) of each; tied ones stand there once."""


def write_weights(model: Any, memory: int) -> Written:
    """Write the parameters as they are now into the open file `memory`, whose old content goes."""
    rows, place = [], 0
    parameters = [(name, one.detach()) for name, one in model.named_parameters()]
    for name, one in parameters:
        rows.append((name, str(one.dtype).removeprefix("torch."), tuple(one.shape), place))
        place += -(-one.nbytes // ALIGNED) * ALIGNED
    os.ftruncate(memory, 0)
    os.ftruncate(memory, place)
    with mmap.mmap(memory, place) as content:
        for (_, one), (_, _, shape, offset) in zip(parameters, rows, strict=True):
            view = torch.frombuffer(content, dtype=one.dtype, count=one.numel(), offset=offset)
            view.view(shape).copy_(one)
            del view  # the memory can only be closed once nothing points into it
        found = digest(content)
    return Written(place, found, tuple(rows))
