"""What a benchmark is: a small TOML file that says where its problems are, how they are asked, and how often.

The catalogue's own lie in `data/`; a file of one's own, with the same keys, is a benchmark too:

    data = "problems.jsonl"        # beside this file; hub:OWNER/NAME is a data set of the hub
    domain = "math"
    prompt = "math-boxed"          # a named prompt, or a text with {problem} in it
    samples = 8
    max_completion_tokens = 8192
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from openklear.errors import DataError, UsageError
from openklear.recipe.load import read_toml
from openklear.recipe.numbers import Tokens
from openklear.recipe.section import Broken, DomainName, Positive, Section
from openklear.rollout.wording import Wording

DATA = Path(__file__).parent / "data"
PROMPTS = DATA / "prompts.toml"
WINDOW = re.compile(r"(\d{4}-\d{2}-\d{2})\.\.(\d{4}-\d{2}-\d{2})")
NAME = re.compile(r"[\w.-]+")


class Copy(Section):
    """A copy of the data that is known: what it hashes to, and where it is from."""

    name: str = Field(description="where it is from")
    texts: str = Field(description="hash of its statements and answers (`reading.texts_hash`)")


class Definition(Section):
    """A benchmark's keys."""

    title: str = Field("", description="as people call it")
    source: str = Field("", description="where the problems come from")
    data: str | None = Field(None, description="a file beside the definition, or hub:OWNER/NAME")
    split: str | None = Field(None, description="split of the data set; if not set, test")
    files: tuple[str, ...] = Field((), description="names that its file may have in a directory of benchmarks")
    domain: DomainName | None = Field(None, description="of its problems, for files without such a column")
    columns: dict[str, str] = Field({}, description="our column -> the file's")
    where: dict[str, str] = Field({}, description="column -> value that a row must have")
    facts: tuple[str, ...] = Field((), description="columns that are kept beside each problem")
    date: str | None = Field(None, description="the column that holds the date of a problem's contest")
    answer_lists: bool = Field(False, description="the answer's column holds a list of answers, also as its text")
    tolerance: str | None = Field(None, description="the column that holds an answer's allowed error")
    errata: str | None = Field(None, description="a table of problems that are known to be wrong")
    prompt: str = Field("{problem}", description="a named prompt, or a text with {problem} once")
    prompt_with: dict[str, str] = Field({}, description="a column that is not empty -> the prompt for its rows")
    samples: Positive = Field(8, description="completions per problem: k")
    max_completion_tokens: Tokens = Field(32768, description="a completion is cut off after this many tokens")
    problems: Positive | None = Field(None, description="how many there are")
    answers: str | None = Field(None, description="hash of the answers alone (`reading.answers_hash`)")
    copies: tuple[Copy, ...] = Field((), description="the copies of the data that are known")
    parts: dict[str, dict[str, str]] = Field(
        {}, description="name of a part -> the rows it has: column = value, or dates"
    )

    def broken_rules(self) -> Iterator[Broken]:
        """Prompts that there are; parts that can be told."""
        for key, prompt in (("prompt", self.prompt), *(("prompt_with", text) for text in self.prompt_with.values())):
            if "{problem}" not in prompt and prompt not in prompts():
                near = get_close_matches(prompt, prompts(), 1)
                hint = f"did you mean {near[0]}? " if near else ""
                known = ", ".join(prompts())
                yield Broken((key,), f'"{prompt}" is no named prompt and has no {{problem}}; {hint}named are {known}')
        for name, part in self.parts.items():
            if "dates" in part and (self.date is None or not WINDOW.fullmatch(part["dates"])):
                yield Broken(
                    ("parts", name, "dates"), 'write "2024-08-01..2025-02-01", and `date`, the column of dates'
                )


@dataclass(frozen=True, slots=True)
class Prompt:
    """A named prompt."""

    template: str
    """Holds {problem}."""
    source: str
    system: str | None = None

    @property
    def wording(self) -> Wording:
        """The same for the sampler."""
        return Wording(self.system, None, self.template)


