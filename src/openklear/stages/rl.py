"""The stages `rl-NAME`: the report's algorithm box.

For each iteration: sample a group per problem, verify, group advantage, drop groups without advantage, several
updates on mini-batches of the kept groups, log. The loop is written against Sampler, Judge and Learner.

An iteration is durable when its directory `iterations/000012` stands (rollouts.parquet, metrics.json; renamed when
whole). A run that was killed restarts from its newest checkpoint; recorded iterations after it are replayed from their
files instead of sampled anew, an unfinished one is sampled again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from openklear import progress
from openklear.data.store import prepared, read_problems
from openklear.durable.files import read_json, read_jsonl, whole_directory, write_json, write_jsonl_atomic
from openklear.errors import DataError, NonFinite
from openklear.models.loading import LoadedModel, load_model
from openklear.objectives.advantages import ADVANTAGES
from openklear.objectives.diagnostics import sampler_gap
from openklear.recipe.schema import Phase
from openklear.rollout.collect import Collector, EncodedProblem, Sampling, encode_problems
from openklear.rollout.local import LocalEngine
from openklear.rollout.records import Trained, read_rollouts, write_rollouts
from openklear.run.context import StageContext
from openklear.stages.sft import dtype_of
from openklear.training import checkpoint
from openklear.training.checkpoint import Place
from openklear.training.learner import Learner, LocalLearner
from openklear.training.metrics import alarms, mean_over_updates, refuse_gap, rollout_metrics, scorable_rollouts
from openklear.training.optimizer import Optimizer, build_optimizer, warmup_constant
from openklear.training.schedule import problem_batch
from openklear.training.step import PolicySequence
from openklear.training.validation import for_domains, validate
from openklear.types import Rollout, RolloutGroup, StopReason
from openklear.verifiers.judge import open_judge

Update = list[PolicySequence]


@dataclass(slots=True)
class _Run:
    """What the loop holds between iterations."""

    context: StageContext
    phase: Phase
    loaded: LoadedModel
    optimizer: Optimizer
    learner: Learner
    collector: Collector
    problems: list[EncodedProblem]
    validation: list[EncodedProblem]
    place: Place = field(default_factory=Place)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    timings: list[dict[str, Any]] = field(default_factory=list)

    @property
    def directory(self) -> Path:
        return self.context.directory


def run(context: StageContext) -> None:
    """Train one phase; called again after a kill it goes on where it was."""
    recipe = context.recipe
    assert recipe.rl is not None, "the pipeline plans this stage only for recipes with [rl]"
    phase = next(p for p in recipe.rl.phase if f"rl-{p.name}" == context.name)
    loaded = load_model(context.inputs["model"] / "model", dtype=dtype_of(recipe))
    problems, validation = _problems(context, phase, loaded)
    optimizer = build_optimizer(loaded.model, phase.optimizer)
    with ExitStack() as stack:
        verdicts = context.directory / "verdicts.jsonl"
        judge = open_judge(recipe.verifiers.limits, phase.domains, progress.say_once, journal=verdicts)
        stack.enter_context(judge)
        sampler = LocalEngine(loaded.model, end_ids=loaded.end_ids, slots=recipe.engine.slots)
        learner = LocalLearner(loaded, optimizer, phase, recipe.microbatch_tokens)
        collector = Collector(loaded, sampler, judge, recipe.seed)
        state = _Run(context, phase, loaded, optimizer, learner, collector, problems, validation)
        _resume(state)
        _train(state)
    checkpoint.hand_on(context.directory, state.place, loaded, recipe.checkpoints)
    write_jsonl_atomic(context.directory / "metrics.jsonl", state.metrics)


def _problems(
    context: StageContext, phase: Phase, loaded: LoadedModel
) -> tuple[list[EncodedProblem], list[EncodedProblem]]:
    """The phase's training and validation problems; those with too long a prompt are written to dropped.jsonl."""
    paths = prepared(context.inputs["prepare"])
    chosen = for_domains(read_problems(paths.problems), phase.domains)
    kept, dropped = encode_problems(loaded, chosen, phase.max_prompt_tokens)
    write_jsonl_atomic(context.directory / "dropped.jsonl", [{"id": p.id, "reason": why} for p, why in dropped])
    if len(kept) < phase.problems_per_iteration:
        raise DataError(
            f"{context.name}: {len(kept)} problems (of {len(chosen)}; {len(dropped)} have a prompt over "
            f"max_prompt_tokens = {phase.max_prompt_tokens}) are fewer than problems_per_iteration = "
            f"{phase.problems_per_iteration}; lower the latter, raise the former, or add problems"
        )
    validation = for_domains(read_problems(paths.validation), phase.domains)
    return kept, encode_problems(loaded, validation, phase.max_prompt_tokens)[0]


