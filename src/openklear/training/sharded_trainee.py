"""A model in parts on several ranks with its optimizer: checkpoints that another number of ranks can go on from.

Every rank calls every method, with the same arguments; the directory is one that all of them see. A checkpoint is
torch's own (torch.distributed.checkpoint): each rank writes its parts, and each reads those that are its own now.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from transformers import PreTrainedModel

from openklear.models.loading import LoadedModel, save_model
from openklear.training.optimizer import Optimizer
from openklear.training.parallel import Group

SHARDS = "shards"
"""Below a checkpoint's directory."""


def read_weights(directory: Path, model: PreTrainedModel) -> None:
    """Into a whole model in this process: the weights of a checkpoint that ranks wrote, however many they were."""
    state = {"model": model.state_dict()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is")  # that no ranks are there is what is meant
        load(state, checkpoint_id=directory / SHARDS, no_dist=True)
    model.load_state_dict(state["model"])


@dataclass(frozen=True, slots=True)
class ShardedTrainee:
    """One rank's part of what is trained. The optimizer was built after `training.sharding.shard`."""

    loaded: LoadedModel
    optimizer: Optimizer
    group: Group

    def write(self, directory: Path) -> None:
        """Weights and moments, each rank its parts."""
        save(self._state(), checkpoint_id=directory / SHARDS, process_group=self.group)

    def read(self, directory: Path) -> None:
        """What as many or as few ranks wrote."""
        state = self._state()
        load(state, checkpoint_id=directory / SHARDS, process_group=self.group)
        optimizers = self.optimizer.kinds()
        set_state_dict(
            self.loaded.model, optimizers, model_state_dict=state["model"], optim_state_dict=state["optimizer"]
        )

    def write_model(self, directory: Path, written: Path | None = None) -> None:
        """The first rank writes the whole model, in the Hugging Face layout."""
        if written is not None:
            self.read(written)
        weights = self.whole_weights()
        if dist.get_rank(self.group) == 0:
            save_model(self.loaded, directory, weights=weights)
        dist.barrier(self.group)

    def whole_weights(self) -> dict[str, Tensor]:
        """Name -> whole tensor in main memory, on the first rank; {} on the others."""
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        found: dict[str, Any] = get_model_state_dict(self.loaded.model, options=options)
        return found

    def _state(self) -> dict[str, Any]:
        """What a checkpoint holds; moments are made where there are none yet, so that they can be read into."""
        model, moments = get_state_dict(self.loaded.model, self.optimizer.kinds())
        return {"model": model, "optimizer": moments}