@dataclass(frozen=True, slots=True)
class Named:
    """A benchmark as it was named on the command line: a definition, and the part of it that is asked."""

    name: str
    """With its part: `lcb:v5`."""
    definition: Definition
    base: Path
    """The directory that a file of the definition is beside."""
    window: tuple[date, date] | None = None
    """Contest dates, both ends included."""
    where: Mapping[str, str] = field(default_factory=dict)
    path: str | None = None
    """The data, where the command line names it."""
    text: str = ""
    """What was written: a name, or the absolute path of a file."""


def prompts() -> dict[str, Prompt]:
    """The named prompts."""
    return {name: Prompt(**table) for name, table in read_toml(PROMPTS).items()}


def prompt_named(text: str) -> Prompt:
    """A named prompt, or the text itself as one."""
    return prompts().get(text) or Prompt(text, "")


def names() -> list[str]:
    """The catalogue."""
    return sorted(path.stem for path in (DATA / "benchmarks").glob("*.toml"))


def choose(text: str) -> Named:
    """What NAME, NAME:PART, NAME:FROM..TO, a definition's path or a data file's path means.

    UsageError, with the nearest name, where it means nothing; DataError for a definition with a fault.
    """
    if (file := Path(text)).suffix == ".toml" and file.is_file():
        return Named(_stem(file), read_definition(file), file.parent, text=str(file.absolute()))
    if file.is_file() or text.startswith("hub:"):
        written = text if text.startswith("hub:") else str(file.absolute())
        return Named(_stem(file), Definition(), Path(), path=text, text=written)
    name, _, part = text.partition(":")
    if name not in names():
        near = get_close_matches(name, names(), 1)
        hint = f"did you mean {near[0]}? " if near else ""
        known = ", ".join(names())
        raise UsageError(f"{text}: no such benchmark and no such file; {hint}the catalogue has {known}")
    definition = read_definition(DATA / "benchmarks" / f"{name}.toml")
    return _part(Named(text, definition, DATA, text=text), part)


def _part(whole: Named, part: str) -> Named:
    definition = whole.definition
    if not part:
        return whole
    told = {"dates": part} if WINDOW.fullmatch(part) and definition.date else definition.parts.get(part)
    if told is None:
        dates = ", or dates such as 2024-08-01..2025-02-01" if definition.date else ""
        known = ", ".join(definition.parts) or "none"
        raise UsageError(f"{whole.name}: there is no part {part}; its parts are {known}{dates}")
    window = _window(told["dates"], whole.name) if "dates" in told else None
    rest = {column: value for column, value in told.items() if column != "dates"}
    return replace(whole, window=window, where=rest)


def _window(text: str, name: str) -> tuple[date, date]:
    found = WINDOW.fullmatch(text)
    assert found is not None, "checked before"
    try:
        first, last = date.fromisoformat(found[1]), date.fromisoformat(found[2])
    except ValueError as error:
        raise UsageError(f"{name}: {error}; write dates as 2024-08-01..2025-02-01") from error
    if first > last:
        raise UsageError(f"{name}: begins after it ends; write the earlier date first")
    return first, last


def read_definition(path: Path) -> Definition:
    """A definition from its file; DataError names the key that is wrong."""
    table = read_toml(path)
    try:
        return Definition.model_validate(_tuples(table))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        text = first["msg"]
        if first["type"] == "extra_forbidden":
            near = get_close_matches(key, Definition.model_fields, 1)
            text = f"there is no such key{f'; did you mean {near[0]}?' if near else ''}"
        raise DataError(
            f"{path}: {f'{key}: ' if key else ''}{text}; a benchmark's keys are in docs/evaluation.md"
        ) from error


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    return {key: _tuples(one) for key, one in value.items()} if isinstance(value, dict) else value


def _stem(path: Path) -> str:
    name = re.sub(r"[^\w.-]+", "-", path.name.removesuffix(".gz"))
    return name.rpartition(".")[0] or name
