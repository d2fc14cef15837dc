"""The stages of a recipe, in order, and what each depends on.

A key that only limits, stores or speeds up (workers, kept checkpoints, threads, slots) is in no stage's settings:
changing it repeats nothing. Those that may move the last bits of a sum are recorded beside each attempt (`Stage.pace`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from glob import glob, has_magic
from pathlib import Path
from typing import Any, Literal, get_args

from openklear.errors import UsageError
from openklear.evaluation.benchmarks import benchmarks
from openklear.recipe.curation import RESPONSES, asking_keys
from openklear.recipe.hub import HUB
from openklear.recipe.lengths import max_positions
from openklear.recipe.load import EMBEDDED, NO_PATHS
from openklear.recipe.objectives import CustomObjective
from openklear.recipe.reward import CustomReward
from openklear.recipe.schema import Phase, PretrainedModel, Recipe
from openklear.recipe.world import WORLD
from openklear.rollout.wording import wordings
from openklear.verifiers.custom import function, verifier
from openklear.verifiers.domains import DOMAINS
from openklear.verifiers.packages import versions

Kind = Literal["world", "prepare", "card", "base", "encode", "sft", "rl", "evaluate", "report"]
Through = Literal["prepare", "sft", "rl", "evaluate", "report"]

_ORDER: tuple[Kind, ...] = ("world", "prepare", "card", "base", "encode", "sft", "rl", "evaluate", "report")
_GRADING = (
    *("verifiers.math_seconds", "verifiers.code_seconds", "verifiers.code_memory_mb", "verifiers.graders"),
    "verifiers.packages",
)
_SAMPLING = (
    *("evaluation.temperature", "evaluation.top_p", "evaluation.top_k", "evaluation.min_p"),
    *("evaluation.max_completion_tokens", "engine.type", "engine.model"),
)
_TRAINING = (
    *("model.dtype", "evaluation.validation_samples"),
    *("checkpoints.keep_best", "checkpoints.patience", *_SAMPLING, *_GRADING),
)
_ENGINE = (
    *("engine.slots", "engine.cache_tokens", "engine.python", "engine.cache_gb", "engine.eager", "engine.timeout"),
    "engine.tensor_parallel",
)
_SERVER = ("engine.endpoint", "engine.api_key_env")
_AT_ONCE = ("engine.slots", "engine.cache_tokens", "engine.cache_gb")
"""How much is sampled at once."""
_PACE = ("device", "threads", *_ENGINE, *_SERVER, "stop.unscorable_share")
_PACE_OF_TRAINING = (*_PACE, "microbatch_tokens", "activation_checkpointing", "cluster")


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
    also: tuple[str, ...] = ()
    """Modules that this recipe makes it import by name: their code counts too."""
    pace: Mapping[str, Any] = field(default_factory=dict)
    """Dotted key -> value of what changes only speed, memory, what is kept meanwhile, when to give up: recorded, never
    compared."""
    length: str | None = None
    """The setting that may be raised to prolong the finished stage: its beginning does not depend on it."""

    @property
    def trains(self) -> bool:
        """Whether it goes on from checkpoints."""
        return self.kind in ("sft", "rl")


def stages(recipe: Recipe) -> list[Stage]:
    """All stages of the recipe, in the order they run."""
    table = recipe.model_dump(mode="json")
    table["verifiers"]["packages"] = versions(recipe.verifiers.packages)
    found = [_stage("world", pick(table, "world"))] if recipe.world is not None else []
    found += [_prepare(recipe, table), _card(recipe, table)]
    if recipe.model is None:  # a recipe of curation alone
        return found
    found += [_base(recipe, table), _encode(recipe, table), _evaluate(recipe, table, "base")]
    model = "base"
    if recipe.sft is not None:
        found.append(_sft(recipe, table, model))
        found.append(_evaluate(recipe, table, "sft"))
        model = "sft"
    for phase in recipe.rl.phase if recipe.rl is not None else ():
        found.append(_phase(recipe, table, phase, model))
        model = found[-1].name
        found.append(_evaluate(recipe, table, model))
    inputs = {stage.name: stage.name for stage in found}
    found.append(_stage("report", table, inputs=inputs, torch=True))
    return found


def select(every: Sequence[Stage], through: str | None) -> list[Stage]:
    """The stages that a run up to `through` needs; evaluations only from "evaluate" on. UsageError if there is none."""
    if through is None:
        return list(every)
    if through not in get_args(Through):
        raise UsageError(f"there is no stage {through} to run through; choose one of {', '.join(get_args(Through))}")
    if not any(stage.kind == through for stage in every):
        raise UsageError(f"the recipe has no [{through}], so a run cannot go through it")
    last = "card" if through == "prepare" else through  # the data card belongs to prepare
    wanted = _ORDER[: _ORDER.index(last) + 1]
    return [stage for stage in every if stage.kind in wanted]


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


def _stage(kind: Kind, settings: Mapping[str, Any], name: str | None = None, **more: Any) -> Stage:
    """A stage is the module of its kind in `openklear.stages`; it needs a name where there are several of a kind."""
    return Stage(name or kind, kind, f"openklear.stages.{kind}", settings, **more)


def _prepare(recipe: Recipe, table: Mapping[str, Any]) -> Stage:
    """Files from outside count by content; a source's path only names a file of the world or a data set of the hub."""
    settings = pick(table, "data", *_GRADING)
    drawn = any(source.drawn for source in recipe.data.source)
    if drawn or recipe.data.selection is not None or recipe.data.mixture_rows is not None:
        settings["seed"] = recipe.seed_of("data")
    outside = {f"data {s.name}": Path(s.path) for s in recipe.data.source if not s.path.startswith(NO_PATHS)}
    data = _without(table["data"], "engine")
    data["source"] = [_row_keys(source, f"data {source['name']}" in outside) for source in data["source"]]
    files = _graders(recipe)
    for label, path in outside.items():
        files |= expanded(label, path)
    for name, key in RESPONSES:
        if data[name] is not None and data[name][key] is not None and not data[name][key].startswith(WORLD):
            files[f"{name} {key}"] = Path(data[name][key])
            data[name] = _without(data[name], key)
    settings["data"] = data
    inputs = {"world": "world"} if recipe.world is not None else {}
    stage = _stage("prepare", settings, inputs=inputs, files=files)
    selection = recipe.data.selection
    if selection is None or selection.embedding == EMBEDDED:
        return stage
    return replace(stage, also=("openklear.models.embedding",), torch=True)


