"""What a rank of tests/laws/test_ranks.py does, in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from tests.training.step_cases import PAIRS, gradient, rollouts, settings, tiny_model

from openklear.training.step import policy_gradient

COUNT = 12
SHARES = {
    "even": ([0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]),
    "uneven": ([11, 3], [0, 1, 2, 4, 5, 6, 7, 8, 9, 10]),
}


def cases():
    """Every pair of objective and aggregation in both precisions; the released aggregation for the control."""
    pairs = [*PAIRS, (PAIRS[0][0], "klear_released")]
    return [(dtype, share, *pair) for dtype in (torch.float32, torch.float64) for share in SHARES for pair in pairs]


def name_of(dtype, share, objective, aggregation):
    return f"{dtype}-{share}-{objective.type}-{aggregation}"


def work(rank: int, directory: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{directory}/rendezvous", rank=rank, world_size=2)
    models = {dtype: tiny_model(dtype=dtype) for dtype in (torch.float32, torch.float64)}
    sequences = rollouts(models[torch.float32], COUNT)
    found = {}
    for dtype, share, objective, aggregation in cases():
        model, mine = models[dtype], SHARES[share][rank]
        model.zero_grad()
        microbatches = [[0], list(range(1, len(mine)))]
        metrics = policy_gradient(
            model,
            [sequences[i] for i in mine],
            microbatches,
            settings(objective, aggregation),
            group=dist.group.WORLD,
        )
        flat = torch.cat([p.grad.flatten() for p in model.parameters()])
        found[name_of(dtype, share, objective, aggregation)] = (flat, metrics)
    torch.save(found, directory / f"rank-{rank}.pt")
    dist.destroy_process_group()


def alone():
    """The same steps in one process and one micro-batch."""
    models = {dtype: tiny_model(dtype=dtype) for dtype in (torch.float32, torch.float64)}
    sequences = rollouts(models[torch.float32], COUNT)
    return {
        name_of(*case): gradient(models[case[0]], sequences, [list(range(COUNT))], case[2], case[3]) for case in cases()
    }


if __name__ == "__main__":
    work(int(sys.argv[1]), Path(sys.argv[2]))
