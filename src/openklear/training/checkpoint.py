"""Checkpoints: a directory that plain transformers can load, with the optimizer and the position in the schedule.

Where only adapters are trained it holds these alone, in peft's layout; what a stage hands on is whole in any case.
A checkpoint is written whole or not at all (temporary directory, fsync, rename). Its place.json holds the hashes of its
files, so that one that was damaged since is found and the one before it used.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from openklear import progress
from openklear.durable.files import read_json, remove, require_space, whole_directory
from openklear.durable.sealed import PLACE, checkpoints, fault, seal, seal_again
from openklear.durable.sealed import latest as latest
from openklear.errors import DataError, RunError
from openklear.models.loading import LoadedModel, load_model, save_model
from openklear.models.lora import has_adapters, load_adapters, save_adapters
from openklear.recipe.schema import Checkpoints
from openklear.training.optimizer import Optimizer
from openklear.training.schedule import Place


@dataclass(frozen=True, slots=True)
class Position:
    """Where in its schedule a stage is.

    `at` counts optimizer steps in SFT and iterations in RL; `updates` optimizer steps in either; `places` what of the
    rows was seen, which holds whatever the size of the batches was (by domain where a phase mixes them, else under ""),
    and `rows` a hash of those rows in their order.
    `ended`: saved only because the schedule ended here; `before`: best_at, best_score and validations_since_best before
    a validation that only the end caused. A schedule that is prolonged goes on as if neither had been.
    """

    at: int = 0
    updates: int = 0
    best_at: int | None = None
    best_score: float | None = None
    validations_since_best: int = 0
    places: dict[str, Place] = field(default_factory=dict)
    rows: str = ""
    ended: bool = False
    before: tuple[int | None, float | None, int] | None = None

    @property
    def place(self) -> Place:
        """The place where there is one alone."""
        return self.places.get("", Place())

    def after_validation(self, at: int, score: float) -> Position:
        """The position with a validation score taken in; the earlier of two equal scores stays the best."""
        if self.best_score is None or score > self.best_score:
            return replace(self, at=at, best_at=at, best_score=score, validations_since_best=0)
        return replace(self, at=at, validations_since_best=self.validations_since_best + 1)

    def after_last(self, at: int, score: float) -> Position:
        """The same for a validation that only the end of the schedule caused."""
        before = self.best_at, self.best_score, self.validations_since_best
        return replace(self.after_validation(at, score), before=before)

    def with_best(self, at: int | None, score: float | None, validations_since: int) -> Position:
        """The position as if these were what validations have found."""
        return replace(self, best_at=at, best_score=score, validations_since_best=validations_since, before=None)


def checkpoint_directory(stage: Path, at: int) -> Path:
    """The directory of the checkpoint after `at` steps or iterations."""
    return stage / "checkpoints" / f"{at:06d}"


def newest_sound(stage: Path) -> tuple[Path | None, list[str]]:
    """The newest sound checkpoint, and what is wrong with each newer one; those are renamed, and in nobody's way."""
    faults: list[str] = []
    for path in reversed(checkpoints(stage)):
        wrong = fault(path)
        if wrong is None:
            return path, faults
        away = path.with_name(f"damaged-{path.name}")
        remove(away)
        path.rename(away)
        faults.append(f"{wrong}; this checkpoint is kept as {away.name}")
    return None, faults


def save(stage: Path, position: Position, loaded: LoadedModel, optimizer: Optimizer, keep: Checkpoints) -> None:
    """Write a checkpoint, then remove those that `keep` no longer wants."""
    target = checkpoint_directory(stage, position.at)
    require_space(stage, needed_bytes(loaded), f"a checkpoint of {stage.name}")
    with whole_directory(target) as partial:
        if has_adapters(loaded.model):
            save_adapters(loaded.model, partial)
        else:
            save_model(loaded, partial)
        torch.save(optimizer.state_dict(), partial / "optimizer.pt")
        seal(partial, asdict(position))
    _prune(stage, position, keep)


