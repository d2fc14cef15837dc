"""What a stage trains: a model with its optimizer, wherever they are, and how they are written, read and published."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from openklear import progress
from openklear.durable.sealed import PLACE
from openklear.models.loading import LoadedModel, load_model, save_model
from openklear.models.lora import has_adapters, load_adapters, save_adapters
from openklear.rollout.protocol import Sampler
from openklear.training.optimizer import Optimizer

OPTIMIZER = "optimizer.pt"


class Trainee(Protocol):
    """A model and its optimizer, in this process or on other machines."""

    def write(self, directory: Path) -> None:
        """Put what training goes on from into a directory that the caller makes whole."""

    def read(self, directory: Path) -> None:
        """Go on from what `write` left there."""

    def write_model(self, directory: Path, written: Path | None = None) -> None:
        """A whole, plain model: of the weights as they are, or of those that `write` left in `written`.

        In the second case nothing can be trained any more.
        """

    def publish(self, sampler: Sampler, version: int) -> None:
        """Give a sampler the weights as they are."""

    def needed_bytes(self) -> int:
        """What `write` takes on disk, at most."""


@dataclass(frozen=True, slots=True)
class LocalTrainee:
    """In this process."""

    loaded: LoadedModel
    optimizer: Optimizer

    def write(self, directory: Path) -> None:
        """Weights that plain transformers can load, or adapters in peft's layout; and the optimizer."""
        if has_adapters(self.loaded.model):
            save_adapters(self.loaded.model, directory)
        else:
            save_model(self.loaded, directory)
        torch.save(self.optimizer.state_dict(), directory / OPTIMIZER)

    def read(self, directory: Path) -> None:
        """Where the optimizer that was saved is another one, the moments begin anew, which is said."""
        model = self.loaded.model
        if has_adapters(model):
            load_adapters(directory, model)
        else:
            saved = load_model(directory, dtype=str(model.dtype).removeprefix("torch."))
            model.load_state_dict(saved.model.state_dict())
        state: dict[str, Any] = torch.load(directory / OPTIMIZER, map_location=model.device, weights_only=True)
        if (anew := self.optimizer.take_over(state)) is not None:
            progress.say(f"{directory.parents[1].name}: the optimizer's moments begin anew: {anew}")

    def write_model(self, directory: Path, written: Path | None = None) -> None:
        """Adapters are merged; a whole model that was written is copied as it is."""
        adapted = has_adapters(self.loaded.model)
        if written is not None and not adapted:
            for file in written.iterdir():
                if file.name not in (OPTIMIZER, PLACE):
                    shutil.copy2(file, directory / file.name)
            return
        if written is not None:
            load_adapters(written, self.loaded.model)
        save_model(self.loaded, directory)

    def publish(self, sampler: Sampler, version: int) -> None:
        """The sampler reads them from the model itself."""
        sampler.publish(self.loaded.model, version)

    def needed_bytes(self) -> int:
        """What is trained, two fp32 moments of it, and fp32 masters of shorter types."""
        trained = [p for p in self.loaded.model.parameters() if p.requires_grad]
        of_each = [p.numel() * (p.element_size() + 8 + 4 * (p.element_size() < 4)) for p in trained]
        return int(sum(of_each)) + 1_000_000
