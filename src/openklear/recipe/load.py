"""A recipe file becomes a `Recipe`: read, overridden, phases merged with the defaults of [rl], validated, explained."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from openklear.errors import RecipeError, UsageError
from openklear.recipe import explain, keys
from openklear.recipe.curation import RESPONSES, Selection
from openklear.recipe.explain import Fault
from openklear.recipe.hub import model_place
from openklear.recipe.objectives import CustomObjective
from openklear.recipe.overrides import NAMED_LISTS, CannotSet, Override, assign, parse_override
from openklear.recipe.reward import CustomReward
from openklear.recipe.schema import Phase, Recipe
from openklear.recipe.section import expanded
from openklear.verifiers.custom import function, verifier
from openklear.verifiers.domains import DOMAINS

__all__ = ["load_recipe"]

Table = dict[str, Any]


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file; `overrides` are `a.b.c=value` texts, each as if written in the file.

    Relative paths (sources, model.path, model.chat_template) are taken from the file's directory. Raises RecipeError
    with every fault of file and overrides.
    """
    raw = read_toml(path)
    lines: list[str] = []
    written: list[Override] = []
    for text in overrides:
        try:
            override = parse_override(text)
            assign(raw, override)
        except CannotSet as error:
            lines.append(str(error))
        else:
            written.append(override)
    _resolve_paths(raw, path.absolute().parent)
    recipe, found = _validate(raw)
    lines += [_line(fault, raw, written) for fault in found]
    if recipe is None or lines:
        raise RecipeError(report(path, lines))
    return recipe


def with_overrides(recipe: Recipe, overrides: Sequence[str]) -> Recipe | None:
    """The recipe with keys changed as by --set; None where it would be no recipe then. Raises CannotSet."""
    raw = _as_lists(recipe.model_dump(exclude_none=True))
    for text in overrides:
        assign(raw, parse_override(text))
    try:
        return Recipe.model_validate(as_tuples(merge_phases(raw)))
    except ValidationError:
        return None


def read_toml(path: Path, what: str = "recipe") -> Table:
    """The raw tables of a TOML file. Raises RecipeError that names the file, and the line of malformed TOML.

    `what` the file should be is named where it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RecipeError(f"{path}: cannot be read ({reason}); give the path of a {what} file") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason, line = _position(str(error), text)
        raise RecipeError(f"{path}:{line}: malformed TOML: {reason}; fix that line") from error


def merge_phases(raw: Mapping[str, Any]) -> Table:
    """The raw recipe with the defaults of [rl] written into each of its phases, and each union's `type` filled in."""
    table = dict(raw)
    rl = table.get("rl")
    if isinstance(rl, dict):
        defaults, phases = _defaults(rl), rl.get("phase")
        if isinstance(phases, list):
            phases = [_over(defaults, one) if isinstance(one, dict) else one for one in phases]
        table["rl"] = {} if phases is None else {"phase": phases}
    return _with_types(table, Recipe)


def _defaults(rl: Table) -> Table:
    return _with_types({key: value for key, value in rl.items() if key != "phase"}, Phase)


def _over(below: Table, above: Table) -> Table:
    """`above` laid over `below`: tables merge key by key, unless the two are different members of a tagged union."""
    result = {**below, **above}
    for key in below.keys() & above.keys():
        old, new = below[key], above[key]
        if isinstance(old, dict) and isinstance(new, dict) and new.get("type", old.get("type")) == old.get("type"):
            result[key] = _over(old, new)
    return result


def _with_types(raw: Table, table: type[BaseModel]) -> Table:
    """The tables of tagged unions get the default's `type` where they have none."""
    result = dict(raw)
    for name, field in table.model_fields.items():
        value, members = raw.get(name), keys.tables(field.annotation)
        if isinstance(value, list) and len(members) == 1:
            result[name] = [_with_types(item, members[0]) if isinstance(item, dict) else item for item in value]
        elif isinstance(value, dict) and len(members) == 1:
            result[name] = _with_types(value, members[0])
        elif isinstance(value, dict) and len(members) > 1 and "type" not in value:
            default = keys.default_tag(field)
            result[name] = value if default is None else {"type": default, **value}
    return result


def _validate(raw: Table) -> tuple[Recipe | None, list[Fault]]:
    recipe, found = None, list(_faults_of_defaults(raw))
    try:
        recipe = Recipe.model_validate(as_tuples(merge_phases(raw)))
    except ValidationError as error:
        found += [Fault(_origin(fault.path, raw), fault.message, fault.rule) for fault in explain.faults(error)]
    else:
        found += [Fault(_origin(fault.path, raw), fault.message) for fault in _functions(recipe)]
    return recipe, list({(fault.path, fault.message): fault for fault in found}.values())


def _functions(recipe: Recipe) -> Iterator[Fault]:
    """The functions of the user's own that cannot be loaded, and a server that cannot be one."""
    limits = recipe.verifiers.limits
    asked: dict[explain.Path, Callable[[], object]] = {
        ("verifiers", "graders", domain): partial(verifier, name) for domain, name in limits.custom.items()
    }
    if limits.sandbox_url is not None:
        asked["verifiers", "graders", "code"] = partial(_checked_server, limits.sandbox_url)
    for index, phase in enumerate(recipe.rl.phase if recipe.rl else ()):
        place = ("rl", "phase", index)
        if isinstance(phase.reward, CustomReward):
            asked[*place, "reward", "function"] = partial(function, phase.reward.function)
        if isinstance(phase.objective, CustomObjective):
            asked[*place, "objective", "function"] = partial(_check_objective, phase.objective)
    for path, load in asked.items():
        try:
            load()
        except UsageError as error:
            yield Fault(path, str(error))


