"""What a study will take on a machine, before anything of it is made: runs, what they share, hours, memory, cost.

Nothing is fetched and no data is read but the first rows of what lies here. Which stages several runs share follows
from their settings alone, since fingerprints read files that may not be there yet.

Hours are those of one machine's arithmetic and bandwidth. Where its memory does not hold a run, they are counted as if
the run were spread over as many of them as do hold it, at no loss: hours of machines, not of a clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from openklear.ablation.definition import Arm, Study
from openklear.ablation.design import needed, recipe_of
from openklear.planner.amounts import Amounts
from openklear.planner.fit import fits
from openklear.planner.machines import Machine, machine_named
from openklear.planner.plan import Plan, duration, make_plan, size
from openklear.recipe.schema import Recipe
from openklear.recipe.show import count
from openklear.run.model_facts import facts_or_fetch
from openklear.run.plan import Stage, stages
from openklear.run.unseen import PROMPT_TOKENS, SHARE, expected_amounts


@dataclass(frozen=True, slots=True)
class ArmBudget:
    """One run of an arm, alone."""

    name: str
    title: str
    seconds: float
    """Expected, of all the stages that the measured models need."""
    peak: int
    """Bytes of the stage that holds most."""
    fits: bool
    machines: int
    """That hold it together; 1 where it fits."""


@dataclass(frozen=True, slots=True)
class StageBudget:
    """A stage over all runs."""

    name: str
    made: int
    """How often; the runs that share one with others count it once together."""
    runs: int
    """That need it."""
    seconds: float
    """Of all that are made, together."""


@dataclass(frozen=True, slots=True)
class StudyBudget:
    """All that is to be said of a study before it runs."""

    name: str
    size: str
    seeds: int
    machine: Machine
    model: str
    """A line about the model."""
    arms: tuple[ArmBudget, ...]
    stages: tuple[StageBudget, ...]
    """Those that take time by the planner's arithmetic: training and evaluations."""
    largest: Plan
    """Of the arm that holds most, on one machine."""
    lengths: str
    """A line about how long completions are taken to be."""
    losses: int = 0
    """Measures that are losses."""

    @property
    def runs(self) -> int:
        """Arms x seeds."""
        return len(self.arms) * self.seeds

    @property
    def seconds(self) -> float:
        """Expected on one such machine, with what is shared made once."""
        return sum(one.seconds for one in self.stages)

    @property
    def apart(self) -> float:
        """The same if every run made all of its stages itself."""
        return self.seeds * sum(one.seconds for one in self.arms)

    @property
    def fits(self) -> bool:
        """Whether every arm does."""
        return all(one.fits for one in self.arms)

    def lines(self, price: float | None = None) -> list[str]:
        """One screen; `price` is that of an hour of the machine."""
        hours = self.seconds / 3600
        cost = "" if price is None else f"; {hours * price:,.2f} at {price:g} an hour"
        seeds = f"{count(len(self.arms), 'arm')} x {count(self.seeds, 'seed')} = {count(self.runs, 'run')}"
        whole = f"in all {hours:,.1f} hours of {self.machine.name}, {self.apart / 3600:,.1f} if nothing were shared"
        return [
            f"{self.name}: {seeds}",
            f"model: {self.model}",
            "",
            *self._arms(),
            "",
            *self._stages(),
            "",
            f"{whole}{cost} (loading, data and reports are not counted)",
            *self.largest.verdict(),
            *self._notes(),
        ]

    def document(self, price: float | None = None) -> dict[str, Any]:
        """For --json."""
        return {
            "study": self.name,
            "size": self.size,
            "machine": asdict(self.machine),
            "arms": [asdict(one) for one in self.arms],
            "seeds": self.seeds,
            "runs": self.runs,
            "stages": [asdict(one) for one in self.stages],
            "seconds": self.seconds,
            "seconds_if_nothing_were_shared": self.apart,
            "hours": self.seconds / 3600,
            "cost": None if price is None else self.seconds / 3600 * price,
            "peak_bytes": self.largest.peak,
            "fits": self.fits,
            "change": None if self.largest.change is None else list(self.largest.change.keys),
            "fits_device": self.largest.bigger,
            "sources_not_counted": list(self.largest.amounts.unknown),
            "completion_tokens": self.largest.amounts.length,
        }

    def _arms(self) -> Iterator[str]:
        width = max(len(one.title) for one in self.arms) + 2
        yield f"{'arm':{width}}{'a run alone':>14}{'at most':>12}"
        for one in self.arms:
            spread = "" if one.fits else f"  on {one.machines} together"
            yield f"{one.title:{width}}{duration(one.seconds):>14}{size(one.peak):>12}{spread}"

    def _stages(self) -> Iterator[str]:
        width = max(len(one.name) for one in self.stages) + 2
        yield f"{'stage':{width}}{'made':>6}{'for runs':>10}{'each':>12}{'together':>12}"
        for one in self.stages:
            each = duration(one.seconds / one.made)
            yield f"{one.name:{width}}{one.made:>6}{one.runs:>10}{each:>12}{duration(one.seconds):>12}"

    def _notes(self) -> Iterator[str]:
        amounts = self.largest.amounts
        if not self.fits:
            most = max(one.machines for one in self.arms)
            yield (
                f"hours are counted as if the memory of {most} such machines were one, which no key of a recipe does "
                "yet: as it is, a run wants one machine that holds it"
            )
        yield self.lengths
        if self.losses:
            measures = count(self.losses, "measure")
            yield f"NOT counted: the losses of {measures}, for each model a forward pass over held-out rows"
        if amounts.unknown:
            yield f"NOT counted, as their rows are not known: {', '.join(amounts.unknown)}; give them a limit"


