"""A study as a TOML file: a recipe, arms that change it, seeds, what is measured, and what the report found."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from openklear.ablation.units import NATS, SHARE, MeasureUnit
from openklear.errors import RecipeError
from openklear.recipe import explain
from openklear.recipe.curation import Reasoning
from openklear.recipe.keys import toml_value
from openklear.recipe.load import as_tuples, dotted, read_toml, report
from openklear.recipe.numbers import Seed, Tokens
from openklear.recipe.section import Broken, DomainName, Section, repeated
from openklear.recipe.seeds import Part
from openklear.recipe.show import count
from openklear.recipe.world import WORLD

NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
"""Of studies, arms and measures: they name directories and files."""

Changes = dict[str, Any]
"""Dotted key of the recipe, as --set takes it -> value."""


class Arm(Section):
    """One way of running the recipe."""

    name: str = Field(description="names the arm's directories")
    label: str | None = Field(None, description="how tables and figures call it; if not set, its name")
    set: Changes = Field({}, description='keys that it changes: { "rl.objective.type" = "cispo" }')

    @property
    def title(self) -> str:
        """For people."""
        return self.label or self.name


class StudySeeds(Section):
    """Every arm is run once with each seed."""

    values: Annotated[tuple[Seed, ...], Field(min_length=1)] = Field(description="the seeds; 2 or more say something")
    vary: Annotated[tuple[Part, ...], Field(min_length=1)] = Field(
        description="parts of the run that take the seed (data, sft, rl, evaluation); the others keep the recipe's, "
        "and what does not depend on the seed is run once"
    )


class HeldoutRows(Section):
    """Demonstrations that no arm trains on, as a source of a recipe reads them."""

    path: str = Field(description="file, directory, glob or data set of the hub, relative to the study's file")
    columns: dict[str, str] = Field({}, description="our column -> the file's, for a shape that is unknown")
    reasoning: Reasoning = Field("think", description="how responses mark their reasoning")
    system_prompt: str | None = Field(None, description="a system turn before the prompt, as the arms train it")
    prompt_suffix: str | None = Field(None, description="a line after the prompt, as the arms train it")


class Measure(Section):
    """What is compared: a model's results on the held-out problems of a domain, or its loss on given responses."""

    name: str = Field(description="names it in tables and files")
    label: str | None = Field(None, description="how tables and figures call it")
    kind: Literal["score", "loss"] = Field(
        "score",
        description="score: share of sampled completions that are correct; loss: -log pi of held-out responses, in "
        "nats per token, the mean over a row's tokens and then over rows",
    )
    model: str = Field(description="the stage that left the model: sft, rl-NAME, base")
    domain: DomainName = Field(description="domain of the held-out problems or rows")
    benchmark: str | None = Field(
        None, description="of a score: the held-out source, where the recipe has several of the domain; else the first"
    )
    rows: HeldoutRows | None = Field(None, description="of a loss: the demonstrations whose responses it is of")
    max_tokens: Tokens | None = Field(None, description="of a loss: a longer row counts as far as this")

    def broken_rules(self) -> Iterator[Broken]:
        """A loss is of rows, up to a length; a score is of neither."""
        for key in ("rows", "max_tokens"):
            given = getattr(self, key) is not None
            if self.kind == "loss" and not given:
                yield Broken((key,), "a loss is of the responses of rows, up to a number of tokens; add it")
            elif self.kind == "score" and given:
                yield Broken((key,), 'a score has no use for it; leave it out, or write kind = "loss"')
        if self.kind == "loss" and self.benchmark is not None:
            yield Broken(("benchmark",), "a loss is of rows; leave it out")
        if self.rows is not None and self.rows.path.startswith(WORLD):
            text = "arms may make other worlds, so that their rows would not be the same; name a file"
            yield Broken(("rows", "path"), text)

    @property
    def title(self) -> str:
        """For people."""
        return self.label or self.name

    @property
    def unit(self) -> MeasureUnit:
        """What its numbers are counted in."""
        return NATS if self.kind == "loss" else SHARE


class Contrast(Section):
    """Two arms, or two models of one arm, on the same problems with the same seeds."""

    before: str = Field(description="an arm, or ARM:MODEL for another model than the measure's")
    after: str = Field(description="the same")
    measure: str | None = Field(None, description="name of the measure; if not set, the first")


