"""One optimizer step over several processes: counts before the first micro-batch, sums after the last.

Every rank holds its share of the step's sequences. Denominators are those of the whole step, so gradients are *added*
over ranks: a mean over ranks would weigh their tokens by how evenly the step was dealt. Without a process group
everything here returns what it was given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from openklear.errors import NonFinite, OpenKlearError, RunError
from openklear.models.numerics import device
from openklear.objectives.aggregate import Counts

Group = dist.ProcessGroup
Value = TypeVar("Value")
Number = TypeVar("Number", int, float)


def counts_of_all(counts: Counts, group: Group | None) -> Counts:
    """The step's counts from those of every rank."""
    return Counts.together(_gathered(counts, group))


def total_of_all(number: Number, group: Group | None) -> Number:
    """The sum of one number over ranks."""
    return sum(_gathered(number, group), type(number)())


def sums_of_all(sums: Mapping[str, Tensor] | None, group: Group | None) -> dict[str, Tensor]:
    """Sums of every rank together; all ranks hold the same names, but those that have none at all."""
    summed = dict(sums or {})
    if group is not None:
        forms = _gathered({name: (tuple(tensor.shape), tensor.dtype) for name, tensor in summed.items()}, group)
        for name, (shape, dtype) in max(forms, key=len).items():
            summed.setdefault(name, torch.zeros(shape, dtype=dtype, device=device()))
        for name in sorted(summed):
            summed[name] = summed[name].clone()
            dist.all_reduce(summed[name], group=group)
    return summed


@contextmanager
def failing_together(group: Group | None) -> Iterator[None]:
    """An error of ours that one rank raises in the block, all raise at its end: none is left waiting for the others."""
    said: tuple[type[OpenKlearError], str] | None = None
    try:
        yield
    except (NonFinite, RunError) as error:
        if group is None:
            raise
        said = type(error), str(error)
    for failed in [] if group is None else _gathered(said, group):
        if failed is not None:
            kind, text = failed
            raise kind(text)


def add_gradients(parameters: Iterable[torch.nn.Parameter], group: Group | None) -> None:
    """Replace each `.grad` by its sum over ranks; a rank without one has zeros."""
    if group is None:
        return
    for parameter in parameters:
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            dist.all_reduce(parameter.grad, group=group)


def _gathered(value: Value, group: Group | None) -> list[Value]:
    if group is None:
        return [value]
    found: list[Value | None] = [None] * dist.get_world_size(group)
    dist.all_gather_object(found, value, group=group)
    return [one for one in found if one is not None]
