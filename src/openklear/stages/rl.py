"""The stages `rl-NAME`: the report's algorithm box.

For each iteration: sample a group per problem, verify, group advantage, drop groups without advantage, several
updates on mini-batches of the kept groups, log. The loop is written against Sampler and Judge.

An iteration is durable once its directory `iterations/000012` exists (rollouts.parquet, metrics.json; renamed when
whole). A run that was killed restarts from its newest checkpoint; recorded iterations after it are replayed from their
files, an unfinished one is begun again. Where rollouts are carried over (`rollout.carry`), or sampled for the next
iteration while this one trains, carried.parquet holds those that were under way when the iteration ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from openklear import progress
from openklear.data.store import prepared, read_problems
from openklear.durable import notice
from openklear.durable.files import read_json, whole_directory, write_json, write_jsonl_atomic
from openklear.durable.sealed import checkpoints
from openklear.errors import DataError, NonFinite
from openklear.models.loading import LoadedModel
from openklear.planner.gauge import Gauge
from openklear.recipe.schema import Phase, Recipe
from openklear.rewards import try_reward
from openklear.rollout.beside import beside
from openklear.rollout.carry import BegunGroup
from openklear.rollout.collect import Collector, Gathered, Sampling
from openklear.rollout.encoding import EncodedProblem, encode_problems
from openklear.rollout.open import TRAINING
from openklear.rollout.records import read_rollouts, write_rollouts
from openklear.rollout.wording import wordings
from openklear.run.context import StageContext
from openklear.stages.crew import computing, open_crew, open_model
from openklear.tracking import run_tracker
from openklear.training.carrying import CARRIED, Carrying
from openklear.training.checkpoint import amend
from openklear.training.forecast import Forecast
from openklear.training.leading import LeadingLearner
from openklear.training.learner import LocalLearner
from openklear.training.loop import Clock, Figures, Loop, without_validation
from openklear.training.memory import peak_memory_bytes, release, settled
from openklear.training.metrics import alarms, gap_metrics, mean_over_updates, refuse_gap, rollout_metrics
from openklear.training.optimizer import warmup_constant
from openklear.training.pace import gauge_of, say_pace, throughput
from openklear.training.samples import one_of, told
from openklear.training.schedule import Place, iteration_batch, rows_hash
from openklear.training.staleness import Staleness, fresh
from openklear.training.step import Metrics
from openklear.training.updates import Update, recorded, restored, updates_of
from openklear.training.validation import for_domains, require_choice
from openklear.types import RolloutGroup
from openklear.verifiers.judge import open_judge


def run(context: StageContext) -> None:
    """Train one phase; after a kill, called again, it continues where it was."""
    recipe = context.recipe
    assert recipe.rl is not None, "the pipeline plans this stage only for recipes with [rl]"
    phase = next(p for p in recipe.rl.phase if f"rl-{p.name}" == context.name)
    try_reward(phase.reward, phase.domains)
    loaded = open_model(context)
    problems, validation = _problems(context, phase, loaded)
    with ExitStack() as stack:
        longest = phase.max_prompt_tokens + phase.max_completion_tokens
        crew = stack.enter_context(open_crew(context, loaded, phase, longest))
        gauge = gauge_of(recipe, loaded, crew.sizes, computing(recipe))
        keep, track = recipe.checkpoints, recipe.track
        loop = Loop(context.name, context.directory, "iteration", phase.iterations, crew.trainee, keep, track)
        loop.tracker = stack.enter_context(run_tracker(recipe, context.root, context.name, context.directory))
        verdicts = context.directory / "verdicts.jsonl"
        asked = crew.panel.verifiers()
        judge = open_judge(crew.panel.limits, phase.domains, progress.say_once, journal=verdicts, verifiers=asked)
        stack.enter_context(judge)
        share = recipe.stop.unscorable_share
        needs = replace(TRAINING, partial=bool(phase.stale))
        collector = Collector(loaded, crew.panel.sampler(needs), judge, recipe.seed_of("rl"), share)
        hashes = (f"{one.problem.id}/{one.problem.content_hash}".encode() for one in problems)
        if loop.resume(rows_hash(recipe.seed_of("rl"), hashes)):
            loop.say_place()
            _prolong(loop)
        else:
            progress.say(f"{context.name}: the optimizer's moments start from zero in this phase")
        carrying = Carrying(context.name, phase, {encoded.problem.id: encoded for encoded in problems})
        carrying.groups = carrying.read(_record(loop, loop.position.at))
        stack.enter_context(settled())
        stack.enter_context(notice.heeded(context.name, loop.unit, progress.say))
        box = _Box(recipe, phase, loop, collector, crew.learner, problems, validation, carrying, gauge)
        validated = {number for number in range(1, loop.total + 1) if _validated(phase, number)}
        forecast = Forecast([1.0] * loop.total, validated, 5)
        with progress.task(context.name, loop.total, "iterations", done=loop.position.at) as advance:
            advance(0, loop.seconds_left(forecast))
            for number in loop.ahead():
                row = _iterate(box, number)
                advance(
                    1,
                    loop.seconds_left(forecast),
                    reward=row["reward"],
                    accuracy=row["accuracy"],
                    length=row["length_mean"],
                )
        carrying.say_end()
        say_pace(context.name, loop.timings)
        loop.hand_on()


def _problems(
    context: StageContext, phase: Phase, loaded: LoadedModel
) -> tuple[list[EncodedProblem], list[EncodedProblem]]:
    """The phase's training and validation problems; those with too long a prompt are written to dropped.jsonl."""
    paths, words = prepared(context.inputs["prepare"]), wordings(context.recipe)
    chosen = for_domains(read_problems(paths.problems), phase.domains)
    kept, dropped = encode_problems(loaded, chosen, phase.max_prompt_tokens, words)
    write_jsonl_atomic(context.directory / "dropped.jsonl", [{"id": p.id, "reason": why} for p, why in dropped])
    if lacking := phase.lacking(Counter(encoded.problem.domain for encoded in kept)):
        raise DataError(
            f"{context.name}: {lacking} of {len(chosen)}, and {len(dropped)} have a prompt over max_prompt_tokens = "
            f"{phase.max_prompt_tokens}; lower problems_per_iteration, raise max_prompt_tokens, or add problems"
        )
    validation = for_domains(read_problems(paths.validation), phase.domains)
    asked, lost = encode_problems(loaded, validation, phase.max_prompt_tokens, words)
    require_choice(context.recipe.checkpoints.keep_best, asked, lost, context.name)
    return kept, asked