class Quoted(Section):
    """What the report found, in its own numbers."""

    where: str = Field(description="table or figure of the report")
    claim: str = Field(description="what it concludes from it, in a sentence")
    columns: tuple[str, ...] = Field((), description="heads of the table; the first is that of the settings")
    rows: tuple[tuple[str, ...], ...] = Field((), description="its rows, as printed")
    note: str | None = Field(None, description="how the numbers came here, where they are not printed in the report")

    def broken_rules(self) -> Iterator[Broken]:
        """Rows that fit the head."""
        for index, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                text = f"has {count(len(row), 'cell')}, and columns {len(self.columns)}; give each column one"
                yield Broken(("rows", index), text)


class Note(Section):
    """A paragraph of the page, written by a person."""

    title: str = Field(description="heading")
    text: str = Field(description="plain text; an empty line begins a new paragraph")


class Study(Section):
    """A study: what is asked, of which recipe, in which arms, how often, and how it is measured."""

    name: str = Field(description="names its directory and its page")
    title: str = Field(description="heading of the page")
    question: str = Field(description="what the study asks, in a sentence")
    size: Literal["small", "full"] = Field("small", description="small: a CPU in hours; full: as the report ran it")
    recipe: str = Field(description="the recipe that all arms change, relative to this file")
    set: Changes = Field({}, description="keys that every arm changes")
    seeds: StudySeeds = Field(description="how often every arm is run")
    arm: Annotated[tuple[Arm, ...], Field(min_length=1)] = Field(description="the arms, in the order of the tables")
    baseline: str | None = Field(None, description="the arm that the others are compared with; if not set, the first")
    measure: Annotated[tuple[Measure, ...], Field(min_length=1)] = Field(description="what is measured, first first")
    comparison: tuple[Contrast, ...] = Field(
        (), description="what is compared; if none are named, every arm with the baseline in every measure"
    )
    curves: bool = Field(True, description="whether the page draws curves of the training")
    quoted: Quoted | None = Field(None, description="what the report found")
    differs: tuple[str, ...] = Field((), description="settings that differ from the report's, a line each")
    undisclosed: tuple[str, ...] = Field((), description="settings that the report does not disclose, a line each")
    note: tuple[Note, ...] = Field((), description="paragraphs below the findings")

    def broken_rules(self) -> Iterator[Broken]:
        """Names that fit directories and are there once; comparisons of what there is."""
        if not NAME.fullmatch(self.name):
            yield Broken(("name",), _NO_NAME.format(explain.shown(self.name)))
        for table in _NAMED:
            names = [one.name for one in getattr(self, table)]
            for index, name in enumerate(names):
                if not NAME.fullmatch(name):
                    yield Broken((table, index, "name"), _NO_NAME.format(explain.shown(name)))
            for index, name in repeated(names):
                text = f'a second {table} is named "{name}"; give each its own name'
                yield Broken((table, index, "name"), text)
        for index, value in repeated([str(value) for value in self.seeds.values]):
            yield Broken(("seeds", "values"), f"{value} is there twice (place {index + 1}); a seed counts once")
        yield from self._faulty_changes()
        yield from self._references()

    def _faulty_changes(self) -> Iterator[Broken]:
        varied = [f"seeds.{part}" for part in self.seeds.vary]
        places: dict[tuple[str | int, ...], Changes] = {("set",): self.set}
        places |= {("arm", index, "set"): arm.set for index, arm in enumerate(self.arm)}
        for place, changes in places.items():
            for key, value in changes.items():
                if "=" in key or not all(part.strip() for part in key.split(".")):
                    yield Broken(
                        place, f'"{key}" is no key of a recipe; write it with dots and in quotes, "sft.epochs"'
                    )
                elif isinstance(value, dict) and "." not in key:  # TOML reads sft.epochs = 2 as a table sft
                    text = f"{key} is a whole table; write the keys that change, with dots and in quotes"
                    yield Broken(place, f"{text}: {_first_leaf(key, value)}")
                elif key in varied:
                    text = f"{key} is in seeds.vary, so every run has a value of its own; remove it here or there"
                    yield Broken(place, text)

    def _references(self) -> Iterator[Broken]:
        arms, measures = {arm.name for arm in self.arm}, {one.name for one in self.measure}
        if self.baseline is not None and self.baseline not in arms:
            yield Broken(("baseline",), f'there is no arm "{self.baseline}"; there are {_listed(arms)}')
        if self.baseline is not None and self.comparison:
            yield Broken(("baseline",), "has no part where [[comparison]] says what is compared; leave one out")
        for index, one in enumerate(self.comparison):
            for side in ("before", "after"):
                arm = getattr(one, side).partition(":")[0]
                if arm not in arms:
                    yield Broken(("comparison", index, side), f'there is no arm "{arm}"; there are {_listed(arms)}')
                if getattr(one, side).endswith(":"):
                    yield Broken(("comparison", index, side), "names no model after the colon; write ARM:MODEL, or ARM")
            if one.measure is not None and one.measure not in measures:
                text = f'there is no measure "{one.measure}"; there are {_listed(measures)}'
                yield Broken(("comparison", index, "measure"), text)
            elif self._full(one.before, one) == self._full(one.after, one):
                yield Broken(("comparison", index, "after"), "is the same as before; name two arms or models")
        if len(self.arm) < 2 and not self.comparison:
            yield Broken(("arm",), "one arm has nothing to be compared with; add one, or a [[comparison]] of models")

    def _full(self, side: str, comparison: Contrast) -> tuple[str, str]:
        """Arm and model of a side of a comparison whose measure there is."""
        arm, _, model = side.partition(":")
        return arm, model or self.measure_named(comparison.measure).model

    @property
    def comparisons(self) -> tuple[Contrast, ...]:
        """What is compared: as named, or every arm with the baseline, measure by measure."""
        if self.comparison:
            return self.comparison
        first = self.baseline or self.arm[0].name
        others = [arm.name for arm in self.arm if arm.name != first]
        found: list[Contrast] = []
        for measure in self.measure:
            found += [Contrast(before=first, after=name, measure=measure.name) for name in others]
        return tuple(found)

    def arm_named(self, name: str) -> Arm:
        """The arm of this name, which there is."""
        return next(arm for arm in self.arm if arm.name == name)

    def measure_named(self, name: str | None) -> Measure:
        """The measure of this name, which there is; the first for None."""
        return next(one for one in self.measure if name in (None, one.name))

    def models(self, measure: Measure) -> tuple[str, ...]:
        """The stages whose models are compared in a measure, its own first."""
        named = [measure.model]
        for comparison in self.comparison:
            if self.measure_named(comparison.measure) == measure:
                named += [side.partition(":")[2] for side in (comparison.before, comparison.after)]
        return tuple(dict.fromkeys(name for name in named if name))


