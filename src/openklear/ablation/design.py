"""The runs of a study, and the stages that they share: the same fingerprint is the same result, made once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from openklear.ablation.definition import Arm, Study
from openklear.ablation.losses import loss_stages
from openklear.errors import RecipeError
from openklear.recipe.keys import toml_value
from openklear.recipe.load import load_recipe
from openklear.recipe.schema import Recipe
from openklear.run.fingerprint import Parts, code_of, fingerprint, hash_files
from openklear.run.pipeline import plan_parts
from openklear.run.plan import Stage, stages

SHOWN_DIGITS = 12
"""Of a fingerprint, in the name of a directory."""


@dataclass(frozen=True, slots=True)
class StageWork:
    """A stage that one run or several need."""

    stage: Stage
    recipe: Recipe
    """Of the first run that needs it; where runs differ in what the stage reads, they do not share it."""
    parts: Parts
    inputs: Mapping[str, str]
    """Role -> the key of the work that plays it."""
    key: str
    """Its name and the beginning of its fingerprint: names its directory."""


@dataclass(frozen=True, slots=True)
class Run:
    """One arm with one seed."""

    arm: str
    seed: int
    recipe: Recipe
    works: Mapping[str, str]
    """Name of each stage that the measures need, in order -> the key of its work."""


@dataclass(frozen=True, slots=True)
class Design:
    """All of a study."""

    runs: tuple[Run, ...]
    """By seed, then by arm: after the first seed of all there is something to look at."""
    works: Mapping[str, StageWork]
    """Key -> work; what a work needs stands before it."""


def design(study: Study, path: Path) -> Design:
    """The runs of the study in the file `path`. Reads the data files that the recipes name.

    RecipeError names the arm whose recipe is none, does not make a measured model, or comes to the same as another's;
    and seeds that nothing depends on.
    """
    works: dict[str, StageWork] = {}
    hashes, code = cache(hash_files), cache(code_of)  # every arm names the same files and modules
    runs = []
    for seed in study.seeds.values:
        for arm in study.arm:
            recipe = recipe_of(study, path, arm, seed)
            _require_asked(study, f"{path}: arm {arm.name}", recipe)
            wanted = [(stage, recipe) for stage in needed(stages(recipe), study, f"{path}: arm {arm.name}")]
            wanted += loss_stages(study, path, recipe)
            keys = _keys(wanted, plan_parts([stage for stage, _ in wanted], hashes, code), works)
            runs.append(Run(arm.name, seed, recipe, keys))
    _require_differences(study, path, runs)
    return Design(tuple(runs), works)


def _require_asked(study: Study, where: str, recipe: Recipe) -> None:
    """RecipeError where a score is of problems that no held-out source of the recipe has, as far as it says."""
    heldout = [source for source in recipe.data.source if source.role == "heldout"]
    for measure in (one for one in study.measure if one.kind == "score"):
        asked = [one for one in heldout if one.domain in (None, measure.domain)]
        if measure.benchmark is not None:
            asked = [one for one in asked if one.name == measure.benchmark]
        if not asked:
            what = f"benchmark {measure.benchmark}" if measure.benchmark else f"domain {measure.domain}"
            known = ", ".join(source.name for source in heldout)
            raise RecipeError(f"{where}: measure.{measure.name}: no held-out source has the {what}; there are {known}")


def _require_differences(study: Study, path: Path, runs: Sequence[Run]) -> None:
    """Arms and seeds that all come to the same would look like results: a difference of exactly 0, no spread."""
    of_arms: dict[tuple[str, ...], Run] = {}
    for run in runs:
        known = of_arms.setdefault(tuple(run.works.values()), run)
        if known.arm != run.arm:
            raise RecipeError(
                f"{path}: arm.{run.arm}.set: makes the same runs as arm {known.arm}: no stage that is measured reads "
                "what tells them apart. Change a key that one reads (what a phase sets itself, a default in [rl] does "
                "not change), or remove one of them"
            )
        if known.seed != run.seed:
            raise RecipeError(
                f"{path}: seeds.vary: arm {run.arm} is the same run with seeds {known.seed} and {run.seed}: nothing "
                f"that is measured depends on the seed of {', '.join(study.seeds.vary)}; vary a part of the run that "
                "its measured models come from"
            )


def recipe_of(study: Study, path: Path, arm: Arm, seed: int) -> Recipe:
    """The recipe of one run: the study's, with its changes, the arm's, and the seed's."""
    base = path.parent / study.recipe
    if not base.is_file():
        raise RecipeError(f"{path}: recipe: there is no file {base}; write its path, relative to the study's file")
    written = changes(study, arm, seed)
    try:
        return load_recipe(base, list(written))
    except RecipeError as error:
        said = str(error)
        for text in sorted(written, key=len, reverse=True):
            said = said.replace(f"--set {text}", written[text])
        raise RecipeError(f"{path}: arm {arm.name}: {said}") from error


def changes(study: Study, arm: Arm, seed: int) -> dict[str, str]:
    """What is changed in the base recipe, as --set says it -> as the study's file does."""
    written = {}
    for key, value in {**study.set, **arm.set}.items():
        place = f"arm.{arm.name}.set" if key in arm.set else "set"
        written[f"{key}={toml_value(value)}"] = f'{place} "{key}" = {toml_value(value)}'
    return written | {f"seeds.{part}={seed}": f"seeds.vary {part}, seed {seed}" for part in study.seeds.vary}


def needed(every: Sequence[Stage], study: Study, where: str) -> list[Stage]:
    """The stages of a run that its scores and losses depend on, in their order: evaluations of the models that are
    scored, and the models themselves of which a loss is measured. RecipeError where a model is not made."""
    by_name = {stage.name: stage for stage in every}
    models = {stage.name for stage in every if stage.model}
    waiting: list[str] = []
    for measure in study.measure:
        for model in study.models(measure):
            if model not in models:
                made = ", ".join(stage.name for stage in every if stage.model)
                raise RecipeError(f"{where}: its recipe makes no model {model}; measure one of {made}")
            waiting.append(model if measure.kind == "loss" else f"evaluate-{model}")
    wanted: set[str] = set()
    while waiting:
        name = waiting.pop()
        wanted.add(name)
        waiting += by_name[name].inputs.values()
    return [stage for stage in every if stage.name in wanted]


def _keys(
    wanted: Sequence[tuple[Stage, Recipe]], parts: Mapping[str, Parts], works: dict[str, StageWork]
) -> dict[str, str]:
    """Name of each stage -> the key of its work; new ones are added to `works`."""
    keys: dict[str, str] = {}
    for stage, recipe in wanted:
        keys[stage.name] = key = f"{stage.name}-{fingerprint(parts[stage.name])[:SHOWN_DIGITS]}"
        inputs = {role: keys[name] for role, name in stage.inputs.items()}
        works.setdefault(key, StageWork(stage, recipe, parts[stage.name], inputs, key))
    return keys