def _check_objective(objective: CustomObjective) -> None:
    """UsageError where the function is not there, or cannot be trained with."""
    from openklear.objectives.policy.custom import check  # no other recipe needs torch to be read

    check(function(objective.function).call, objective.function, objective.arguments)


def _checked_server(url: str) -> None:
    """UsageError where it cannot be a server's address. Nothing is sent."""
    from openklear.verifiers.sandbox_fusion import SandboxFusionGrader  # most recipes have no use for its imports

    SandboxFusionGrader(url, 1.0, 1).close()


def _faults_of_defaults(raw: Table) -> list[Fault]:
    """[rl] on its own: a default that every phase overrides is wrong all the same."""
    rl = raw.get("rl")
    if not isinstance(rl, dict):
        return []
    defaults = _defaults(rl)
    found = []
    if "name" in defaults:
        found.append(Fault(("rl", "name"), "is not a default: each [[rl.phase]] has its own name; remove it here"))
    try:
        Phase.model_validate(as_tuples({"domains": [*DOMAINS][:1], **defaults, "name": "x"}))
    except ValidationError as error:
        # Rules between keys hold for a whole phase, not for half of one.
        found += [fault for fault in explain.faults(error, Phase, ("rl",)) if not fault.rule]
    return found


def _origin(path: explain.Path, raw: Table) -> explain.Path:
    """Where a phase's key was written: in the phase, or among the defaults of [rl]."""
    if path[:2] != ("rl", "phase") or len(path) < 4:
        return path
    rl = raw["rl"]
    phase, key = rl["phase"][int(path[2])], path[3:]
    inherited = not _holds(phase, key) and _holds(_defaults(rl), key)
    return ("rl", *key) if inherited else path


def _holds(table: Any, path: explain.Path) -> bool:
    for part in path:
        if not isinstance(table, dict) or part not in table:
            return isinstance(table, list)
        table = table[part]
    return True


def as_tuples(value: Any) -> Any:
    """TOML has arrays, the strict schema tuples: the one conversion that the schema does not do itself."""
    if isinstance(value, dict):
        return {key: as_tuples(item) for key, item in value.items()}
    return tuple(as_tuples(item) for item in value) if isinstance(value, list) else value


def _as_lists(value: Any) -> Any:
    """The way back."""
    if isinstance(value, dict):
        return {key: _as_lists(item) for key, item in value.items()}
    return [_as_lists(item) for item in value] if isinstance(value, tuple | list) else value


NO_PATHS = ("world:", "hub:")
EMBEDDED = Selection.model_fields["embedding"].default


def _resolve_paths(raw: Table, base: Path) -> None:
    """Make the recipe's paths absolute, in place; anything that is not a path yet is left for validation."""
    data, model = raw.get("data"), raw.get("model")
    sources = data.get("source") if isinstance(data, dict) else None
    tables = [(item, "path") for item in sources if isinstance(item, dict)] if isinstance(sources, list) else []
    if isinstance(raw.get("engine"), dict):
        tables += [(raw["engine"], "python")]
    if isinstance(model, dict):
        tables += [(model, "path"), (model, "chat_template")]
    if isinstance(data, dict):
        named = (*RESPONSES, ("selection", "embedding"))
        tables += [(data[name], key) for name, key in named if isinstance(data.get(name), dict)]
    for table, key in tables:
        value = table.get(key)
        if isinstance(value, str) and value:
            value = model_place(expanded(value), base) if (table, key) == (model, "path") else expanded(value)
            is_path = not value.startswith(NO_PATHS) and value != EMBEDDED
            table[key] = os.path.normpath(base / Path(value).expanduser()) if is_path else value


def dotted(path: explain.Path, raw: Mapping[str, Any]) -> str:
    """A path as on the command line: items of named lists by name, other items by number."""
    words: list[str] = []
    table: Any = raw
    for index, part in enumerate(path):
        try:
            table = table[part]
        except (KeyError, IndexError, TypeError):
            table = None
        name = table.get("name") if isinstance(table, dict) and path[:index] in NAMED_LISTS else None
        if isinstance(part, str):
            words.append(part)
        elif isinstance(name, str) and name:
            words.append(name)
        else:
            words[-1] += f"[{part}]"
    return ".".join(words)


def _line(fault: Fault, raw: Table, written: Sequence[Override]) -> str:
    where = dotted(fault.path, raw)
    said = [f" (--set {one.text})" for one in written if _concerns(".".join(one.path), where, fault)]
    return f"{where}{said[-1] if said else ''}: {fault.message}" if where else fault.message


def _concerns(key: str, where: str, fault: Fault) -> bool:
    """Whether an override of `key` wrote what is wrong at `where`."""
    inside = not fault.rule and key.startswith(f"{where}.")
    return inside or where == key or where.startswith(f"{key}.")


def report(path: Path, lines: Sequence[str]) -> str:
    """The faults of a file as one message."""
    if len(lines) == 1:
        return f"{path}: {lines[0]}"
    return "\n  ".join([f"{path}: {len(lines)} faults", *lines])


def _position(message: str, text: str) -> tuple[str, int]:
    """tomllib's message, and the line that it names; the end of the document is the last line."""
    reason, _, place = message.partition(" (at ")
    line = re.match(r"line (\d+)", place)
    return reason, int(line[1]) if line else max(1, len(text.splitlines()))