_NAMED = ("arm", "measure")
"""Lists whose items go by their names."""
_NO_NAME = "{} cannot name a directory; use up to 64 lower-case letters, digits, - and ., a letter or digit first"


def load_study(path: Path) -> Study:
    """Read a study's file. RecipeError with every fault: what is wrong, where, and what to do."""
    raw = read_toml(path, "study")
    try:
        study = Study.model_validate(as_tuples(raw))
    except ValidationError as error:
        lines = [f"{_key(one.path, raw)}: {one.message}" for one in explain.faults(error, Study)]
        raise RecipeError(report(path, lines)) from error
    return study


def _key(path: explain.Path, raw: Mapping[str, Any]) -> str:
    """A path in words: arms and measures by name, where they have one, other items by number."""
    if len(path) > 2 and path[0] in _NAMED and isinstance(path[1], int):
        item = raw[path[0]][path[1]]
        name = item.get("name") if isinstance(item, dict) else None
        if isinstance(name, str) and NAME.fullmatch(name):
            return f"{path[0]}.{name}.{dotted(path[2:], item)}"
    return dotted(path, raw)


def _first_leaf(key: str, value: Any) -> str:
    """The first key in a table, as --set takes it."""
    while isinstance(value, dict) and value:
        name, value = next(iter(value.items()))
        key = f"{key}.{name}"
    return f'"{key}" = {toml_value(value)}'


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))
