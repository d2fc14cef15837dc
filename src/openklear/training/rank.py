"""One rank of those that train a model together, in a process of its own: what whoever leads them asks of it.

All ranks are asked the same thing at the same time; each computes with its part of the weights and its share of the
sequences, and waits for the others where they meet. Whoever leads has no weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from openklear.errors import EngineError
from openklear.models.loading import load_model
from openklear.models.numerics import set_up
from openklear.models.parcel import Parcel, pack
from openklear.models.recompute import recompute_layers
from openklear.planner.auto import Sizes
from openklear.recipe.schema import Phase, Recipe, Sft
from openklear.training.layout import TokenRow
from openklear.training.learner import LocalLearner, SupervisedLearner
from openklear.training.memory import release
from openklear.training.optimizer import build_optimizer
from openklear.training.sharded_trainee import ShardedTrainee
from openklear.training.sharding import shard
from openklear.training.step import Metrics, PolicySequence

MEETING = timedelta(minutes=30)
"""After which a rank that nobody meets gives up. Whoever leads sees a dead or hung rank long before; a model that the
first rank writes, or a long micro-batch, keeps the others waiting and is no fault."""


@dataclass(frozen=True, slots=True)
class Post:
    """What a rank is told before it begins."""

    recipe: Recipe
    settings: Phase | Sft
    """Of the stage that trains."""
    model: Path
    sizes: Sizes
    rank: int
    ranks: int
    address: str
    """tcp://host:port of the first rank."""
    takes_sampled: bool = False


class Rank:
    """A rank at its post; made in the process that computes, when all others are made too."""

    def __init__(self, post: Post) -> None:
        """Joins the others, loads the weights and keeps its part of them."""
        self.post = post
        set_up(post.recipe.threads, post.recipe.device)
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(
            backend,
            init_method=post.address,
            rank=post.rank,
            world_size=post.ranks,
            timeout=MEETING,
        )
        group = dist.group.WORLD
        assert group is not None, "it was just made"
        self.loaded = load_model(post.model, dtype="float32")  # parts and their sums; passes compute in `dtype`
        if post.sizes.activation_checkpointing:
            recompute_layers(self.loaded.model)
        half = torch.bfloat16 if post.sizes.dtype == "bfloat16" else None
        shard(self.loaded.model, group, compute_dtype=half)
        optimizer = build_optimizer(self.loaded.model, post.settings.optimizer)
        self.trainee = ShardedTrainee(self.loaded, optimizer, group)
        tokens = post.sizes.microbatch_tokens
        self._sent: str | None = None
        self._policy: LocalLearner | None = None
        self._supervised: SupervisedLearner | None = None
        if isinstance(post.settings, Phase):
            sampled = post.takes_sampled
            self._policy = LocalLearner(self.loaded, optimizer, post.settings, tokens, group, takes_sampled=sampled)
        else:
            self._supervised = SupervisedLearner(self.loaded, optimizer, post.settings, tokens, group)

    def with_old(self, share: Sequence[PolicySequence]) -> list[PolicySequence]:
        """`LocalLearner.with_old` of this rank's share."""
        return self.policy.with_old(share)

    def gradient(self, share: Sequence[PolicySequence]) -> tuple[Metrics, list[PolicySequence]]:
        """`LocalLearner.gradient`: metrics of the whole step, the share with its old log-probabilities."""
        return self.policy.gradient(share)

    def step(self, learning_rate: float) -> Metrics:
        """`LocalLearner.step`."""
        return self.policy.step(learning_rate)

    def supervise(self, share: Sequence[TokenRow], learning_rate: float, number: int) -> Metrics:
        """`SupervisedLearner.update`, as step `number`."""
        assert self._supervised is not None, "asked of ranks of SFT"
        return self._supervised.update(share, learning_rate, number)

    def write(self, directory: Path) -> None:
        """`ShardedTrainee.write`."""
        self.trainee.write(directory)

    def read(self, directory: Path) -> None:
        """`ShardedTrainee.read`."""
        self.trainee.read(directory)

    def write_model(self, directory: Path, written: Path | None) -> None:
        """`ShardedTrainee.write_model`."""
        self.trainee.write_model(directory, written)

    def parcel(self) -> Parcel | None:
        """The whole weights on the first rank, packed for samplers in the type they compute in; None on the others."""
        self._sent = None
        weights = self.trainee.whole_weights()
        packed = pack(weights, getattr(torch, self.post.sizes.dtype)) if weights else None
        self._sent = packed.hash if packed is not None else None
        release()  # a sampler that sits beside works next
        return packed

    def sent(self) -> str:
        """The hash of what `parcel` packed last, on the first rank."""
        if self._sent is None:
            raise EngineError("the first rank has packed no weights")
        return self._sent

    @property
    def policy(self) -> LocalLearner:
        """Of RL."""
        assert self._policy is not None, "asked of ranks of RL"
        return self._policy


Ask = Callable[[str, Sequence[tuple[Any, ...]]], list[Any]]
"""Calls a method of `Rank` on all ranks, each with its arguments; what each returned, in their order."""
