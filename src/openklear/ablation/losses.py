"""The stages of a study's losses: held-out rows, read and cleaned once for all arms, and a model's loss on them.

Both run as stages of recipes of their own, made here from a run's: the rows' has their source alone, so that nothing
that an arm changes in [data] changes them; the loss's says how long a row may be.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

from openklear.ablation.definition import HeldoutRows, Measure, Study
from openklear.ablation.scores import SeriesScores
from openklear.durable.files import read_jsonl
from openklear.errors import DataError, RecipeError
from openklear.recipe.curation import Data, Source
from openklear.recipe.load import NO_PATHS
from openklear.recipe.schema import Recipe, Sft
from openklear.recipe.section import expanded, variable_fault
from openklear.run.plan import Stage, pick, stages

LOSSES = "losses.jsonl"
"""As `stages.loss` calls it, whose imports load torch."""


def loss_stages(study: Study, path: Path, recipe: Recipe) -> Iterator[tuple[Stage, Recipe]]:
    """The stages of all losses of a run, with the recipe that each is run with; `path` is the study's file.

    Their inputs are stages of the run, by name. RecipeError where the path of rows holds a variable that is not set.
    """
    for measure in study.measure:
        if measure.rows is None:
            continue
        data = _data(measure, measure.rows, path)
        nothing = dict.fromkeys(("world", "model", "sft", "rl", "lora"))
        alone = recipe.model_copy(update={**nothing, "data": data})
        yield replace(stages(alone)[0], name=f"rows-{measure.name}"), alone
        assert measure.max_tokens is not None, "the study's rules ask for it"
        cut = Sft(max_tokens=measure.max_tokens, overlong="cut")
        measured = recipe.model_copy(update={"data": data, "sft": cut, "rl": None, "lora": None})
        for model in study.models(measure):
            yield _stage(measure, model, measured), measured


def loss_name(model: str, measure: Measure) -> str:
    """Of the stage that leaves the loss of a model."""
    return f"loss-{model}-{measure.name}"


def _stage(measure: Measure, model: str, recipe: Recipe) -> Stage:
    table = recipe.model_dump(mode="json")
    words = {key: table["data"]["source"][0][key] for key in ("system_prompt", "prompt_suffix")}
    return Stage(
        loss_name(model, measure),
        "evaluate",
        "openklear.stages.loss",
        settings={**pick(table, "sft.max_tokens", "model.dtype"), **words},
        inputs={"prepare": f"rows-{measure.name}", "model": model},
        torch=True,
        pace=pick(table, "device", "threads"),
    )


def _data(measure: Measure, rows: HeldoutRows, path: Path) -> Data:
    """[data] with these rows alone. They are not graded: how likely a response is says nothing of its answer."""
    place = expanded(rows.path)
    if fault := variable_fault(place):
        raise RecipeError(f"{path}: measure {measure.name}: rows.path: {fault}")
    if not place.startswith(NO_PATHS):
        place = os.path.normpath(path.absolute().parent / Path(place).expanduser())
    source = Source(
        name=measure.name,
        path=place,
        role="demonstrations",
        domain=measure.domain,
        **rows.model_dump(exclude={"path"}),
    )
    return Data(source=(source,), correct_only=())


def losses_of(model: str, measure: Measure, directory: Path) -> SeriesScores:
    """What a loss's directory says of its model. DataError where it says nothing."""
    rows = read_jsonl(directory / LOSSES)
    if not rows:
        raise DataError(f"{directory / LOSSES}: holds no losses; remove {directory} and run the study again")
    names = "\n".join(f"{row['id']} {row['tokens']}" for row in rows)
    return SeriesScores(
        model=model,
        benchmark=measure.name,
        domain=measure.domain,
        problems=blake2b(names.encode(), digest_size=8).hexdigest(),
        correct=(),
        scorable=(),
        samples=0,
        tokens=sum(row["tokens"] for row in rows),
        losses=tuple(row["loss"] for row in rows),
    )
