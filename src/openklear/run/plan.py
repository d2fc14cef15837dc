"""The stages of a recipe, in order, and what each depends on.

A key that only limits or stores (workers, kept checkpoints) is in no stage's list: changing it repeats nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from glob import glob, has_magic
from pathlib import Path
from typing import Any, Literal

from openklear.errors import UsageError
from openklear.recipe.lengths import max_positions, max_prompt_tokens
from openklear.recipe.load import EMBEDDED, NO_PATHS
from openklear.recipe.objectives import CustomObjective
from openklear.recipe.reward import CustomReward
from openklear.recipe.schema import Phase, PretrainedModel, Recipe
from openklear.verifiers.custom import function, verifier
from openklear.verifiers.domains import DOMAINS

Kind = Literal["world", "prepare", "card", "base", "sft", "rl", "evaluate", "report"]
Through = Literal["prepare", "sft", "rl", "evaluate", "report"]

_UP_TO: Mapping[str, tuple[Kind, ...]] = {
    "prepare": ("world", "prepare", "card"),
    "sft": ("world", "prepare", "card", "base", "sft"),
    "rl": ("world", "prepare", "card", "base", "sft", "rl"),
    "evaluate": ("world", "prepare", "card", "base", "sft", "rl", "evaluate"),
    "report": ("world", "prepare", "card", "base", "sft", "rl", "evaluate", "report"),
}
_GRADING = (
    *("verifiers.math_seconds", "verifiers.code_seconds", "verifiers.code_memory_mb"),
    "verifiers.graders",
)
_SAMPLING = ("evaluation.temperature", "evaluation.top_p", "evaluation.max_completion_tokens", "engine")
_TRAINING = (
    *("seed", "threads", "microbatch_tokens", "model.dtype", "evaluation.validation_samples"),
    *("checkpoints.keep_best", "checkpoints.patience", *_SAMPLING, *_GRADING),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: a module with `run(context)`, and what its result depends on."""

    name: str
    kind: Kind
    module: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Dotted key of the recipe (or words for a number computed from several) -> its value as JSON."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Role -> name of the stage that plays it."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Label -> file or directory from outside the run; its content counts, its place does not."""
    torch: bool = False
    """Whether torch computes in it, so that threads must be set first."""
    model: bool = False
    """Whether it leaves model/."""


def stages(recipe: Recipe) -> list[Stage]:
    """All stages of the recipe, in the order they run."""
    table = recipe.model_dump(mode="json")
    found = [_world(table)] if recipe.world is not None else []
    found.append(_prepare(recipe, table))
    found.append(Stage("card", "card", "openklear.stages.card", pick(table, "data", "seed"), {"prepare": "prepare"}))
    if recipe.model is None:  # a recipe of curation alone
        return found
    found += [_base(recipe, table), _evaluate(recipe, table, "base")]
    model = "base"
    if recipe.sft is not None:
        settings = pick(table, *_TRAINING, "sft")
        found.append(_training("sft", "sft", settings, model, _graders(recipe)))
        found.append(_evaluate(recipe, table, "sft"))
        model = "sft"
    for phase in recipe.rl.phase if recipe.rl is not None else ():
        name = f"rl-{phase.name}"
        settings = pick(table, *_TRAINING) | {f"rl.phase.{phase.name}": phase.model_dump(mode="json")}
        found.append(_training(name, "rl", settings, model, _graders(recipe) | _functions(phase)))
        found.append(_evaluate(recipe, table, name))
        model = name
    inputs = {stage.name: stage.name for stage in found}
    found.append(Stage("report", "report", "openklear.stages.report", table, inputs, torch=True))
    return found


def select(every: Sequence[Stage], through: str | None) -> list[Stage]:
    """The stages that a run up to `through` needs; evaluations only from "evaluate" on. UsageError if there is none."""
    if through is None:
        return list(every)
    if through not in _UP_TO:
        raise UsageError(f"there is no stage {through} to run through; choose one of {', '.join(_UP_TO)}")
    if not any(stage.kind == through for stage in every):
        raise UsageError(f"the recipe has no [{through}], so a run cannot go through it")
    return [stage for stage in every if stage.kind in _UP_TO[through]]


def pick(table: Mapping[str, Any], *paths: str) -> dict[str, Any]:
    """Dotted path -> value; a path that this recipe does not have (a key of another union member) is left out."""
    found: dict[str, Any] = {}
    for path in paths:
        value: Any = table
        for word in path.split("."):
            value = value.get(word, _ABSENT) if isinstance(value, Mapping) else _ABSENT
        if value is not _ABSENT:
            found[path] = value
    return found


_ABSENT = object()


def _world(table: Mapping[str, Any]) -> Stage:
    return Stage("world", "world", "openklear.stages.world", pick(table, "world"))


def _prepare(recipe: Recipe, table: Mapping[str, Any]) -> Stage:
    """Files from outside count by content; a source's path only names a file of the world or a data set of the hub."""
    settings = pick(table, "data", *_GRADING)
    if recipe.data.selection is not None or recipe.data.mixture_rows is not None:
        settings |= pick(table, "seed")
    files = {f"data {s.name}": Path(s.path) for s in recipe.data.source if not s.path.startswith(NO_PATHS)}
    sources = [{k: v for k, v in s.items() if k not in _shown_only(s, files)} for s in table["data"]["source"]]
    data = {**{k: v for k, v in table["data"].items() if k != "engine"}, "source": sources}
    files = {label: path for name, path in files.items() for label, path in expanded(name, path).items()}
    for name, key in (("difficulty", "responses"), ("vetting", "responses"), ("vetting", "policy_responses")):
        if data[name] is not None and data[name][key] is not None:
            files[f"{name} {key}"] = Path(data[name][key])
            data[name] = {k: v for k, v in data[name].items() if k != key}
    settings["data"] = data
    inputs = {"world": "world"} if recipe.world is not None else {}
    selection = recipe.data.selection
    model = selection is not None and selection.embedding != EMBEDDED
    module = "openklear.stages.prepare_embedded" if model else "openklear.stages.prepare"
    return Stage("prepare", "prepare", module, settings, inputs, files | _graders(recipe), torch=model)