@dataclass(frozen=True, slots=True)
class _Box:
    """What stands in the algorithm box: who samples, judges and learns, and on what."""

    recipe: Recipe
    phase: Phase
    loop: Loop
    collector: Collector
    learner: LocalLearner | LeadingLearner
    problems: list[EncodedProblem]
    validation: list[EncodedProblem]
    carrying: Carrying
    gauge: Gauge


def _iterate(box: _Box, number: int) -> Figures:
    """One rollout batch and its updates: the report's step."""
    clock, loop, phase = Clock(), box.loop, box.phase
    record = _record(loop, number)
    known = (record / "rollouts.parquet").is_file()  # keep_rollouts may have removed those of a replayed iteration
    held = box.carrying.holds(number)
    chosen, places = _chosen(box, number)
    collected, updates = _replayed(box, number) if known else _sampled(box, number, chosen)
    groups = collected.groups
    release()
    stale = box.carrying.staleness(number, groups)
    with _under_way(box, number, collected, places) as under_way:
        if not known:
            updates = _with_old(box, number, updates)
        clock.lap("replaying" if known else "preparing" if held else "sampling")
        _show(box, number, groups)
        steps, updates = _updated(box, updates, number, stale)
        release()
        clock.lap("training")
        later = under_way()
    if later.seconds is not None:
        clock.lap("waiting")
    row: Figures = {"iteration": number, **rollout_metrics(groups)}
    row |= gap_metrics(fresh(_measured(box, updates), stale)) | box.carrying.metrics(later.groups, updates, stale)
    row |= {"updates": len(steps), **mean_over_updates(steps)}
    loop.advance(len(steps), later.places)
    if _validated(phase, number):
        scheduled = number % phase.validate_every == 0
        row |= loop.validate(box.collector, box.validation, box.recipe.evaluation, scheduled=scheduled)
        clock.lap("validation")
    ringing = alarms(row, loop.metrics, float32=box.gauge.dtype == "float32")
    if ringing:
        row["alarms"] = ringing
    for text in ringing:
        progress.say(f"{loop.stage}, iteration {number}: {text}")
    laps, tokens = dict(clock.laps), collected.tokens
    if later.seconds is not None:
        laps["sampling"], tokens = laps.get("sampling", 0.0) + later.seconds, tokens + later.tokens
    pace = throughput(box.gauge, groups, updates, laps, tokens if phase.stale else None)
    loop.log(row, {**laps, **pace, "peak_memory_bytes": peak_memory_bytes()})
    _make_durable(box, record, groups, later.groups, updates, row)
    box.carrying.groups = later.groups
    return row


