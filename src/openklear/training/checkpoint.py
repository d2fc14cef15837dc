"""Checkpoints: a directory that plain transformers can load, with the optimizer and the position in the schedule.

A checkpoint is written whole or not at all (temporary directory, fsync, rename), so the newest one there is good.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from openklear.durable.files import read_json, require_space, whole_directory, write_json
from openklear.models.loading import LoadedModel, load_model, save_model
from openklear.recipe.schema import Checkpoints
from openklear.training.optimizer import Optimizer


@dataclass(frozen=True, slots=True)
class Position:
    """Where in its schedule a stage is.

    `at` counts optimizer steps in SFT and iterations in RL; `updates` optimizer steps in either.
    """

    at: int = 0
    updates: int = 0
    best_at: int | None = None
    best_score: float | None = None
    validations_since_best: int = 0

    def after_validation(self, at: int, score: float) -> Position:
        """The position with a validation score taken in; the earlier of two equal scores stays the best."""
        if self.best_score is None or score > self.best_score:
            return Position(at, self.updates, at, score, 0)
        return Position(at, self.updates, self.best_at, self.best_score, self.validations_since_best + 1)


def checkpoint_directory(stage: Path, at: int) -> Path:
    """The directory of the checkpoint after `at` steps or iterations."""
    return stage / "checkpoints" / f"{at:06d}"


def latest(stage: Path) -> Path | None:
    """The newest whole checkpoint of a stage."""
    found = sorted(p for p in (stage / "checkpoints").glob("[0-9]*") if (p / "place.json").is_file())
    return found[-1] if found else None


def save(stage: Path, position: Position, loaded: LoadedModel, optimizer: Optimizer, keep: Checkpoints) -> None:
    """Write a checkpoint, then remove those that `keep` no longer wants."""
    target = checkpoint_directory(stage, position.at)
    require_space(stage, needed_bytes(loaded), f"a checkpoint of {stage.name}")
    with whole_directory(target) as partial:
        save_model(loaded, partial)
        torch.save(optimizer.state_dict(), partial / "optimizer.pt")
        write_json(partial / "place.json", asdict(position))
    _prune(stage, position, keep)


def restore(directory: Path, loaded: LoadedModel, optimizer: Optimizer) -> Position:
    """Put weights and optimizer back in the model that is trained; returns the position."""
    saved = load_model(directory, dtype=str(next(loaded.model.parameters()).dtype).removeprefix("torch."))
    loaded.model.load_state_dict(saved.model.state_dict())
    state: dict[str, Any] = torch.load(directory / "optimizer.pt", map_location=loaded.model.device, weights_only=True)
    optimizer.load_state_dict(state)
    return Position(**read_json(directory / "place.json"))


def hand_on(stage: Path, position: Position, loaded: LoadedModel, keep: Checkpoints) -> int:
    """Write `stage/model`, which the next stage starts from: the best checkpoint if asked for, else the last weights.

    Returns the step or iteration that the handed-on weights come from.
    """
    at = position.best_at if keep.keep_best and position.best_at is not None else position.at
    with whole_directory(stage / "model") as partial:
        if at == position.at:
            save_model(loaded, partial)
        else:
            source = checkpoint_directory(stage, at)
            for file in source.iterdir():
                if file.name not in ("optimizer.pt", "place.json"):
                    shutil.copy2(file, partial / file.name)
    return at


def needed_bytes(loaded: LoadedModel) -> int:
    """What a checkpoint takes on disk: the weights, two fp32 moments of them, and fp32 masters of shorter types."""
    of_each = [p.numel() * (p.element_size() + 8 + 4 * (p.element_size() < 4)) for p in loaded.model.parameters()]
    return int(sum(of_each)) + 1_000_000


def _prune(stage: Path, position: Position, keep: Checkpoints) -> None:
    found = sorted(p for p in (stage / "checkpoints").glob("[0-9]*") if p.is_dir())
    wanted = {p.name for p in found[-keep.keep_last :]}
    if keep.keep_best and position.best_at is not None:
        wanted.add(f"{position.best_at:06d}")
    for path in found:
        if path.name not in wanted:
            shutil.rmtree(path)
