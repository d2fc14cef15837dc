"""What a rank of tests/laws/test_sharded.py does, in a process of its own: a model in parts on 1, 2 or 4 ranks."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from tests.laws.ranks import COUNT, STEPS, learners, step
from tests.training.step_cases import PAIRS, rollouts, settings, tiny_model
from torch.distributed.tensor import DTensor

from openklear.errors import NonFinite
from openklear.models.recompute import recompute_layers
from openklear.training.sharding import shard
from openklear.training.step import policy_gradient, reference_logprobs, supervised_gradient

WORLDS = (1, 2, 4)
DEALT = {
    1: [list(range(COUNT))],
    2: [[11, 3], [0, 1, 2, 4, 5, 6, 7, 8, 9, 10]],
    4: [[11], [3, 0], [1, 2, 4], [5, 6, 7, 8, 9, 10]],
}
"""World size -> whose sequences; shares as uneven as they come."""
SUPERVISED = "supervised"
OF_OBJECTIVE = tuple({objective.type: (objective, aggregation) for objective, aggregation in PAIRS}.values())
"""Each objective once."""
CASES = {1: PAIRS[:1], 2: PAIRS, 4: OF_OBJECTIVE}
"""World size -> objectives and aggregations."""


def microbatches(count: int):
    """One with the first sequence, then three at a time: ranks with more sequences make more passes."""
    return [[0], *([i, i + 1, i + 2][: count - i] for i in range(1, count, 3))]


def case_name(objective, aggregation):
    return f"{objective.type}-{aggregation}"


def sequences_of(advantage=None):
    """The step's rollouts; with `advantage`, those of even index have that one and none is right."""
    found = rollouts(tiny_model(), COUNT)
    if advantage is None:
        return found
    return [replace(s, advantage=advantage if i % 2 == 0 else s.advantage, correct=False) for i, s in enumerate(found)]


def whole_gradient(model):
    """The gradient of all parameters end to end, gathered from all ranks."""
    parts = []
    for parameter in model.parameters():
        gradient = parameter.grad
        assert gradient is not None
        parts.append((gradient.full_tensor() if isinstance(gradient, DTensor) else gradient).flatten())
    return torch.cat(parts)


def whole_weights(model):
    parts = [p.full_tensor() if isinstance(p, DTensor) else p for p in model.parameters()]
    return torch.cat([part.detach().flatten() for part in parts])


def sharded(group, dtype=torch.float32, *, recomputing=False):
    model = tiny_model(dtype=dtype)
    if recomputing:
        recompute_layers(model)
    shard(model, group)
    return model


def trained(kind, mine, group, sequences):
    """Weights and gradient norms of a few steps, in float64."""
    model = sharded(group, torch.float64)
    learner = learners(model, group)[kind]
    norms = [step(learner, [sequences[i] for i in mine])["grad_norm"] for _ in range(STEPS)]
    return whole_weights(model), norms


def refused(group, rank, mine, sequences):
    """What a rank says of a step whose loss is not finite on the last rank alone."""
    model = sharded(group)
    before = whole_weights(model)
    spoilt = [replace(sequences[i], old_logprobs=sequences[i].old_logprobs * math.nan) for i in mine]
    chosen = spoilt if rank == dist.get_world_size(group) - 1 else [sequences[i] for i in mine]
    try:
        learners(model, group)["rl"].update(chosen, 0.01)
    except NonFinite as error:
        return str(error), bool(torch.equal(before, whole_weights(model)))
    return "", False


def work(rank: int, world: int, directory: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{directory}/rendezvous", rank=rank, world_size=world)
    group = dist.group.WORLD
    mine = DEALT[world][rank]
    split = microbatches(len(mine))
    every, quiet = sequences_of(), sequences_of(0.0)
    dealt = [every[i] for i in mine]
    found = {}
    model = sharded(group)
    for objective, aggregation in CASES[world]:
        model.zero_grad()
        metrics = policy_gradient(model, dealt, split, settings(objective, aggregation), group=group)
        found[case_name(objective, aggregation)] = (whole_gradient(model), metrics)
    for name, one in {"recomputing": sharded(group, recomputing=True), SUPERVISED: model}.items():
        one.zero_grad()
        metrics = supervised_gradient(one, dealt, split, group=group)
        found[name] = (whole_gradient(one), metrics)
    model.zero_grad()
    metrics = policy_gradient(model, [quiet[i] for i in mine], split, settings(), group=group)
    found["idle"] = (whole_gradient(model), metrics)
    found["old"] = reference_logprobs(model, dealt, split, 1.0, entropy=True, group=group)
    few = dealt[:1] if rank == world - 1 else []  # a short last batch: the others have nothing
    model.zero_grad()
    metrics = policy_gradient(model, few, [[0]] * len(few), settings(), group=group)
    found["few"] = (whole_gradient(model), metrics)
    for kind in ("rl", SUPERVISED):
        found["trained", kind] = trained(kind, mine, group, every)
    found["refused"] = refused(group, rank, mine, every)
    torch.save(found, directory / f"rank-{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    work(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