def _validated(phase: Phase, number: int) -> bool:
    """Whether a validation follows an iteration."""
    return number % phase.validate_every == 0 or number == phase.iterations


def _show(box: _Box, number: int, groups: Sequence[RolloutGroup]) -> None:
    every = box.loop.track.sample_every
    if every and (number == 1 or number % every == 0):
        progress.say(told(one_of(groups, number), f"{box.loop.stage}, iteration {number}"))


def _measured(box: _Box, updates: Sequence[Update]) -> Sequence[Update]:
    """The updates whose old log-probabilities are the trainer's."""
    return updates[:1] if box.learner.takes_sampled else updates


def _updated(
    box: _Box, updates: Sequence[Update], number: int, stale: Staleness | None
) -> tuple[list[Metrics], list[Update]]:
    """Every update in turn, and with the old log-probabilities that it was made with."""
    tokens = list(map(_tokens, updates))
    steps: list[Metrics] = []
    done: list[Update] = []
    pace, label = progress.Stopwatch(), f"{box.loop.stage}, iteration {number}: updates"
    with progress.task(label, len(updates), "updates", brief=True) as advance:
        for index, update in enumerate(updates):
            metrics, made = _update(box, update, index, stale)
            steps.append(metrics)
            done.append(made)
            advance(1, pace.left(sum(tokens[: index + 1]), sum(tokens[index + 1 :])))
    return steps, done


def _tokens(update: Update) -> int:
    return sum(len(sequence.ids) for sequence in update)


def _sampled(box: _Box, number: int, chosen: Sequence[int]) -> tuple[Gathered, list[Update]]:
    """What an iteration trains on: sampled with the weights as they are, verified, with advantages.

    Where it was sampled beside the iteration before, it is only graded, which the journal of verdicts answers.
    """
    if box.phase.asynchronous and number > 1 and not box.carrying.holds(number):
        text = "nothing was sampled for it beside the one before, so it is sampled first"
        progress.say(f"{box.loop.stage}, iteration {number}: {text}")
    box.loop.trainee.publish(box.collector.sampler, number - 1)
    collected = _go_on(box, number, chosen)
    return collected, updates_of(collected.groups, box.phase)


def _go_on(box: _Box, number: int, chosen: Sequence[int], go: Callable[[], None] | None = None) -> Gathered:
    """The groups under way, and those that an iteration begins, as far as it needs them."""
    phase, stage = box.phase, box.loop.stage
    problems = [box.problems[i] for i in chosen]
    sampling = Sampling(phase.group_size, phase.temperature, 1.0, phase.max_completion_tokens, overlong=phase.overlong)
    begun = box.collector.begin(problems, phase.group_size, purpose=stage, iteration=number)
    under_way, label = [*box.carrying.groups, *begun], f"{stage}, iteration {number}"
    quotas = box.carrying.quotas(number)
    return box.collector.go_on(under_way, sampling, phase.reward, purpose=stage, where=label, quotas=quotas, go=go)


def _with_old(box: _Box, number: int, updates: Sequence[Update]) -> list[Update]:
    """Updates with the log-probabilities before any of them."""
    old, later = list(updates[:1]), updates[1:]  # the first update's own pass has them
    label = f"{box.loop.stage}, iteration {number}: old log-probabilities"
    with progress.task(label, len(later), "updates", brief=True) as advance:
        for update in later:
            old.append(box.learner.with_old(update))
            advance()
    return old


@dataclass(frozen=True, slots=True)
class _Later:
    """What the next iteration goes on with."""

    groups: list[BegunGroup]
    places: dict[str, Place]
    tokens: int = 0
    """Sampled beside training."""
    seconds: float | None = None
    """Which sampling took, beside training; None: nothing was."""


@contextmanager
def _under_way(box: _Box, number: int, collected: Gathered, places: dict[str, Place]) -> Iterator[Callable[[], _Later]]:
    """What the next iteration goes on with; in an asynchronous phase it is sampled while the block trains.

    What a record holds is not sampled again.
    """
    record = _record(box.loop, number)
    if not box.phase.asynchronous or number == box.loop.total:
        yield lambda: _Later(collected.carried, places)
    elif (record / "metrics.json").is_file():
        groups = box.carrying.read(record)
        begun = box.carrying.begun(number + 1, groups)
        after = _drawn(box, number + 1, begun, places)[1] if begun else places
        yield lambda: _Later(groups, after)
    else:
        box.carrying.groups = collected.carried
        chosen, after = _drawn(box, number + 1, box.carrying.new(), places)
        with beside(lambda go: _go_on(box, number + 1, chosen, go)) as ahead:

            def wait() -> _Later:
                done = ahead()
                return _Later(done.made.begun, after, done.made.tokens, done.seconds)

            yield wait


