"""The stage `encode`: every prepared row goes through the model's chat template once, before hours of training.

It reads what `prepare` and `base` left, and leaves rows.json (by role, source and consumer: rows read, kept and
dropped, by the kind of reason), dropped.jsonl (every row lost, with its reason) and examples.json (one row of each
source as text, the trained part marked). What is lost is said; above `stop.dropped_share` the run stops here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from openklear import progress
from openklear.data.store import prepared, read_problems, stored_demonstrations, stored_problems
from openklear.durable.files import json_line, write_json, writing
from openklear.errors import DataError
from openklear.models.tokenizer import load_speaker
from openklear.recipe.schema import Recipe
from openklear.run.context import StageContext
from openklear.training.fitting import Fit, Loss, Rows
from openklear.training.fitting import fits as try_rows


def run(context: StageContext) -> None:
    """Try every row. DataError where more than the recipe allows of a source is lost to a stage."""
    speaker = load_speaker(context.inputs["model"] / "model")
    with (
        writing(context.directory / "dropped.jsonl") as dropped,
        progress.task(context.name, None, "rows") as advance,
    ):

        def note(fit: Fit, loss: Loss | None) -> None:
            advance()
            if loss is not None:
                place = {"role": fit.role, "source": fit.source, "consumer": fit.consumer}
                dropped.write(json_line({**place, "where": loss.where, "reason": loss.reason}))

        fits = list(try_rows(context.recipe, speaker, prepared_rows(context.inputs["prepare"]), note))
    write_json(context.directory / "rows.json", {"roles": [fit.row() for fit in fits]})
    write_json(context.directory / "examples.json", _examples(fits))
    for fit in fits:
        for line in told(fit):
            progress.say(f"{context.name}: {line}")
    for fault in faults(fits, context.recipe):
        raise DataError(fault)


def prepared_rows(directory: Path) -> Rows:
    """What the stage `prepare` left in its directory; only the held-out problems are in memory."""
    paths = prepared(directory)
    return Rows(
        stored_demonstrations(paths.demonstrations),
        stored_problems(paths.problems),
        stored_problems(paths.validation),
        read_problems(paths.heldout),
    )


def _examples(fits: Sequence[Fit]) -> list[dict[str, object]]:
    """One of each source, as the first stage that takes it sees it."""
    first = {(fit.role, fit.source): fit for fit in reversed(fits) if fit.example}
    shown = [fit for fit in fits if first.get((fit.role, fit.source)) is fit]
    return [{"source": fit.source, "role": fit.role, "segments": fit.example} for fit in shown]


def told(fit: Fit, rest: str = "all of them are in dropped.jsonl") -> Iterator[str]:
    """What was lost, in a line for each source and stage; nothing where nothing was."""
    what = f"{fit.read} {fit.role if fit.role != 'heldout' else 'held-out problems'}"
    if fit.first is not None:
        kinds = ", ".join(f"{count} {kind}" for kind, count in fit.kinds.most_common())
        yield (f"{fit.consumer} loses {fit.lost} of {what} of {fit.source}: {kinds}; the first: {_first(fit)} ({rest})")
    if fit.cut:
        yield f'{fit.consumer} trains {fit.cut} of {what} of {fit.source} without their end (sft.overlong = "cut")'


def faults(fits: Sequence[Fit], recipe: Recipe) -> Iterator[str]:
    """Sources that lose more than stop.dropped_share, and stages without a problem to choose their checkpoint by."""
    limit = recipe.stop.dropped_share
    for fit in fits:
        if fit.share_lost > limit:
            yield (
                f"{fit.consumer} would lose {fit.lost} of {fit.read} {fit.role} of {fit.source}, which is more "
                f"than stop.dropped_share = {limit:g}; the first: {_first(fit)}. {_remedy(fit, recipe)}, or raise "
                "stop.dropped_share (1.0 never stops)"
            )
    validations = [fit for fit in fits if fit.role == "validation" and recipe.checkpoints.keep_best]
    for consumer in dict.fromkeys(fit.consumer for fit in validations):
        mine = [fit for fit in validations if fit.consumer == consumer]
        if not any(fit.kept for fit in mine):
            yield (
                f"{consumer} has no validation problem left to choose its best checkpoint by (checkpoints.keep_best); "
                f"the first lost: {_first(mine[0])}. {_remedy(mine[0], recipe)}, or set checkpoints.keep_best = false"
            )


def _first(fit: Fit) -> str:
    loss = fit.first
    assert loss is not None, "asked for only where rows are lost"
    reason = loss.reason.rstrip(".")
    return reason if loss.where and reason.startswith(loss.where) else f"{loss.where}: {reason}"


def _remedy(fit: Fit, recipe: Recipe) -> str:
    if fit.first is None or "max_" not in fit.first.kind:
        return "Correct the rows, or give a chat template that takes them (model.chat_template)"
    key = "sft.max_tokens" if fit.consumer == "sft" or recipe.rl is None else "rl.max_prompt_tokens"
    return f"Raise {key} or prepare shorter rows"
