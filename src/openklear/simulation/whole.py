"""All stages of a recipe on so many GPUs: how long each takes, and what a GPU holds.

The amounts of work are the planner's, the time of SFT and RL that of `simulation.training` and of simulated iterations,
and an evaluation's that of engines which share its completions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from openklear.planner.amounts import Amounts
from openklear.planner.auto import chosen, usable
from openklear.planner.machines import Machine
from openklear.planner.memory import WIDTH
from openklear.planner.parts import TEMPLATE_TOKENS, TRAINED
from openklear.planner.plan import duration, size
from openklear.planner.shape import ModelShape
from openklear.recipe.engine import gpus_of
from openklear.recipe.schema import Phase, Recipe, Sft
from openklear.simulation.decoding import roofline_step
from openklear.simulation.fleet import Placement
from openklear.simulation.flow import Throughput, simulated
from openklear.simulation.lengths import DrawnRow, drawn_rows
from openklear.simulation.room import cache_tokens, trainer_bytes
from openklear.simulation.sweep import (
    SLOTS,
    TENSOR_PARALLEL,
    PhaseWork,
    has_memory,
    job_of,
    peak_bytes,
    simulate,
    sweep,
    without_cluster,
)
from openklear.simulation.training import TrainingWork

UPDATES = 8
"""Updates of SFT whose rows are drawn; the others take as long."""
ITERATIONS = 6
"""Of RL whose rows are drawn."""


@dataclass(frozen=True, slots=True)
class Hands:
    """Who works: so many GPUs, of which `trainers` train while the others sample, or all in the best way."""

    gpus: int
    trainers: int | None = None
    """Of [cluster]; all of them where it is colocated, with an engine on each."""
    tensor_parallel: int = 1
    """GPUs of a sampler of [cluster]."""

    @property
    def training(self) -> int:
        """GPUs that SFT has."""
        return self.gpus if self.trainers is None else self.trainers

    @property
    def validating(self) -> int:
        """GPUs that a validation has while a stage trains."""
        apart = self.trainers is not None and self.trainers < self.gpus
        return self.gpus - self.training if apart else self.gpus

    @property
    def evaluating(self) -> int:
        """GPUs that an evaluation has: samplers of several cannot take the trainers' places."""
        return self.gpus if self.trainers is None or self.tensor_parallel == 1 else self.gpus - self.trainers

    @property
    def beside(self) -> bool:
        """Whether a sampler with a whole model sits beside each trainer all the while."""
        return self.trainers == self.gpus

    @property
    def engines(self) -> Sequence[int]:
        """GPUs that an engine may have; a sampler of [cluster] has what is written."""
        return TENSOR_PARALLEL if self.trainers is None else (self.tensor_parallel,)


@dataclass(frozen=True, slots=True)
class StageOnMany:
    """One stage on one number of GPUs."""

    stage: str
    seconds: float | None
    """None: it has not the memory."""
    peak: int = 0
    """Bytes of a GPU that trains; 0 where none does."""
    placement: str = ""


@dataclass(frozen=True, slots=True)
class WholeRun:
    """All stages with the same hands."""

    hands: Hands
    stages: Sequence[StageOnMany]

    @property
    def missing(self) -> list[str]:
        """Stages that have not the memory."""
        return [one.stage for one in self.stages if one.seconds is None]

    @property
    def seconds(self) -> float:
        """Of all stages that have the memory."""
        return sum(one.seconds or 0.0 for one in self.stages)

    @property
    def hours(self) -> float:
        """GPU-hours."""
        return self.seconds / 3600 * self.hands.gpus