def amend(stage: Path, position: Position) -> None:
    """Write another position into the checkpoint at its place: what only the end of a schedule caused is taken back."""
    directory = checkpoint_directory(stage, position.at)
    if read_position(directory) != position:
        seal_again(directory, asdict(position))


def read_position(directory: Path) -> Position:
    """The position of a sound checkpoint."""
    known = read_json(directory / PLACE)
    found = {one.name: known[one.name] for one in fields(Position)}
    before = found["before"] and tuple(found["before"])
    places = {name: Place(**place) for name, place in found["places"].items()}
    return Position(**{**found, "places": places, "before": before})


def restore(directory: Path, loaded: LoadedModel, optimizer: Optimizer) -> Position:
    """Put weights and optimizer back in the model that is trained; returns the position.

    Where the optimizer that was saved is another one, the moments begin anew, which is said.
    """
    _restore_weights(directory, loaded)
    state: dict[str, Any] = torch.load(directory / "optimizer.pt", map_location=loaded.model.device, weights_only=True)
    if (anew := optimizer.take_over(state)) is not None:
        progress.say(f"{directory.parents[1].name}: the optimizer's moments begin anew: {anew}")
    return read_position(directory)


def _restore_weights(directory: Path, loaded: LoadedModel) -> None:
    if has_adapters(loaded.model):
        load_adapters(directory, loaded.model)
    else:
        saved = load_model(directory, dtype=str(loaded.model.dtype).removeprefix("torch."))
        loaded.model.load_state_dict(saved.model.state_dict())


def hand_on(stage: Path, position: Position, loaded: LoadedModel, keep: Checkpoints) -> int:
    """Write `stage/model`, which the next stage starts from: the best checkpoint if asked for, else the last weights.

    Returns the step or iteration that the handed-on weights come from. RunError where the best is damaged.
    """
    at = position.best_at if keep.keep_best and position.best_at is not None else position.at
    source = checkpoint_directory(stage, at)
    if at != position.at and (wrong := fault(source)) is not None:
        raise RunError(
            f"{wrong}: this is the best checkpoint, which would be handed on. Set checkpoints.keep_best = false to "
            f"hand on the last, or remove {stage} to train the stage again"
        )
    with whole_directory(stage / "model") as partial:
        if at != position.at and has_adapters(loaded.model):
            load_adapters(source, loaded.model)  # nothing is trained any more
        if at == position.at or has_adapters(loaded.model):
            save_model(loaded, partial)
        else:
            for file in source.iterdir():
                if file.name not in ("optimizer.pt", PLACE):
                    shutil.copy2(file, partial / file.name)
    return at


def needed_bytes(loaded: LoadedModel) -> int:
    """What a checkpoint takes on disk: what is trained, two fp32 moments of it, and fp32 masters of shorter types."""
    trained = [p for p in loaded.model.parameters() if p.requires_grad]
    of_each = [p.numel() * (p.element_size() + 8 + 4 * (p.element_size() < 4)) for p in trained]
    return int(sum(of_each)) + 1_000_000


def _prune(stage: Path, position: Position, keep: Checkpoints) -> None:
    """Leave what `keep` wants. One that the end of a shorter schedule left goes, now that there is a newer one."""
    found = [path for path in checkpoints(stage) if int(path.name) == position.at or not _ended(path)]
    wanted = {path.name for path in found[-keep.keep_last :]}
    if keep.keep_best:
        best = (position.best_at, position.before and position.before[0])
        wanted |= {f"{at:06d}" for at in best if at is not None}
    for path in checkpoints(stage):
        if path.name not in wanted:
            shutil.rmtree(path)


def _ended(directory: Path) -> bool:
    try:
        return bool(read_json(directory / PLACE)["ended"])
    except (DataError, KeyError, TypeError):  # damaged: it is counted like any other
        return False
