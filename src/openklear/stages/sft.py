"""The stage `sft`: token-mean loss on response tokens, warm-up and cosine, several epochs (report, section 2.1).

It reads the prepared demonstrations and the model before it, and leaves model/, metrics.jsonl (no clocks: the same run
gives the same bytes), timings.jsonl (clocks alone), tokens.json, dropped.jsonl (rows that cannot be trained, with their
reason) and checkpoints/.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from openklear import progress
from openklear.data.store import prepared, read_demonstrations, read_problems
from openklear.durable.files import read_jsonl, write_json, write_jsonl_atomic
from openklear.errors import DataError, NonFinite
from openklear.models.batching import plan_microbatches
from openklear.models.chat import EncodedDemonstration, encode_demonstration
from openklear.models.loading import LoadedModel, load_model
from openklear.recipe.schema import Recipe, Sft
from openklear.rollout.collect import Collector, EncodedProblem, encode_problems
from openklear.rollout.local import LocalEngine
from openklear.run.context import StageContext
from openklear.training import checkpoint
from openklear.training.checkpoint import Place
from openklear.training.optimizer import Optimizer, build_optimizer, clip_gradients, warmup_cosine
from openklear.training.schedule import token_batches
from openklear.training.step import supervised_gradient
from openklear.training.validation import validate
from openklear.types import Demonstration, Message
from openklear.verifiers.judge import open_judge


@dataclass(slots=True)
class _Run:
    """What the loop holds between steps."""

    context: StageContext
    settings: Sft
    loaded: LoadedModel
    optimizer: Optimizer
    rows: list[EncodedDemonstration]
    schedule: list[list[int]]
    place: Place
    metrics: list[dict[str, Any]] = field(default_factory=list)
    timings: list[dict[str, Any]] = field(default_factory=list)


def run(context: StageContext) -> None:
    """Train on the curated demonstrations; called again after a kill it goes on from its newest checkpoint."""
    recipe, settings = context.recipe, context.recipe.sft
    assert settings is not None, "the pipeline plans this stage only for recipes with [sft]"
    loaded = load_model(context.inputs["model"] / "model", dtype=dtype_of(recipe))
    paths = prepared(context.inputs["prepare"])
    rows, dropped, counts = encode_rows(loaded, read_demonstrations(paths.demonstrations), settings)
    write_json(context.directory / "tokens.json", counts)
    write_jsonl_atomic(context.directory / "dropped.jsonl", dropped)
    schedule = [
        batch
        for epoch in range(settings.epochs)
        for batch in token_batches([len(r.ids) for r in rows], settings.batch_tokens, recipe.seed, epoch)
    ]
    optimizer = build_optimizer(loaded.model, settings.optimizer)
    state = _Run(context, settings, loaded, optimizer, rows, schedule, Place())
    resume(state)
    with ExitStack() as stack:
        problems, _ = encode_problems(loaded, read_problems(paths.validation), settings.max_tokens)
        domains = {encoded.problem.domain for encoded in problems}
        verdicts = context.directory / "verdicts.jsonl"
        judge = open_judge(recipe.verifiers.limits, domains, progress.say_once, journal=verdicts)
        stack.enter_context(judge)
        sampler = LocalEngine(loaded.model, end_ids=loaded.end_ids, slots=recipe.engine.slots)
        _train(state, Collector(loaded, sampler, judge, recipe.seed), problems)
    checkpoint.hand_on(context.directory, state.place, loaded, recipe.checkpoints)


def dtype_of(recipe: Recipe) -> str:
    """The type the weights are trained in."""
    return getattr(recipe.model, "dtype", "float32")


def encode_rows(
    loaded: LoadedModel, demonstrations: Sequence[Demonstration], settings: Sft
) -> tuple[list[EncodedDemonstration], list[dict[str, str]], dict[str, int]]:
    """Token ids and loss masks; the rows that cannot be trained, each with its reason; and counts.

    Rows over max_tokens are dropped or cut, as the recipe says, and counted. DataError where nothing is left.
    """
    rows: list[EncodedDemonstration] = []
    dropped: list[dict[str, str]] = []
    overlong = 0
    for demo in demonstrations:
        messages = [*demo.problem.prompt, Message(role="assistant", content=demo.response)]
        try:
            encoded = encode_demonstration(loaded.tokenizer, messages, end_ids=loaded.end_ids, where=demo.where)
        except DataError as error:  # a row the template cannot hold is one row less, not the end of the run
            dropped.append({"where": demo.where, "reason": str(error)})
            continue
        overlong += len(encoded.ids) > settings.max_tokens
        row = _within(encoded, settings)
        if row is None:
            dropped.append({"where": demo.where, "reason": f"over sft.max_tokens = {settings.max_tokens}"})
        else:
            rows.append(row)
    if not rows:
        raise DataError(
            f"none of {len(demonstrations)} demonstrations can be trained; the first: {dropped[0]['reason']} "
            f"({dropped[0]['where']}). Raise sft.max_tokens, or mend the rows"
        )
    return (
        rows,
        dropped,
        {
            "demonstrations": len(demonstrations),
            "trained": len(rows),
            "dropped": len(dropped),
            "overlong": overlong,
            "tokens": sum(len(r.ids) for r in rows),
            "response_tokens": sum(int(r.loss_mask.sum()) for r in rows),
        },
    )


def _within(encoded: EncodedDemonstration, settings: Sft) -> EncodedDemonstration | None:
    """The row as it is trained; None where it is too long, or where cutting it would leave no response."""
    limit = settings.max_tokens
    if len(encoded.ids) <= limit:
        return encoded
    if settings.overlong == "drop" or not encoded.loss_mask[:limit].any():
        return None
    return replace(encoded, ids=encoded.ids[:limit], loss_mask=encoded.loss_mask[:limit])


def resume(state: _Run) -> None:
    """Put the newest checkpoint back, and cut the metrics to it: no row is written twice."""
    newest = checkpoint.latest(state.context.directory)
    if newest is None:
        return
    state.place = checkpoint.restore(newest, state.loaded, state.optimizer)
    for name, rows in (("metrics.jsonl", state.metrics), ("timings.jsonl", state.timings)):
        rows.extend(r for r in read_jsonl(state.context.directory / name) if r["step"] <= state.place.at)
    progress.say(f"{state.context.name}: going on after step {state.place.at} of {len(state.schedule)}")


def _train(state: _Run, collector: Collector, validation: Sequence[EncodedProblem]) -> None:
    settings, total = state.settings, len(state.schedule)
    keep = state.context.recipe.checkpoints
    with progress.task(state.context.name, total, "steps") as advance:
        advance(state.place.at)
        while state.place.at < total and not _patience_spent(state.place, keep.patience):
            started = time.perf_counter()
            row = _step(state, state.place.at)
            state.place = replace(state.place, at=state.place.at + 1, updates=state.place.updates + 1)
            state.timings.append({"step": state.place.at, "seconds": time.perf_counter() - started})
            if state.place.at % settings.save_every == 0 or state.place.at == total:
                scores = validate(
                    collector, validation, state.context.recipe.evaluation, stage="sft", at=state.place.at
                )
                row.update(scores)
                if scores:
                    state.place = state.place.after_validation(state.place.at, scores["validation_score"])
                _save(state)
            advance(1, loss=row["loss"])


def _patience_spent(place: Place, patience: int | None) -> bool:
    return patience is not None and place.validations_since_best >= patience


def _step(state: _Run, at: int) -> dict[str, Any]:
    settings = state.settings
    batch = [state.rows[i] for i in state.schedule[at]]
    microbatches = plan_microbatches([len(r.ids) for r in batch], state.context.recipe.microbatch_tokens)
    rate = warmup_cosine(
        at, len(state.schedule), settings.warmup_steps, settings.learning_rate, settings.min_learning_rate
    )
    state.optimizer.zero_grad()
    try:
        row: dict[str, Any] = {"step": at + 1, **supervised_gradient(state.loaded.model, batch, microbatches)}
        row["grad_norm"] = clip_gradients(state.loaded.model, settings.max_grad_norm)
    except NonFinite as error:
        dump = _dump(state.context.directory, batch, at + 1)
        raise NonFinite(
            f"{error} (sft, step {at + 1}). The batch is in {dump}; the last checkpoint stands. "
            "A smaller sft.learning_rate or max_grad_norm may help; fork the run to change it."
        ) from error
    row["learning_rate"] = rate
    state.optimizer.set_learning_rate(rate)
    state.optimizer.step()
    state.metrics.append(row)
    return row


def _dump(directory: Path, batch: Sequence[EncodedDemonstration], step: int) -> Path:
    path = directory / f"nonfinite-step-{step:06d}.jsonl"
    write_jsonl_atomic(path, [{"ids": r.ids.tolist(), "loss_mask": r.loss_mask.tolist()} for r in batch])
    return path


def _save(state: _Run) -> None:
    """Metrics first: a checkpoint that stands always has its rows, and rows beyond it are cut when the run goes on."""
    write_jsonl_atomic(state.context.directory / "metrics.jsonl", state.metrics)
    write_jsonl_atomic(state.context.directory / "timings.jsonl", state.timings)
    checkpoint.save(
        state.context.directory, state.place, state.loaded, state.optimizer, state.context.recipe.checkpoints
    )