def expanded(label: str, path: Path) -> dict[str, Path]:
    """The files that a source's glob stands for, each with its label; any other path as it is."""
    if not has_magic(str(path)):
        return {label: path}
    return {f"{label}/{found}": Path(found) for found in sorted(glob(str(path), recursive=True))}


def _shown_only(source: Mapping[str, Any], files: Mapping[str, Path]) -> set[str]:
    """Keys of a source that name or show things and change no row."""
    return {"licence"} | ({"path"} if f"data {source['name']}" in files else set())


def _base(recipe: Recipe, table: Mapping[str, Any]) -> Stage:
    settings = pick(table, "seed", "model")
    files: dict[str, Path] = {}
    if isinstance(recipe.model, PretrainedModel):
        settings["model"] = {k: v for k, v in table["model"].items() if k not in ("path", "chat_template")}
        files["model"] = Path(recipe.model.path)
        if recipe.model.chat_template is not None:
            files["chat template"] = Path(recipe.model.chat_template)
    else:
        settings["positions"] = max_positions(recipe)
    return Stage("base", "base", "openklear.stages.base", settings, files=files, torch=True, model=True)


def _training(name: str, kind: Kind, settings: Mapping[str, Any], model: str, files: Mapping[str, Path]) -> Stage:
    inputs = {"prepare": "prepare", "model": model}
    return Stage(name, kind, f"openklear.stages.{kind}", settings, inputs, files, torch=True, model=True)


def _graders(recipe: Recipe) -> dict[str, Path]:
    """The source files of the user's own verifiers."""
    found = {f"grader {domain}": verifier(name).file for domain, name in recipe.verifiers.limits.custom.items()}
    found |= {f"domain {name}": domain.file for name, domain in DOMAINS.items()}
    return {label: path for label, path in found.items() if path is not None}


def _functions(phase: Phase) -> dict[str, Path]:
    """The source files of the user's own reward and objective."""
    found = {}
    if isinstance(phase.reward, CustomReward):
        found["reward"] = function(phase.reward.function).file
    if isinstance(phase.objective, CustomObjective):
        found["objective"] = function(phase.objective.function).file
    return {label: path for label, path in found.items() if path is not None}


def _evaluate(recipe: Recipe, table: Mapping[str, Any], model: str) -> Stage:
    settings = pick(table, "seed", "threads", "model.dtype", "evaluation.samples", *_SAMPLING, *_GRADING)
    settings["longest prompt"] = max_prompt_tokens(recipe)
    inputs = {"prepare": "prepare", "model": model}
    module = "openklear.stages.evaluate"
    return Stage(f"evaluate-{model}", "evaluate", module, settings, inputs, _graders(recipe), torch=True)
