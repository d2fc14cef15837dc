"""What a run will meet, found out before it begins: the model's configuration, every file's first row, missing extras.

Nothing is written or fetched, and torch is not loaded. Figures of tokens are estimates from the first rows of each
source; what they are counted with is said beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from openklear.errors import DataError, UsageError
from openklear.planner.machines import machine_named
from openklear.planner.plan import Plan, make_plan
from openklear.recipe.schema import Recipe
from openklear.recipe.show import count
from openklear.run.amounts import amounts_of
from openklear.run.extras import missing
from openklear.run.first_rows import SourceFacts, look, of_world
from openklear.run.fork import would_take_over
from openklear.run.model_facts import ModelFacts, TokenCounter, model_facts
from openklear.run.pipeline import plan_parts
from openklear.run.plan import Through, stages


@dataclass(slots=True)
class Preview:
    """What was found, and all that would end the run."""

    model: ModelFacts | None = None
    notes: list[str] = field(default_factory=list)
    counted: str = ""
    """What tokens were counted with."""
    sources: list[SourceFacts] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    plan: Plan | None = None
    """What memory and time it takes on the machine at hand."""
    faults: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For the terminal."""
        shown = [f"model: {self.model.line()}"] if self.model is not None else list(self.notes)
        shown += [f"data: {source.line()}" for source in self.sources]
        shown += [f"tokens are counted {self.counted}"] if self.counted else []
        return [*shown, *self.stages, *(self.plan.short() if self.plan is not None else ())]

    def document(self) -> dict[str, Any]:
        """For --json."""
        model = self.model.document() if self.model is not None else None
        return {
            "model": model,
            "sources": [asdict(source) for source in self.sources],
            "tokens_counted": self.counted,
            "stage_sizes": self.stages,
            "plan": self.plan.document() if self.plan is not None else None,
        }

    def require(self) -> None:
        """UsageError with every fault, if there is one."""
        if self.faults:
            number = count(len(self.faults), "fault")
            raise UsageError("\n  ".join([f"the run would end with {number}:", *self.faults]))


def preview(recipe: Recipe, through: Through | None = None) -> Preview:
    """Look at the model, the sources and the extras of a recipe; what is wrong stands in `faults`.

    A run through `prepare` needs no model, so none is looked at.
    """
    if through == "prepare":
        recipe = recipe.model_copy(update={"model": None, "sft": None, "rl": None})
    found = Preview()
    lacking = dict(missing(recipe))
    found.faults += lacking.values()
    if recipe.model is not None and "model.gguf_file" not in lacking:
        try:
            found.model = model_facts(recipe)
            if found.model is None:
                found.notes.append(
                    f"model: {getattr(recipe.model, 'path', '')} is not fetched yet, so its size is not known"
                )
        except UsageError as error:
            found.faults.append(str(error))
    counter = TokenCounter.of(recipe)
    found.counted = counter.how
    for source in recipe.data.source:
        try:
            is_world = source.path.startswith("world:")
            found.sources.append(of_world(source, recipe.world) if is_world else look(source, counter))
        except DataError as error:
            found.faults.append(f"data.source.{source.name}: {error}")
    found.stages = list(_stage_lines(recipe, found.sources))
    if found.model is not None:
        try:
            machine = machine_named(recipe.device, "device =")
        except UsageError as error:
            found.faults.append(str(error))
        else:
            found.plan = make_plan(recipe, found.model.shape, machine, amounts_of(recipe, found.sources))
    return found


def _stage_lines(recipe: Recipe, sources: Sequence[SourceFacts]) -> Iterator[str]:
    """Problems and tokens of each stage, before curation drops anything; nothing where a source is not known yet."""
    yield from _sft_line(recipe, sources)
    for phase in recipe.rl.phase if recipe.rl else ():
        prompts = _weighted([one for one in sources if one.role == "problems" and one.domain in phase.domains])
        rollouts = phase.problems_per_iteration * phase.group_size * phase.iterations
        most = rollouts * (prompts[1] + phase.max_completion_tokens)
        if prompts[0]:
            yield (
                f"rl-{phase.name}: about {count(prompts[0], 'problem')} read; {rollouts:,} rollouts, "
                f"at most {most:,.0f} tokens"
            )
    if recipe.model is None:
        return
    problems, completions = _asked(recipe, sources)
    if problems:
        most = completions * recipe.evaluation.max_completion_tokens
        yield (
            f"each evaluation: {count(problems, 'problem')}, {count(completions, 'completion')}, "
            f"at most {most:,} tokens"
        )


def _asked(recipe: Recipe, sources: Sequence[SourceFacts]) -> tuple[int, int]:
    """Held-out problems and completions of one evaluation."""
    by_name = {source.name: source for source in recipe.data.source}
    problems = completions = 0
    for one in sources:
        source = by_name[one.name]
        if source.role == "heldout" and one.rows is not None:
            mine = min(one.rows, source.limit or one.rows)
            problems += mine
            completions += mine * (source.samples or recipe.evaluation.samples)
    return problems, completions


def _sft_line(recipe: Recipe, sources: Sequence[SourceFacts]) -> Iterator[str]:
    rows, tokens = _weighted([one for one in sources if one.role == "demonstrations"], responses=True)
    if recipe.sft is None or not rows:
        return
    total = rows * tokens
    steps = max(1, round(total / recipe.sft.batch_tokens)) * recipe.sft.epochs
    yield (
        f"sft: about {count(rows, 'demonstration')} read, {total:,.0f} tokens an epoch, "
        f"{count(steps, 'update')} in {count(recipe.sft.epochs, 'epoch')}"
    )


def _weighted(sources: Sequence[SourceFacts], *, responses: bool = False) -> tuple[int, float]:
    """(rows, mean tokens of a row)."""
    rows = sum(one.rows or 0 for one in sources)
    tokens = sum((one.rows or 0) * (one.prompt_tokens + responses * one.response_tokens) for one in sources)
    return rows, tokens / max(rows, 1)


_FORKED = {"finished": "take over", "unfinished": "take over, unfinished, and continue", "anew": "run"}


def fork_states(states: list[dict[str, Any]], recipe: Recipe, root: Path, fork: Path, faults: list[str]) -> None:
    """Write into the planned stages what a fork would take over; why it cannot be forked goes to `faults`."""
    every = stages(recipe)
    try:
        found = would_take_over(fork, root, every, plan_parts(every))
    except UsageError as error:
        faults.append(str(error))
        return
    decided = {one.name: one for one in found}
    for stage in states:
        if one := decided.get(stage["name"]):
            stage["state"], stage["why"] = _FORKED[one.state], list(one.lines)