@dataclass(frozen=True, slots=True)
class Whole:
    """A recipe on many GPUs of one kind."""

    recipe: Recipe
    shape: ModelShape
    machine: Machine
    amounts: Amounts

    def written(self) -> Hands | None:
        """What the recipe's [cluster] says; None without it."""
        cluster, engine = self.recipe.cluster, self.recipe.engine
        return None if cluster is None else Hands(cluster.places(engine), cluster.trainers, gpus_of(engine))

    def on(self, hands: Hands) -> WholeRun:
        """All stages, in their order."""
        return WholeRun(hands, list(self._stages(hands)))

    def _stages(self, hands: Hands) -> Iterator[StageOnMany]:
        yield self._evaluated("evaluate-base", hands)
        if self.recipe.sft is not None:
            yield self._sft(self.recipe.sft, hands)
            yield self._evaluated("evaluate-sft", hands)
        for phase in self.recipe.rl.phase if self.recipe.rl is not None else ():
            yield self._phase(phase, hands)
            yield self._evaluated(f"evaluate-rl-{phase.name}", hands)

    def _sft(self, settings: Sft, hands: Hands) -> StageOnMany:
        """Updates one like another, each as long as its ranks and its longest row take."""
        rows = self.amounts.demonstrations
        row = min(rows.prompt + rows.response, settings.max_tokens)
        each = max(round(settings.batch_tokens / row), 1)
        ranks, work = hands.training, self._work(hands, settings.max_tokens, each)
        peak = trainer_bytes(work, settings.optimizer, ranks, settings.max_tokens) + self._beside(hands, work.dtype)
        if peak > usable(self.machine):
            return StageOnMany("sft", None, peak)
        drawn = drawn_rows(
            *(UPDATES, each, 1), mean=row - rows.prompt, most=settings.max_tokens - round(rows.prompt),
            prompt=rows.prompt,
        )  # fmt: skip
        seconds = sum(work.seconds(update, ranks) for update in drawn) / UPDATES
        updates = math.ceil(rows.number * settings.epochs * row / settings.batch_tokens)
        validations = math.ceil(updates / settings.save_every) * self._validation(None, hands)
        return StageOnMany("sft", updates * seconds + validations, peak, f"{updates:,} updates of {each} rows")

    def _phase(self, phase: Phase, hands: Hands) -> StageOnMany:
        """Iterations as they were simulated, and the validations between them."""
        job = job_of(self._recipe(hands), phase, self.shape, self.machine, self.amounts)
        best = _iteration(job, hands, int(phase.asynchronous))
        peak = 0 if best is None else peak_bytes(job, best.placement) + self._beside(hands, job.work.dtype)
        if best is None or peak > usable(self.machine):
            return StageOnMany(f"rl-{phase.name}", None, peak)
        times = math.ceil(phase.iterations / phase.validate_every)
        seconds = best.seconds * phase.iterations + times * self._validation(phase, hands)
        return StageOnMany(f"rl-{phase.name}", seconds, peak, str(best.placement))

    def _validation(self, phase: Phase | None, hands: Hands) -> float:
        """Seconds of one, of the phase's domains; None: of SFT."""
        completions, prompt = self.amounts.validated(self.recipe, phase)
        group = self.recipe.evaluation.validation_samples
        found = self._sampled(completions, group, prompt, hands, hands.validating)
        return 0.0 if found is None else found[0]

    def _evaluated(self, stage: str, hands: Hands) -> StageOnMany:
        rows, completions = self.amounts.heldout, self.amounts.completions
        group = max(round(completions / max(rows.number, 1)), 1)
        found = self._sampled(completions, group, rows.prompt, hands, hands.evaluating)
        return StageOnMany(stage, None) if found is None else StageOnMany(stage, found[0], 0, found[1])

    def _sampled(
        self, completions: int, group: int, prompt: float, hands: Hands, gpus: int
    ) -> tuple[float, str] | None:
        """(seconds of the fastest engines on so many GPUs that have the memory, who they are)."""
        if not completions:
            return 0.0, ""
        most = self.recipe.evaluation.max_completion_tokens
        prompt += TEMPLATE_TOKENS["pretrained"]
        mean = self.amounts.completion(most)
        rows = drawn_rows(1, -(-completions // group), group, mean=mean, most=most, prompt=prompt)
        work = self._work(hands, most, 1)
        found = [self._engines(rows, work, gpus, number, prompt + most) for number in hands.engines]
        return min((one for one in found if one is not None), default=None)

    def _engines(
        self, rows: Sequence[Sequence[DrawnRow]], work: TrainingWork, gpus: int, tensor_parallel: int, longest: float
    ) -> tuple[float, str] | None:
        placement = Placement(gpus, gpus, tensor_parallel)
        cache = cache_tokens(work, placement)
        if not placement.samplers or cache < longest:
            return None
        step = roofline_step(self.shape, self.machine, work.dtype, tensor_parallel=tensor_parallel)
        found = simulated(rows, placement, step, _Untrained(), slots=SLOTS, cache_tokens=cache)
        return found.seconds, f"engines {placement.samplers} x {tensor_parallel}"

    def _recipe(self, hands: Hands) -> Recipe:
        """With [cluster] where it is what is planned."""
        return without_cluster(self.recipe) if hands.trainers is None else self.recipe

    def _beside(self, hands: Hands, dtype: str) -> int:
        """Bytes of a sampler that sits beside a trainer, while that one works."""
        return self.shape.parameters * WIDTH[dtype] if hands.beside else 0

    def _work(self, hands: Hands, longest: int, problems: int) -> TrainingWork:
        sizes = chosen(self._recipe(hands), self.shape, self.machine, longest=longest)
        return TrainingWork(
            *(self.shape, self.machine, sizes.dtype, max(sizes.microbatch_tokens, longest), problems),
            checkpointing=sizes.activation_checkpointing, filtered=False, old_logprobs=False,
        )  # fmt: skip


def _iteration(job: PhaseWork, hands: Hands, staleness: int) -> Throughput | None:
    """The best placement, or the one that was asked for; None where there is not the memory."""
    if hands.trainers is None:
        staleness = min(staleness, hands.gpus - 1)  # one GPU alone takes turns
        return next(sweep(job, [hands.gpus], [staleness])).outcome
    placement = Placement(hands.gpus, hands.trainers, hands.tensor_parallel, staleness)
    rows = job.rows(ITERATIONS + 2 * staleness)
    return simulate(job, placement, rows) if has_memory(job, placement) else None


class _Untrained:
    """Nobody trains on what an evaluation samples."""

    def seconds(self, rows: Sequence[DrawnRow], ranks: int) -> float:
        return 0.0

    def publish_seconds(self, gpus: int) -> float:
        return 0.0


def whole_lines(whole: Whole, runs: Sequence[WholeRun], price: float | None) -> Iterator[str]:
    """A table with a column for each number of GPUs, and what was assumed."""
    yield f"{'on GPUs':22}" + "".join(f"{_column(run.hands):>14}" for run in runs)
    for number, stage in enumerate(runs[0].stages):
        cells = [run.stages[number] for run in runs]
        yield f"{stage.stage:22}" + "".join(f"{_took(one):>14}" for one in cells)
    yield f"{'in all':22}" + "".join(f"{_unless(run, duration(run.seconds)):>14}" for run in runs)
    yield f"{'GPU-hours':22}" + "".join(f"{_unless(run, f'{run.hours:,.0f}'):>14}" for run in runs)
    if price is not None:
        yield f"{'cost':22}" + "".join(f"{_unless(run, f'{run.hours * price:,.0f}'):>14}" for run in runs)
    yield f"{'memory of a trainer':22}" + "".join(f"{_peak(run):>14}" for run in runs)
    yield ""
    for run in runs:
        yield f"{_column(run.hands)}: {_placed(run)}"
    yield ""
    yield from _assumed(whole)


def _column(hands: Hands) -> str:
    return f"{hands.gpus:,}" if hands.trainers is None else f"[cluster] {hands.gpus}"


def _took(one: StageOnMany) -> str:
    return "no memory" if one.seconds is None else duration(one.seconds)


def _unless(run: WholeRun, text: str) -> str:
    return "-" if run.missing else text


def _peak(run: WholeRun) -> str:
    most = max(one.peak for one in run.stages)
    return size(most) if most else "-"


def _placed(run: WholeRun) -> str:
    if run.missing:
        return f"{', '.join(run.missing)} do not fit"
    return "; ".join(f"{one.stage} {one.placement}" for one in run.stages if one.peak)


def _assumed(whole: Whole) -> Iterator[str]:
    amounts = whole.amounts
    if amounts.unknown:
        yield f"NOT counted, as nothing says how many rows they have: {', '.join(amounts.unknown)}"
    yield (
        f"assumed: {amounts.demonstrations.number:,} demonstrations of {amounts.demonstrations.response:,.0f} tokens; "
        f"{amounts.said()}; {TRAINED:.0%} of the groups have an advantage where the others are left out"
    )
    yield (
        f"{whole.machine.name}, {size(usable(whole.machine))} of each planned with; a model is sharded over all that "
        f"train it (FSDP2), engines of 1, 2, 4 or 8 GPUs (those of [cluster] as written); {_flow(whole.recipe)}; "
        "loading, data, grading and faults are not counted. Not measured on GPUs with this code (`openklear simulate` "
        "says more of RL)"
    )


def _flow(recipe: Recipe) -> str:
    """Whether phases sample while they train."""
    flows = {phase.asynchronous for phase in (recipe.rl.phase if recipe.rl else ())}
    if flows == {True, False}:
        return "phases synchronous or asynchronous as written"
    return "asynchronous" if flows == {True} else "synchronous"


def whole_document(whole: Whole, runs: Sequence[WholeRun], price: float | None) -> dict[str, Any]:
    """For --json."""
    return {
        "machine": asdict(whole.machine),
        "usable_bytes": usable(whole.machine),
        "sources_not_counted": list(whole.amounts.unknown),
        "runs": [_document(run, price) for run in runs],
    }


def _document(run: WholeRun, price: float | None) -> dict[str, Any]:
    whole = not run.missing
    return {
        "gpus": run.hands.gpus,
        "trainers": run.hands.trainers,
        "stages": [asdict(one) for one in run.stages],
        "fits": whole,
        "expected_seconds": run.seconds if whole else None,
        "gpu_hours": run.hours if whole else None,
        "cost": run.hours * price if whole and price is not None else None,
    }