def _chosen(box: _Box, number: int) -> tuple[list[int], dict[str, Place]]:
    """The problems that an iteration begins, beside those carried over, and how far in their orders it leads."""
    places = box.loop.position.places
    return ([], places) if box.carrying.holds(number) else _drawn(box, number, box.carrying.new(), places)


def _drawn(
    box: _Box, number: int, counts: Mapping[str, int], places: dict[str, Place]
) -> tuple[list[int], dict[str, Place]]:
    """So many problems for an iteration, from these places on."""
    domains = [encoded.problem.domain for encoded in box.problems]
    return iteration_batch(domains, counts, box.recipe.seed_of("rl"), box.loop.stage, number - 1, places)


def _replayed(box: _Box, number: int) -> tuple[Gathered, list[Update]]:
    """The same from the files of an iteration that was sampled before the run was killed."""
    problems, record = {e.problem.id: e.problem for e in box.problems}, _record(box.loop, number)
    groups, trained = read_rollouts(record / "rollouts.parquet", problems)
    updates = [restored(update, trained) for update in updates_of(groups, box.phase)]
    return Gathered(groups, box.carrying.read(record), [], 0), updates


def _update(box: _Box, update: Update, index: int, stale: Staleness | None) -> tuple[Metrics, Update]:
    """Loss and step on one mini-batch."""
    phase, done = box.phase, box.loop.position.updates
    rate = warmup_constant(done + index, phase.warmup_steps, phase.learning_rate)
    try:
        return box.learner.update(update, rate, lambda made: refuse_gap(gap_metrics(fresh([made], stale))))
    except NonFinite as error:
        batch = [
            {
                "ids": s.ids.tolist(),
                "prompt_tokens": int((~s.loss_mask).sum()),
                "old_logprobs": None if s.old_logprobs is None else s.old_logprobs[s.loss_mask].tolist(),
                "advantage": s.advantage,
            }
            for s in update
        ]
        raise box.loop.nonfinite(error, batch, f", update {index + 1}") from error


def _make_durable(
    box: _Box,
    record: Path,
    groups: Sequence[RolloutGroup],
    under_way: Sequence[BegunGroup],
    updates: Sequence[Update],
    row: Figures,
) -> None:
    """The iteration directory first, then the checkpoint: what a checkpoint has seen is always on disk."""
    loop, phase, at = box.loop, box.phase, box.loop.position.at
    if not record.is_dir():
        with whole_directory(record) as partial:
            write_rollouts(partial / "rollouts.parquet", groups, recorded(updates))
            box.carrying.write(partial, at, under_way)
            write_json(partial / "metrics.json", row)
    elif (known := read_json(record / "metrics.json")) != row:
        if without_validation(known) == without_validation(row):  # the last of a prolonged phase had a validation more
            write_json(record / "metrics.json", row)
        else:
            progress.say(
                f"{loop.stage}: replaying iteration {at} did not give the recorded metrics; this device, or another "
                "number of threads or micro-batch, does not repeat its arithmetic, so the run goes on without the "
                "promise of equal bits"
            )
    # keep_best may hand on any validated iteration, so each is saved
    scheduled = ("validation_score" in row and at % phase.validate_every == 0) or at % phase.save_every == 0
    if scheduled or "validation_score" in row or at == phase.iterations:
        loop.save(ended=not scheduled)
        _forget_rollouts(loop)


def _prolong(loop: Loop) -> None:
    """Take back what only the end of a shorter phase caused: in the record of its last iteration, then its checkpoint.

    In this order, so that a kill between the two finds the checkpoint as it was and takes back the same again.
    """
    loop.prolong()
    record = _record(loop, loop.position.at) / "metrics.json"
    if record.is_file() and read_json(record) != loop.metrics[-1]:
        write_json(record, loop.metrics[-1])
    amend(loop.directory, loop.position)


def _forget_rollouts(loop: Loop) -> None:
    keep = loop.checkpoints.keep_rollouts
    if keep is None:
        return
    oldest = min(int(path.name) for path in checkpoints(loop.directory))  # where a damaged run goes on at the earliest
    for number in range(1, loop.position.at - keep + 1):
        (_record(loop, number) / "rollouts.parquet").unlink(missing_ok=True)
        if number < oldest:
            (_record(loop, number) / CARRIED).unlink(missing_ok=True)


def _record(loop: Loop, number: int) -> Path:
    return loop.directory / "iterations" / f"{number:06d}"