def budget(
    study: Study, path: Path, machine: str | None = None, *, completion_tokens: float | None = None
) -> StudyBudget:
    """The budget of a study that was read from `path`; `machine` is a name for --device, None the recipe's own.

    RecipeError where an arm's keys do not fit the recipe, or a measured model is not one of it; ModelError where
    nothing is known of the model; UsageError for an unknown machine.
    """
    seeds = study.seeds.values
    known: dict[str, Amounts] = {}
    alone: list[Plan] = []
    spread: list[tuple[Plan, int]] = []
    model = ""
    for arm in study.arm:
        recipe = recipe_of(study, path, arm, seeds[0])
        facts = facts_or_fetch(recipe)
        key = _key(
            [recipe.model_dump(mode="json", include=_AMOUNTS), recipe.sft and recipe.sft.max_tokens, _most(recipe)]
        )
        if key not in known:  # a world is written to be looked at, and arms seldom change it
            known[key] = expected_amounts(recipe, completion_tokens)
        on = machine_named(machine or recipe.device, "--device" if machine else "device =")
        alone.append(make_plan(recipe, facts.shape, on, known[key]))
        spread.append(_spread(alone[-1]))
        model = model or facts.line()
    every = [
        (plan, needed(stages(recipe_of(study, path, arm, seed)), study, f"{path}: arm {arm.name}"))
        for arm, (plan, _), seed in _with_seeds(study, spread)
    ]
    largest = max(alone, key=lambda plan: plan.peak)
    return StudyBudget(
        *(study.name, study.size, len(seeds), alone[0].machine, model),
        arms=tuple(_arm(study, path, *one) for one in zip(study.arm, alone, spread, strict=True)),
        stages=tuple(_over_all_runs(every)),
        largest=largest,
        lengths=_lengths(largest.amounts, told=completion_tokens is not None),
        losses=sum(one.kind == "loss" for one in study.measure),
    )


_AMOUNTS = {"data", "world", "evaluation", "model"}
"""Tables that amounts follow from, beside the longest rows."""


def _most(recipe: Recipe) -> list[int]:
    return [phase.max_completion_tokens for phase in (recipe.rl.phase if recipe.rl is not None else ())]


def _lengths(amounts: Amounts, *, told: bool) -> str:
    if told or amounts.length is None:
        return amounts.said()
    return (
        "nothing here tells how long responses and completions are: they are taken to have "
        f"{amounts.length:,.0f} tokens on average, {SHARE:.0%} of the longest, and prompts {PROMPT_TOKENS}"
    )


MOST_MACHINES = 64
"""Over which a run is thought to be spread, at most."""


def _spread(plan: Plan) -> tuple[Plan, int]:
    """The plan on the fewest GPUs that hold the run together, as if they were one of more memory; and how many."""
    if plan.fits or plan.machine.kind == "cpu":
        return plan, 1
    for number in range(2, MOST_MACHINES + 1):
        larger = replace(plan.machine, memory_bytes=number * plan.machine.memory_bytes)
        if fits(plan.recipe, plan.shape, larger, plan.amounts):
            return make_plan(plan.recipe, plan.shape, larger, plan.amounts), number
    return plan, 1


def _with_seeds(study: Study, plans: Sequence[tuple[Plan, int]]) -> Iterator[tuple[Arm, tuple[Plan, int], int]]:
    """Every run: its arm, that arm's plan, and its seed."""
    for arm, plan in zip(study.arm, plans, strict=True):
        for seed in study.seeds.values:
            yield arm, plan, seed


def _arm(study: Study, path: Path, arm: Arm, alone: Plan, spread: tuple[Plan, int]) -> ArmBudget:
    plan, machines = spread
    wanted = needed(stages(alone.recipe), study, f"{path}: arm {arm.name}")
    seconds = sum(_seconds(plan, stage.name) for stage in wanted)
    return ArmBudget(arm.name, arm.title, seconds, alone.peak, alone.fits, machines)


def _seconds(plan: Plan, stage: str) -> float:
    return sum(one.seconds for one in plan.times if one.part.stage == stage)


def _over_all_runs(runs: Sequence[tuple[Plan, Sequence[Stage]]]) -> Iterator[StageBudget]:
    """Stages of one name, over all runs; those with equal settings and equal inputs are one."""
    made: dict[str, dict[str, float]] = {}
    times: dict[str, int] = {}
    for plan, mine in runs:
        keys: dict[str, str] = {}
        for stage in mine:
            keys[stage.name] = _key([stage.kind, stage.settings, _inputs(stage, keys), _places(stage)])
            made.setdefault(stage.name, {})[keys[stage.name]] = _seconds(plan, stage.name)
            times[stage.name] = times.get(stage.name, 0) + 1
    for name, seconds in made.items():
        if any(seconds.values()):
            yield StageBudget(name, len(seconds), times[name], sum(seconds.values()))


def _inputs(stage: Stage, keys: Mapping[str, str]) -> dict[str, str]:
    return {role: keys[name] for role, name in stage.inputs.items()}


def _places(stage: Stage) -> dict[str, str]:
    """Files from outside, by where they are: two places are taken to hold two things."""
    return {label: str(place) for label, place in stage.files.items()}


def _key(value: Any) -> str:
    return blake2b(json.dumps(value, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()