def _resume(state: _Run) -> None:
    newest = checkpoint.latest(state.directory)
    if newest is None:
        progress.say(f"{state.context.name}: the optimizer's moments start anew in this phase")
        return
    state.place = checkpoint.restore(newest, state.loaded, state.optimizer)
    state.metrics.extend(read_json(_iteration(state, i) / "metrics.json") for i in range(1, state.place.at + 1))
    state.timings.extend(r for r in read_jsonl(state.directory / "timings.jsonl") if r["iteration"] <= state.place.at)
    progress.say(f"{state.context.name}: going on after iteration {state.place.at} of {state.phase.iterations}")


def _train(state: _Run) -> None:
    """The loop over iterations."""
    phase, checkpoints = state.phase, state.context.recipe.checkpoints
    with progress.task(state.context.name, phase.iterations, "iterations") as advance:
        advance(state.place.at)
        while state.place.at < phase.iterations:
            if checkpoints.patience is not None and state.place.validations_since_best >= checkpoints.patience:
                progress.say(f"{state.context.name}: no better validation for {checkpoints.patience} times; stopping")
                break
            row = _iterate(state, state.place.at + 1)
            advance(1, reward=row["reward"], accuracy=row["accuracy"], length=row["length_mean"])


def _iterate(state: _Run, number: int) -> dict[str, Any]:
    """One rollout batch and its updates: the report's step."""
    clock = _Clock()
    recorded = _iteration(state, number)
    if recorded.is_dir():
        updates, groups = _replayed(state, recorded)
    else:
        groups = _sample(state, number)
        updates = [state.learner.with_old(update) for update in _updates(state.phase, groups)]
    clock.lap("sampling")
    row: dict[str, Any] = {"iteration": number, **rollout_metrics(groups), **_gap(updates)}
    refuse_gap(row)
    rows = [_update(state, update, number, k) for k, update in enumerate(updates)]
    row |= {"updates": len(rows), **mean_over_updates(rows)}
    clock.lap("training")
    state.place = replace(state.place, at=number, updates=state.place.updates + len(rows))
    if number % state.phase.validate_every == 0 or number == state.phase.iterations:
        _validate(state, row)
        clock.lap("validation")
    for text in alarms(row, state.metrics):
        progress.say(f"{state.context.name}, iteration {number}: {text}")
    state.metrics.append(row)
    state.timings.append({"iteration": number, **clock.laps})
    _make_durable(state, recorded, groups, updates, row)
    return row


def _sample(state: _Run, number: int) -> list[RolloutGroup]:
    phase = state.phase
    chosen = problem_batch(
        len(state.problems), phase.problems_per_iteration, state.context.recipe.seed, state.context.name, number - 1
    )
    sampling = Sampling(phase.group_size, phase.temperature, 1.0, phase.max_completion_tokens, overlong=phase.overlong)
    return state.collector.collect(
        [state.problems[i] for i in chosen],
        sampling,
        phase.reward,
        purpose=state.context.name,
        iteration=number,
        policy_version=number - 1,
    )


def _updates(phase: Phase, groups: Sequence[RolloutGroup]) -> list[Update]:
    """Advantages, then the kept groups cut into mini-batches: K kept groups make ceil(K / problems_per_update) updates.

    Unscorable rollouts, and with overlong = "mask" those stopped by length, leave their group before its mean is
    taken; they are in no loss either.
    """
    rollouts = [
        [
            r
            for r in scorable_rollouts(group)
            if not (phase.overlong == "mask" and r.completion.stop_reason is StopReason.LENGTH)
        ]
        for group in groups
    ]
    kept = [
        [_sequence(r, a, number) for r, a in zip(rollouts[number], advantages, strict=True)]
        for number, advantages in enumerate(_advantages(phase, rollouts))
        if len(advantages) >= 2 and (any(advantages) or not phase.filter_zero_advantage)
    ]
    size = phase.problems_per_update
    return [[s for group in kept[i : i + size] for s in group] for i in range(0, len(kept), size)]


def _advantages(phase: Phase, groups: Sequence[Sequence[Rollout]]) -> list[list[float]]:
    """Of every rollout of every group, by the phase's estimator."""
    rewards = [torch.tensor([r.reward.value for r in group], dtype=torch.float64) for group in groups]
    lengths = [torch.tensor([len(r.completion.token_ids) for r in group]) for group in groups]
    numbers = phase.advantage.model_dump(exclude={"type"})
    return [found.tolist() for found in ADVANTAGES[phase.advantage.type](rewards, lengths, **numbers)]


def _sequence(rollout: Rollout, advantage: float, group: int) -> PolicySequence:
    ids = np.concatenate([rollout.prompt_ids, rollout.completion.token_ids]).astype(np.int32)
    mask = np.arange(len(ids)) >= len(rollout.prompt_ids)
    return PolicySequence(
        ids=ids,
        loss_mask=mask,
        old_logprobs=np.zeros(len(ids), dtype=np.float32),
        advantage=advantage,
        correct=rollout.verdict.correct,
        group=group,
        sample=rollout.sample_index,
        rollout_logprobs=_over(mask, rollout.completion.logprobs),
    )