def expanded(label: str, path: Path) -> dict[str, Path]:
    """The files that a source's glob or directory stands for, each with its label; any other path as it is.

    Hidden ones count for nothing: a clone holds its whole history in them.
    """
    if path.is_dir():
        below = {file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*")) if file.is_file()}
        return {f"{label}/{name}": file for name, file in below.items() if "/." not in f"/{name}"}
    if not has_magic(str(path)):
        return {label: path}
    return {f"{label}/{found}": Path(found) for found in sorted(glob(str(path), recursive=True))}


def _row_keys(source: Mapping[str, Any], by_content: bool) -> dict[str, Any]:
    """The keys of a source that act on its rows; the path of a file that counts by its content is none."""
    return _without(source, "licence", *asking_keys(source["role"]), *(["path"] if by_content else []))


def _without(table: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in keys}


def _card(recipe: Recipe, table: Mapping[str, Any]) -> Stage:
    sources = [_without(source, *asking_keys(source["role"])) for source in table["data"]["source"]]
    data = {**table["data"], "source": sources}
    return _stage("card", {"data": data, "seed": recipe.seed_of("data")}, inputs={"prepare": "prepare"})


def _base(recipe: Recipe, table: Mapping[str, Any]) -> Stage:
    settings = pick(table, "model")
    files: dict[str, Path] = {}
    if isinstance(recipe.model, PretrainedModel):
        of_hub = recipe.model.path.startswith(HUB)  # counts by its name: a run keeps the commit that it began with
        settings["model"] = _without(table["model"], "chat_template", *([] if of_hub else ["path"]))
        if not of_hub:
            files["model"] = Path(recipe.model.path)
        if recipe.model.chat_template is not None:
            files["chat template"] = Path(recipe.model.chat_template)
    else:
        settings |= {"seed": recipe.seed_of("sft"), "positions": max_positions(recipe)}
    return _stage("base", settings, files=files, torch=True, model=True, pace=pick(table, "device"))


def _encode(recipe: Recipe, table: Mapping[str, Any]) -> Stage:
    """Nothing but the report goes by it: what it finds is found again by the stages that use the rows."""
    settings = pick(table, "sft.max_tokens", "sft.overlong", "stop.dropped_share", "checkpoints.keep_best")
    settings["seed"] = recipe.seed_of("data")
    settings["phases"] = [[p.name, list(p.domains), p.max_prompt_tokens] for p in recipe.rl.phase] if recipe.rl else []
    settings["benchmarks"] = [_without(asdict(benchmark), "samples") for benchmark in benchmarks(recipe)]
    settings |= _wordings(recipe, "demonstrations", "problems", "validation")
    return _stage("encode", settings, inputs={"prepare": "prepare", "model": "base"})


def _wordings(recipe: Recipe, *roles: str) -> dict[str, Any]:
    """In which words the problems of these roles are put, where a source says so."""
    named = wordings(recipe)
    mine = {s.name: asdict(named[s.name]) for s in recipe.data.source if s.role in roles and s.name in named}
    return {"wordings": mine} if mine else {}


def _sft(recipe: Recipe, table: Mapping[str, Any], model: str) -> Stage:
    """Steps between checkpoints are those between validations too, so they count where a validation chooses."""
    settings = {"seed": recipe.seed_of("sft"), **pick(table, *_TRAINING)} | _adapters(table)
    settings["sft"] = _without(table["sft"], "save_every")
    settings |= _wordings(recipe, "demonstrations", "validation")
    pace = pick(table, *_PACE_OF_TRAINING, "sft.save_every")
    if recipe.checkpoints.keep_best:
        settings |= {"sft.save_every": pace.pop("sft.save_every")}
    return _trained("sft", "sft", model, settings=settings, pace=pace, files=_graders(recipe))


def _phase(recipe: Recipe, table: Mapping[str, Any], phase: Phase, model: str) -> Stage:
    """A validated iteration is saved whatever save_every says; one aggregation is defined by micro-batches, and
    what is carried over by the engine's slots."""
    key, values = f"rl.phase.{phase.name}", phase.model_dump(mode="json")
    pace = pick(table, *_PACE_OF_TRAINING) | {f"{key}.save_every": values["save_every"]}
    settings = {"seed": recipe.seed_of("rl"), **pick(table, *_TRAINING)} | _adapters(table)
    unsaid = () if phase.asynchronous else ("asynchronous",)  # phases of recipes from before there was the key
    settings |= {key: _without(values, "iterations", "save_every", *unsaid)}
    settings |= {f"{key}.iterations": values["iterations"], **_wordings(recipe, "problems", "validation")}
    if phase.aggregation == "klear_released":
        settings["microbatch_tokens"] = pace.pop("microbatch_tokens")
    if phase.partial_rollouts.carries:  # what serves the requests decides where rollouts are broken off
        settings |= {name: pace.pop(name) for name in _AT_ONCE if name in pace}
    files = _graders(recipe) | _functions(phase)
    more = {"settings": settings, "pace": pace, "files": files, "length": f"{key}.iterations"}
    return _trained("rl", f"rl-{phase.name}", model, **more)


def _adapters(table: Mapping[str, Any]) -> dict[str, Any]:
    """Nothing where all weights are trained: stages of recipes from before there was a [lora] stay what they are."""
    return {} if table["lora"] is None else pick(table, "lora")


def _trained(kind: Kind, name: str, model: str, **more: Any) -> Stage:
    """A stage that goes on from the model that the stage `model` left."""
    return _stage(kind, name=name, inputs={"prepare": "prepare", "model": model}, torch=True, model=True, **more)


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
    settings = {"seed": recipe.seed_of("evaluation"), **pick(table, "model.dtype", *_SAMPLING, *_GRADING)}
    if any(one.limit_by == "seed" for one in benchmarks(recipe)):
        settings["seeds.data"] = recipe.seed_of("data")
    settings["benchmarks"] = [asdict(benchmark) for benchmark in benchmarks(recipe)]
    inputs, files = {"prepare": "prepare", "model": model}, _graders(recipe)
    more: dict[str, Any] = {"inputs": inputs, "files": files, "torch": True, "pace": pick(table, *_PACE)}
    return _stage("evaluate", settings, name=f"evaluate-{model}", **more)
