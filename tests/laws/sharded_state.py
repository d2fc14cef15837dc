"""What a rank of tests/laws/test_sharded_state.py does: train, write, read what others wrote, go on, hand on."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from tests.laws.ranks import COUNT
from tests.laws.sharded import whole_weights
from tests.training.step_cases import rollouts, settings, tiny_model

from openklear.models.tiny import make_tiny
from openklear.recipe.optimizers import AdamW, Muon
from openklear.training.learner import LocalLearner
from openklear.training.optimizer import build_optimizer
from openklear.training.sharded_trainee import ShardedTrainee
from openklear.training.sharding import shard

OPTIMIZERS = {"adamw": AdamW(), "muon": Muon()}
WRITERS = 2
STEPS = 2


def trainee_of(settings_of_optimizer, group, seed=0):
    loaded = make_tiny(16, 2, 2, 64, seed)
    shard(loaded.model, group)
    return ShardedTrainee(loaded, build_optimizer(loaded.model, settings_of_optimizer), group)


def go_on(trainee, rank, world, group):
    """A few steps on this rank's share; the losses."""
    learner = LocalLearner(trainee.loaded, trainee.optimizer, settings(max_grad_norm=1.0), 64, group)
    mine = [s for i, s in enumerate(rollouts(tiny_model(), COUNT)) if i % world == rank]
    return [learner.update(mine, 0.01)[0]["loss"] for _ in range(STEPS)]


def work(task: str, rank: int, world: int, directory: Path) -> None:
    torch.set_num_threads(1)
    place = f"file://{directory}/rendezvous-{task}-{world}"
    dist.init_process_group("gloo", init_method=place, rank=rank, world_size=world)
    group = dist.group.WORLD
    found = {}
    for name, optimizer in OPTIMIZERS.items():
        trainee = trainee_of(optimizer, group, seed=0 if task == "write" else 7)
        if task == "write":
            go_on(trainee, rank, world, group)
            trainee.write(directory / name)
            found[name, "written"] = whole_weights(trainee.loaded.model)
            trainee.write_model(directory / f"{name}-model")
        else:
            trainee.read(directory / name)
            found[name, "read"] = whole_weights(trainee.loaded.model)
        found[name, "losses"] = go_on(trainee, rank, world, group)
        found[name, "after"] = whole_weights(trainee.loaded.model)
    torch.save(found, directory / f"{task}-{world}-{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