def _over(mask: NDArray[np.bool_], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """One value a completion token -> (T,), 0 outside the mask."""
    spread = np.zeros(len(mask), dtype=np.float32)
    spread[mask] = values
    return spread


def _gap(updates: Sequence[Update]) -> dict[str, float]:
    """Old (trainer's) against the sampler's own log-probabilities, over the tokens that are trained on."""
    pairs = [(s.old_logprobs, s.rollout_logprobs, s.loss_mask) for update in updates for s in update]
    if not pairs:
        return {}
    old = np.concatenate([old[mask] for old, _, mask in pairs])
    sampled = np.concatenate([sampled[mask] for _, sampled, mask in pairs if sampled is not None])
    return sampler_gap(torch.from_numpy(old), torch.from_numpy(sampled))


def _update(state: _Run, update: Update, number: int, index: int) -> dict[str, Any]:
    rate = warmup_constant(state.place.updates + index, state.phase.warmup_steps, state.phase.learning_rate)
    try:
        return state.learner.update(update, rate)
    except NonFinite as error:
        dump = state.directory / f"nonfinite-iteration-{number:06d}.jsonl"
        write_jsonl_atomic(
            dump,
            [
                {
                    "ids": s.ids.tolist(),
                    "prompt_tokens": int((~s.loss_mask).sum()),
                    "old_logprobs": s.old_logprobs[s.loss_mask].tolist(),
                    "advantage": s.advantage,
                }
                for s in update
            ],
        )
        raise NonFinite(
            f"{error} ({state.context.name}, iteration {number}, update {index + 1}). The batch is in {dump}; the last "
            "checkpoint stands. A smaller learning_rate or max_grad_norm may help; fork the run to change it."
        ) from error


def _validate(state: _Run, row: dict[str, Any]) -> None:
    scores = validate(
        state.collector,
        state.validation,
        state.context.recipe.evaluation,
        stage=state.context.name,
        at=state.place.at,
    )
    row.update(scores)
    if scores:
        state.place = state.place.after_validation(state.place.at, scores["validation_score"])


def _make_durable(
    state: _Run,
    target: Path,
    groups: Sequence[RolloutGroup],
    updates: Sequence[Update],
    row: dict[str, Any],
) -> None:
    """The iteration directory first, then the checkpoint: what a checkpoint has seen is always on disk."""
    if not target.is_dir():
        trained = {(s.group, s.sample): _trained(s) for update in updates for s in update}
        with whole_directory(target) as partial:
            write_rollouts(partial / "rollouts.parquet", groups, trained)
            write_json(partial / "metrics.json", row)
    elif read_json(target / "metrics.json") != row:
        progress.say(
            f"{state.context.name}: replaying iteration {state.place.at} did not give the recorded metrics; "
            "this device does not repeat its own arithmetic, so the run goes on without the promise of equal bits"
        )
    validated = "validation_score" in row  # keep_best may hand on any validated iteration, so each is saved
    if validated or state.place.at % state.phase.save_every == 0 or state.place.at == state.phase.iterations:
        write_jsonl_atomic(state.directory / "timings.jsonl", state.timings)
        checkpoints = state.context.recipe.checkpoints
        checkpoint.save(state.directory, state.place, state.loaded, state.optimizer, checkpoints)
        _forget_rollouts(state, checkpoints.keep_rollouts)


def _replayed(state: _Run, recorded: Path) -> tuple[list[Update], list[RolloutGroup]]:
    problems = {e.problem.id: e.problem for e in state.problems}
    groups, trained = read_rollouts(recorded / "rollouts.parquet", problems)
    updates = [[_restored(s, trained[s.group, s.sample]) for s in update] for update in _updates(state.phase, groups)]
    return updates, groups


def _trained(sequence: PolicySequence) -> Trained:
    """What is recorded of a rollout that is in an update."""
    mask, entropies = sequence.loss_mask, sequence.old_entropies
    return Trained(sequence.old_logprobs[mask], sequence.advantage, None if entropies is None else entropies[mask])


def _restored(sequence: PolicySequence, trained: Trained) -> PolicySequence:
    mask, entropies = sequence.loss_mask, trained.old_entropies
    return replace(
        sequence,
        old_logprobs=_over(mask, trained.old_logprobs),
        old_entropies=None if entropies is None else _over(mask, entropies),
    )


def _forget_rollouts(state: _Run, keep: int | None) -> None:
    if keep is None:
        return
    for number in range(1, state.place.at - keep + 1):
        (_iteration(state, number) / "rollouts.parquet").unlink(missing_ok=True)


def _iteration(state: _Run, number: int) -> Path:
    return state.directory / "iterations" / f"{number:06d}"


class _Clock:
    """Seconds by part of an iteration."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        """Close the part that ends now."""
        now = time.perf_counter()
        self.laps[name] = now - self._since
        self._since = now
