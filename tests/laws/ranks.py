"""What a rank of tests/laws/test_ranks.py does, in a process of its own."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from tests.training.step_cases import PAIRS, flat_gradient, gradient, rollouts, settings, tiny_model

from openklear.errors import NonFinite
from openklear.models.loading import LoadedModel
from openklear.recipe.objectives import Gppo
from openklear.recipe.optimizers import AdamW
from openklear.recipe.schema import Phase, Sft
from openklear.training.learner import LocalLearner, SupervisedLearner
from openklear.training.optimizer import build_optimizer
from openklear.training.step import policy_gradient, supervised_gradient

COUNT = 12
WHOLE = list(range(COUNT))
SHARES = {
    "even": ([0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]),
    "uneven": ([11, 3], [0, 1, 2, 4, 5, 6, 7, 8, 9, 10]),
}
DTYPES = (torch.float32, torch.float64)
SFT = "supervised"
STEPS = 3
CLIP = 1e-3
"""Under the norm of every step, so that a norm taken over one rank's share would move the weights elsewhere."""


def cases():
    """Every pair of objective and aggregation in both precisions; the released aggregation for the control."""
    pairs = [*PAIRS, (PAIRS[0][0], "klear_released")]
    return [(dtype, share, *pair) for dtype in DTYPES for share in SHARES for pair in pairs]


def name_of(dtype, share, objective, aggregation):
    return f"{dtype}-{share}-{objective.type}-{aggregation}"


def supervised_cases():
    return [(dtype, share) for dtype in DTYPES for share in SHARES]


def learners(model, group=None):
    """One learner of each kind over `model`, by name; small micro-batches, gradients clipped."""
    loaded = LoadedModel(model, None, frozenset())
    phase = Phase(name="math", domains=("math",), objective=Gppo(), max_grad_norm=CLIP)
    return {
        "rl": LocalLearner(loaded, build_optimizer(model, AdamW()), phase, 64, group),
        SFT: SupervisedLearner(loaded, build_optimizer(model, AdamW()), Sft(max_grad_norm=CLIP), 64, group),
    }


def step(learner, sequences):
    """The metrics of one step; of RL its sequences come back too."""
    found = learner.update(sequences, 0.01)
    return found if isinstance(found, dict) else found[0]


def trained(kind, mine, group=None):
    """Weights and the gradient norms of a few steps of a learner on the sequences `mine`, in float64."""
    model = tiny_model(dtype=torch.float64)
    sequences = rollouts(tiny_model(), COUNT)
    learner = learners(model, group)[kind]
    norms = [step(learner, [sequences[i] for i in mine])["grad_norm"] for _ in range(STEPS)]
    return torch.cat([p.detach().flatten() for p in model.parameters()]), norms


def refused(kind, rank, mine, group):
    """What a rank says of a step that is not finite on rank 1 alone, and whether its weights stayed."""
    sequences = rollouts(tiny_model(), COUNT)
    model = tiny_model()
    before = [p.detach().clone() for p in model.parameters()]
    if rank == 1:
        model.model.norm.weight.data.fill_(math.nan)
    said = ""
    try:
        learners(model, group)[kind].update([sequences[i] for i in mine], 0.01)
    except NonFinite as error:
        said = str(error)
    return said, rank == 1 or all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def work(rank: int, directory: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{directory}/rendezvous", rank=rank, world_size=2)
    group = dist.group.WORLD
    models = {dtype: tiny_model(dtype=dtype) for dtype in DTYPES}
    sequences = rollouts(models[torch.float32], COUNT)
    found = {}

    def dealt(dtype, share):
        """The model without gradients, this rank's sequences, and their micro-batches."""
        mine = SHARES[share][rank]
        models[dtype].zero_grad()
        return models[dtype], [sequences[i] for i in mine], [[0], list(range(1, len(mine)))]

    for dtype, share, objective, aggregation in cases():
        model, mine, microbatches = dealt(dtype, share)
        metrics = policy_gradient(model, mine, microbatches, settings(objective, aggregation), group=group)
        found[name_of(dtype, share, objective, aggregation)] = (flat_gradient(model), metrics)
    for dtype, share in supervised_cases():
        model, mine, microbatches = dealt(dtype, share)
        metrics = supervised_gradient(model, mine, microbatches, group=group)
        found[SFT, dtype, share] = (flat_gradient(model), metrics)
    for kind in ("rl", SFT):
        found["refused", kind] = refused(kind, rank, SHARES["uneven"][rank], group)
    for share in SHARES:
        for kind in ("rl", SFT):
            found["trained", kind, share] = trained(kind, SHARES[share][rank], group)
    torch.save(found, directory / f"rank-{rank}.pt")
    dist.destroy_process_group()


def alone():
    """The same steps in one process and one micro-batch."""
    models = {dtype: tiny_model(dtype=dtype) for dtype in DTYPES}
    sequences = rollouts(models[torch.float32], COUNT)
    found = {name_of(*case): gradient(models[case[0]], sequences, [WHOLE], case[2], case[3]) for case in cases()}
    for dtype, model in models.items():
        model.zero_grad()
        metrics = supervised_gradient(model, sequences, [WHOLE])
        found[SFT, dtype] = (flat_gradient(model), metrics)
    for kind in ("rl", SFT):
        found["trained", kind] = trained(kind, WHOLE)
    return found


if __name__ == "__main__":
    work(int(sys.argv[1]), Path(sys.argv[2]))
