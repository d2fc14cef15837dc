"""A model whose weights, gradients and moments lie in parts on several ranks (FSDP2), and passes that all ranks share.

Each layer's weights come together for its forward and its backward pass alone; the rest (embeddings, last norm, head)
for the whole of both. Gradients are *added* over ranks, as everywhere in `training.parallel`: the default of FSDP2 is a
mean, and both of its switches act on a module's own weights and not on those below it, so they are set on every one.

Whoever gathers weights waits for all ranks. So every rank makes as many passes as the one that has most: `passes`
gives None where a rank has nothing left, and `spare_pass` then computes two tokens that count for nothing. For the same
reason a loss that is not finite is told at the end of the step, once all passes are made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import MethodType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)

from openklear.errors import ModelError
from openklear.models.attention import can_pack
from openklear.models.fused import fuse
from openklear.models.logprobs import sequence_logprobs, verify_head
from openklear.models.recompute import layers
from openklear.training.layout import Microbatch
from openklear.training.parallel import Group

METHOD = "openklear_logprobs"
"""Of a sharded model: `sequence_logprobs` inside the hooks that gather the weights of embeddings and head."""


def shard(model: Any, group: Group, *, compute_dtype: torch.dtype | None = None) -> None:
    """Keep this rank's part of the weights alone; all ranks of the group call it, with the same weights.

    The optimizer is built afterwards. `compute_dtype`: in which passes compute (bfloat16); weights, gradients and their
    sums stay in the model's own. Activation checkpointing (`models.recompute`) comes before. ModelError where the
    model's layers cannot be told from the rest.
    """
    found = layers(model)
    if not found:
        raise ModelError(f"{type(model).__name__} does not mark its layers, so its weights cannot be sharded by layer")
    _probe(model)
    mesh = DeviceMesh.from_group(group, model.device.type)
    policy = MixedPrecisionPolicy(param_dtype=compute_dtype, reduce_dtype=torch.float32 if compute_dtype else None)
    for layer in found:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    setattr(model, METHOD, MethodType(sequence_logprobs, model))
    register_fsdp_forward_method(model, METHOD)


def is_sharded(model: Any) -> bool:
    """Whether `shard` was called on it."""
    return isinstance(model, FSDPModule)


def logprobs_of(model: Any, ids: Tensor, loss_mask: Tensor, **settings: Any) -> tuple[Tensor, Tensor]:
    """`sequence_logprobs`, of a sharded model with its weights gathered."""
    if not is_sharded(model):
        return sequence_logprobs(model, ids, loss_mask, **settings)
    found: tuple[Tensor, Tensor] = getattr(model, METHOD)(ids, loss_mask, **settings)
    if not torch.is_grad_enabled():
        model.reshard()  # a forward pass alone leaves the root's weights whole, where nobody looks for its gradient
    return found


def passes(
    model: Any, microbatches: Sequence[Microbatch], idle: Sequence[bool], group: Group | None
) -> Iterator[tuple[int, Microbatch | None, bool]]:
    """(number, micro-batch, whether it is idle: has no backward pass) of each pass of a step.

    Of a whole model the micro-batches as they are. Of a sharded one idle ones come last, and None stands for a pass
    that other ranks make.
    """
    if group is None or not is_sharded(model):
        yield from zip(range(len(microbatches)), microbatches, idle, strict=True)
        return
    mine: dict[bool, list[int]] = {False: [], True: []}
    for number, kind in enumerate(idle):
        mine[kind].append(number)
    most = _most([len(numbers) for numbers in mine.values()], group)
    for (kind, numbers), rounds in zip(mine.items(), most, strict=True):
        for number in numbers:
            yield number, microbatches[number], kind
        for _ in range(rounds - len(numbers)):
            yield -1, None, kind


def spare_pass(model: Any, *, idle: bool) -> None:
    """A pass over two tokens whose gradient is zero."""
    ids = torch.zeros(1, 2, dtype=torch.int64, device=model.device)
    mask = torch.tensor([[False, True]], device=model.device)
    with torch.set_grad_enabled(not idle):
        logprobs, _ = logprobs_of(model, ids, mask, entropy=False)
    if not idle:
        (logprobs * 0.0).sum().backward()  # type: ignore[no-untyped-call]


def _most(counts: Sequence[int], group: Group) -> list[int]:
    """The greatest of all ranks' counts, each by its place."""
    found: list[Sequence[int]] = [()] * dist.get_world_size(group)
    dist.all_gather_object(found, counts, group=group)
    return list(map(max, zip(*found, strict=True)))


def _probe(model: Any) -> None:
    """What is found out by trying a few tokens, while the weights are whole."""
    verify_head(model)
    can_pack(model)
    fuse(model)
