"""Checkpoints: a directory that plain transformers can load, with the optimizer and the position in the schedule.

Where only adapters are trained it holds these alone, in peft's layout; what a stage hands on is whole in any case.
A checkpoint is written whole or not at all (temporary directory, fsync, rename). Its place.json holds the hashes of its
files, so that one that was damaged since is found and the one before it used.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from openklear.durable.files import read_json, remove, require_space, whole_directory
from openklear.durable.sealed import PLACE, checkpoints, fault, seal, seal_again
from openklear.durable.sealed import latest as latest
from openklear.errors import DataError, RunError
from openklear.recipe.schema import Checkpoints
from openklear.training.schedule import Place
from openklear.training.trainee import Trainee


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


def save(stage: Path, position: Position, trainee: Trainee, keep: Checkpoints) -> None:
    """Write a checkpoint, then remove those that `keep` no longer wants."""
    target = checkpoint_directory(stage, position.at)
    require_space(stage, trainee.needed_bytes(), f"a checkpoint of {stage.name}")
    with whole_directory(target) as partial:
        trainee.write(partial)
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


def restore(directory: Path, trainee: Trainee) -> Position:
    """Put weights and optimizer back in what is trained; returns the position."""
    trainee.read(directory)
    return read_position(directory)


def hand_on(stage: Path, position: Position, trainee: Trainee, keep: Checkpoints) -> int:
    """Write `stage/model`, which the next stage starts from: the best checkpoint if asked for, else the last weights.

    Returns the step or iteration that the handed-on weights come from. RunError where the best is damaged.
    """
    at = position.best_at if keep.keep_best and position.best_at is not None else position.at
    source = None if at == position.at else checkpoint_directory(stage, at)
    if source is not None and (wrong := fault(source)) is not None:
        raise RunError(
            f"{wrong}: this is the best checkpoint, which would be handed on. Set checkpoints.keep_best = false to "
            f"hand on the last, or remove {stage} to train the stage again"
        )
    with whole_directory(stage / "model") as partial:
        trainee.write_model(partial, source)
    return at


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
