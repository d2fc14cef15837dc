"""The stage `sft`: token-mean loss on response tokens, warm-up and cosine, several epochs (report, section 2.1).

It reads the prepared demonstrations and the model before it, and leaves model/, metrics.jsonl (no clocks: the same run
gives the same bytes), timings.jsonl (clocks alone), tokens.json, dropped.jsonl (rows that cannot be trained, with their
reason) and checkpoints/. While it trains, the encoded rows lie in rows/ (`training.token_file`): memory holds those of
a step.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from functools import partial
from hashlib import blake2b

from openklear import progress
from openklear.data.store import prepared, read_problems, stored_demonstrations
from openklear.durable import notice
from openklear.durable.files import json_line, json_text, remove, stage_record, write_json, writing
from openklear.errors import NonFinite
from openklear.models.chat import EncodedDemonstration
from openklear.models.loading import LoadedModel
from openklear.recipe.schema import Sft
from openklear.rollout.collect import Collector
from openklear.rollout.encoding import encode_problems
from openklear.rollout.open import VALIDATION
from openklear.rollout.wording import wordings
from openklear.run.context import StageContext
from openklear.stages.crew import computing, open_crew, open_model
from openklear.tracking import run_tracker
from openklear.training.demonstrations import RowEncoder, say_beyond
from openklear.training.forecast import Forecast
from openklear.training.leading import LeadingSupervised
from openklear.training.learner import SupervisedLearner
from openklear.training.loop import Clock, Figures, Loop
from openklear.training.memory import peak_memory_bytes, settled
from openklear.training.optimizer import warmup_cosine
from openklear.training.pace import gauge_of, say_pace, supervised_throughput
from openklear.training.schedule import batches_ahead
from openklear.training.token_file import TokenFile, write_rows, written_rows
from openklear.training.validation import require_choice
from openklear.verifiers.judge import open_judge


def run(context: StageContext) -> None:
    """Train on the curated demonstrations; after a kill, called again, it continues from its newest checkpoint."""
    recipe, settings = context.recipe, context.recipe.sft
    assert settings is not None, "the pipeline plans this stage only for recipes with [sft]"
    loaded = open_model(context)
    rows = _rows(context, loaded, settings)
    lengths = rows.lengths
    ahead = partial(batches_ahead, lengths, settings.batch_tokens, recipe.seed_of("sft"), settings.epochs)
    whole = sum(1 for _ in ahead())
    with ExitStack() as stack:
        crew = stack.enter_context(open_crew(context, loaded, settings, int(lengths.max(initial=1))))
        gauge, keep = gauge_of(recipe, loaded, crew.sizes, computing(recipe)), recipe.checkpoints
        loop = Loop(context.name, context.directory, "step", whole, crew.trainee, keep, recipe.track)
        resumed = loop.resume(rows.rows)
        tokens = [int(lengths[batch].sum()) for batch in ahead(loop.position.place)]
        batches, loop.total = ahead(loop.position.place), loop.position.at + len(tokens)
        if resumed:
            loop.say_place()
        loop.tracker = stack.enter_context(run_tracker(recipe, context.root, context.name, context.directory))
        validation = read_problems(prepared(context.inputs["prepare"]).validation)
        problems, lost = encode_problems(loaded, validation, settings.max_tokens, wordings(recipe))
        require_choice(recipe.checkpoints.keep_best, problems, lost, context.name)
        domains = {encoded.problem.domain for encoded in problems}
        verdicts = context.directory / "verdicts.jsonl"
        judge = open_judge(
            crew.panel.limits, domains, progress.say_once, journal=verdicts, verifiers=crew.panel.verifiers()
        )
        stack.enter_context(judge)
        share = recipe.stop.unscorable_share
        collector = Collector(loaded, crew.panel.sampler(VALIDATION), judge, recipe.seed_of("sft"), share)
        advance = stack.enter_context(progress.task(context.name, loop.total, "steps", done=loop.position.at))
        forecast = _forecast(loop, settings, tokens)
        stack.enter_context(settled())
        stack.enter_context(notice.heeded(context.name, loop.unit, progress.say))
        for number in loop.ahead():
            clock = Clock()
            batch = rows.read(next(batches))
            row = _step(loop, settings, crew.learner, batch, whole)
            clock.lap("seconds")
            spent = clock.laps["seconds"]
            loop.advance(1, {"": loop.position.place.after(len(batch), len(rows))})
            if _validated(settings, loop, number):
                row |= loop.validate(collector, problems, recipe.evaluation)
                clock.lap("validation")
            pace = supervised_throughput(gauge, batch, spent)
            loop.log(row, {**clock.laps, **pace, "peak_memory_bytes": peak_memory_bytes()})
            if _validated(settings, loop, number):
                loop.save()
            advance(1, loop.seconds_left(forecast), loss=row["loss"])
        say_pace(context.name, loop.timings)
        loop.hand_on()
    remove(rows.directory)


def _validated(settings: Sft, loop: Loop, number: int) -> bool:
    """Whether a step is followed by a validation and a checkpoint."""
    return number % settings.save_every == 0 or number == loop.total


def _forecast(loop: Loop, settings: Sft, tokens: Sequence[int]) -> Forecast:
    """By the tokens of the steps ahead; those behind are taken to have been as long."""
    behind = [sum(tokens) / max(1, len(tokens))] * loop.position.at
    validated = {number for number in range(1, loop.total + 1) if _validated(settings, loop, number)}
    return Forecast([*behind, *tokens], validated, 200)


def _rows(context: StageContext, loaded: LoadedModel, settings: Sft) -> TokenFile:
    """The rows that are trained on: those of an earlier attempt, where they are sound, else made now."""
    directory, key = context.directory / "rows", _key(context, settings)
    seed = context.recipe.seed_of("sft")
    rows = written_rows(directory, key)
    if not isinstance(rows, TokenFile):
        if rows is not None:
            progress.say(f"{context.name}: {rows}; the rows are encoded again")
        encoder = RowEncoder(loaded, settings, wordings(context.recipe))
        # Closed here, for it has files open: where the disk is full, it is left half-way.
        with closing(_encoded(context, encoder)) as encoded:
            rows = write_rows(directory, encoded, key=key, seed=seed, counts=lambda: encoder.counts)
    write_json(context.directory / "tokens.json", rows.counts)
    say_beyond(loaded, rows.lengths)
    return rows


def _encoded(context: StageContext, encoder: RowEncoder) -> Generator[EncodedDemonstration]:
    """The demonstrations as rows; dropped.jsonl, with those that cannot be trained, is whole once the last came."""
    demonstrations = stored_demonstrations(prepared(context.inputs["prepare"]).demonstrations)
    with (
        writing(context.directory / "dropped.jsonl") as dropped,
        progress.task(f"{context.name}: encoding", None, "rows", brief=True) as advance,
    ):
        for row in encoder.rows(demonstrations, lambda loss: dropped.write(json_line(loss))):
            advance()
            yield row


def _key(context: StageContext, settings: Sft) -> str:
    """What the encoded rows depend on: code, model and data as the pipeline recorded them, and keys of the recipe."""
    parts = (stage_record(context.directory) or {}).get("parts", {})
    beside = {name: part for name, part in parts.items() if name != "recipe"}
    words = {name: asdict(wording) for name, wording in wordings(context.recipe).items()}
    known = [beside, context.recipe.seed_of("sft"), settings.max_tokens, settings.overlong, words]
    return blake2b(json_text(known).encode(), digest_size=16).hexdigest()


def _step(
    loop: Loop,
    settings: Sft,
    learner: SupervisedLearner | LeadingSupervised,
    batch: Sequence[EncodedDemonstration],
    whole: int,
) -> Figures:
    """Loss, gradient, optimizer step on one batch.

    The learning rate goes by the share of the schedule that is left: `whole` is its steps from the beginning. In a run
    that had batches of another size before, that is not the number of its steps.
    """
    s, at = settings, loop.position.at
    rate = warmup_cosine(whole - (loop.total - at), whole, s.warmup_steps, s.learning_rate, s.min_learning_rate)
    try:
        return {"step": at + 1, **learner.update(batch, rate, at)}
    except NonFinite as error:
        rows = [{"ids": r.ids.tolist(), "loss_mask": r.loss_mask.tolist()} for r in batch]
        raise loop.nonfinite(error, rows) from error
