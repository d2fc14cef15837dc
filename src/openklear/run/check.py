"""`openklear recipe check`: the first rows of every source through reading and the chat template, without weights.

It shows one row of each source as the model will see it, and finds in seconds what would stop a run: a file that cannot
be read, a template that cannot be trained with, a source of which too much is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

from openklear.curation.intake import first_rows
from openklear.data.rows import Dropped, Row
from openklear.data.sources import choose
from openklear.demo.world import write_world
from openklear.errors import UsageError
from openklear.models.hub import local_directory
from openklear.models.tiny import make_tokenizer
from openklear.models.tokenizer import LoadedTokenizer, Speaker, load_speaker
from openklear.recipe.curation import Role, Source
from openklear.recipe.schema import PretrainedModel, Recipe
from openklear.recipe.world import World
from openklear.stages.encode import faults, told
from openklear.training.fitting import Fit, Rows, fits
from openklear.types import Demonstration, Problem

ROWS = 100
"""Rows that are read of each source."""
_SMALL = {"demonstrations": 40, "problems": 40, "validation": 8, "heldout": 8}
_WORLD = "world:"


@dataclass(slots=True)
class RecipeCheck:
    """What was found."""

    fits: list[Fit] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Rows that are lost, which a run would go on without."""
    faults: list[str] = field(default_factory=list)
    """What a run would stop at."""


def check(recipe: Recipe, rows: int = ROWS) -> RecipeCheck:
    """Try the first `rows` rows of every source. Nothing is written, and no weights are loaded."""
    found = RecipeCheck()
    with TemporaryDirectory(prefix="openklear-check-") as place:
        world = Path(place) / "files"
        if recipe.world is not None:
            write_world(world, **_small(recipe.world).model_dump())
        read = {source.name: _first(source, world, rows, recipe, found) for source in recipe.data.source}
    speaker = _speaker(recipe, found)
    if speaker is None:
        return found
    found.fits = list(fits(recipe, speaker, _by_role(recipe, read)))
    for fit in found.fits:
        found.notes += told(fit, "the others are not shown")
    found.faults += faults(found.fits, recipe)
    return found


def _small(world: World) -> World:
    return world.model_copy(update={name: min(count, getattr(world, name)) for name, count in _SMALL.items()})


def _first(source: Source, world: Path, count: int, recipe: Recipe, found: RecipeCheck) -> list[Row]:
    """The rows of a source that curation would begin with; what cannot be read is a fault."""
    kept: list[Row] = []
    lost: list[Dropped] = []
    try:
        path = _file(source, world)
        for item in first_rows(source, path, count, normalise=recipe.data.normalise):
            (lost if isinstance(item, Dropped) else kept).append(item)  # type: ignore[arg-type]
    except UsageError as error:
        found.faults.append(f"{source.name}: {error}")
        return []
    if lost:
        first = f"{lost[0].row.where}: {lost[0].detail or lost[0].reason}"
        text = (
            f"{source.name}: {len(lost)} of the first {len(lost) + len(kept)} rows cannot be used; the first: {first}"
        )
        (found.notes if kept else found.faults).append(text)
    return kept


def _file(source: Source, world: Path) -> Path:
    if source.path.startswith(_WORLD):
        return world / source.path.removeprefix(_WORLD)
    return choose(source.path, source.role, source.split).files[0]


def _speaker(recipe: Recipe, found: RecipeCheck) -> Speaker | None:
    """The tokenizer with its template; None where the recipe has no model, or it cannot be used."""
    model = recipe.model
    if not isinstance(model, PretrainedModel):
        tokenizer = make_tokenizer()
        return None if model is None else LoadedTokenizer(tokenizer, frozenset((tokenizer.eos_token_id,)))
    try:
        return load_speaker(
            local_directory(model.path, gguf_file=model.gguf_file),
            gguf_file=model.gguf_file,
            chat_template=None if model.chat_template is None else Path(model.chat_template),
            template_args=model.template_args,
        )
    except UsageError as error:
        found.faults.append(str(error))
        return None


def _by_role(recipe: Recipe, read: dict[str, list[Row]]) -> Rows:
    rows: dict[str, list[Row]] = {role: [] for role in get_args(Role)}
    for source in recipe.data.source:
        rows[source.role] += read[source.name]
    demonstrations = [
        Demonstration(row.problem, row.response, row.where)
        for row in rows["demonstrations"]
        if row.response is not None
    ]
    problems, validation, heldout = map(_problems, (rows["problems"], rows["validation"], rows["heldout"]))
    return Rows(demonstrations, problems, validation, heldout)


def _problems(rows: Sequence[Row]) -> list[Problem]:
    return [row.problem for row in rows]
