"""The same work on many placements: which is best on how many GPUs, and what asynchrony buys there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from openklear.planner.amounts import Amounts
from openklear.planner.auto import chosen, usable
from openklear.planner.machines import Machine
from openklear.planner.shape import ModelShape
from openklear.recipe.schema import Phase, Recipe
from openklear.simulation import room
from openklear.simulation.decoding import StepTime, roofline_step
from openklear.simulation.fleet import Placement
from openklear.simulation.flow import Throughput, simulated
from openklear.simulation.lengths import DrawnRow, drawn_rows
from openklear.simulation.room import states_bytes, trainer_bytes
from openklear.simulation.training import TrainingWork

TENSOR_PARALLEL = (1, 2, 4, 8)
TRAINING_SHARES = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75)
"""Of the GPUs, where trainers have theirs alone."""
STALENESS = (0, 1, 4)
SLOTS = 256
"""Rows that an engine decodes at once, at most."""


@dataclass(frozen=True, slots=True)
class PhaseWork:
    """One phase of RL, as far as its time goes."""

    work: TrainingWork
    phase: Phase
    mean: float
    """Tokens of a completion on average, before it is cut."""
    prompt: float

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return self.phase.max_prompt_tokens + self.phase.max_completion_tokens

    def rows(self, iterations: int, seed: int = 0) -> list[list[DrawnRow]]:
        """Of so many iterations."""
        phase = self.phase
        return drawn_rows(
            *(iterations, phase.problems_per_iteration, phase.group_size),
            mean=self.mean, most=phase.max_completion_tokens, prompt=self.prompt, seed=seed,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Best:
    """Of one number of GPUs and one bound on staleness."""

    gpus: int
    staleness: int
    outcome: Throughput | None
    """None where no placement has the memory."""


def job_of(recipe: Recipe, phase: Phase, shape: ModelShape, machine: Machine, amounts: Amounts) -> PhaseWork:
    """A phase of a recipe, with the lengths that its plan has."""
    sizes = chosen(recipe, shape, machine)
    longest = phase.max_prompt_tokens + phase.max_completion_tokens
    exact = sizes.dtype == "float32" and phase.old_logprobs == "auto"
    work = TrainingWork(
        shape,
        machine,
        sizes.dtype,
        max(sizes.microbatch_tokens, longest),
        phase.problems_per_update,
        checkpointing=sizes.activation_checkpointing,
        filtered=phase.filter_zero_advantage is True,
        old_logprobs=not (exact or phase.old_logprobs == "sampler"),
    )
    return PhaseWork(work, phase, amounts.completion(phase.max_completion_tokens), amounts.prompts(phase))


def without_cluster(recipe: Recipe) -> Recipe:
    """With the sizes of one machine: placements of any number of GPUs are compared, not the one that is written."""
    return recipe.model_copy(update={"cluster": None})


def sweep(job: PhaseWork, sizes: Sequence[int], staleness: Sequence[int] = STALENESS) -> Iterator[Best]:
    """The best placement of each size and bound. The same seed, so all are given the same rows."""
    rows = job.rows(2 * max(staleness) + 6)
    for gpus in sizes:
        for bound in staleness:
            outcomes = [simulate(job, one, rows) for one in placements(job, gpus, bound)]
            yield Best(gpus, bound, min(outcomes, key=lambda one: one.seconds, default=None))


def simulate(job: PhaseWork, placement: Placement, rows: Sequence[Sequence[DrawnRow]]) -> Throughput:
    """One placement: as many iterations as it takes to be in its stride, and those that are counted."""
    skipped = 0 if placement.staleness == 0 else placement.staleness + 1
    counted = 2 if placement.staleness == 0 else placement.staleness + 4
    step = step_of(job, placement.tensor_parallel)
    cache = cache_tokens(job, placement)
    number = skipped + counted
    return simulated(rows[:number], placement, step, job.work, slots=SLOTS, cache_tokens=cache, skipped=skipped)


def step_of(job: PhaseWork, tensor_parallel: int) -> StepTime:
    """Of an engine of so many GPUs."""
    return roofline_step(job.work.shape, job.work.machine, job.work.dtype, tensor_parallel=tensor_parallel)


def placements(job: PhaseWork, gpus: int, staleness: int) -> Iterator[Placement]:
    """All that memory allows. Taking turns is synchronous, so it is tried with staleness 0 alone."""
    trainers = {round(share * gpus) for share in TRAINING_SHARES} - {0, gpus}
    for tensor_parallel in TENSOR_PARALLEL:
        for number in sorted(trainers | ({gpus} if staleness == 0 else set())):
            placement = Placement(gpus, number, tensor_parallel, staleness)
            if placement.samplers and has_memory(job, placement):
                yield placement


def cache_tokens(job: PhaseWork, placement: Placement) -> int:
    """Tokens that the cache of one engine holds, beside its weights and what trains on the same GPUs."""
    beside = states_bytes(job.work, job.phase.optimizer, placement.trainers) if placement.colocated else 0
    return room.cache_tokens(job.work, placement, beside)


def has_memory(job: PhaseWork, placement: Placement) -> bool:
    """Of the trainers for their longest row, of an engine for one row."""
    if cache_tokens(job, placement) < job.longest:
        return False
    return peak_bytes(job, placement) <= usable(job.work.machine)


def peak_bytes(job: PhaseWork, placement: Placement) -> int:
    """Of a GPU that trains."""
    return trainer_bytes(job.work, job.phase.optimizer, placement.trainers, job.longest)
