"""A recipe for people: resolved and commented TOML, the table of all keys, and the arithmetic of a run."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from openklear.recipe import keys
from openklear.recipe.curation import Source
from openklear.recipe.schema import Phase, Recipe, Sft

COMMENT_COLUMN = 36


def resolved_toml(recipe: Recipe) -> str:
    """Every key of the recipe with its value and, as a comment, its meaning; `load_recipe` reads it back unchanged."""
    return "\n".join(_table(recipe, ())).strip() + "\n"


def key_lines() -> list[str]:
    """One line per key: path, type, default, help; members of a tagged union that share a key share its line."""
    rows: dict[tuple[str, str, str, str], list[str]] = {}
    for key in keys.keys(Recipe):
        rows.setdefault((key.path, key.type, key.default, key.help), []).append(key.only)
    width = max(len(path) for path, *_ in rows)
    lines = []
    for (path, type_, default, help_), owners in rows.items():
        only = f" (type = {' or '.join(owners)})" if any(owners) else ""
        lines.append(f"{path:{width}}  {type_}; {default}. {help_[:1].upper()}{help_[1:]}{only}")
    return lines


def arithmetic(recipe: Recipe) -> list[str]:
    """What the recipe's sizes multiply to, one line per stage."""
    lines = [] if recipe.sft is None else [_sft_arithmetic(recipe.sft)]
    for phase in recipe.rl.phase if recipe.rl else ():
        lines.append(_phase_arithmetic(phase))
    return lines if recipe.model is None else [*lines, _evaluation_arithmetic(recipe)]


def _sft_arithmetic(sft: Sft) -> str:
    long = {"drop": "longer ones dropped", "cut": "longer ones cut"}[sft.overlong]
    return (
        f"sft: {count(sft.epochs, 'epoch')} of demonstrations of up to {sft.max_tokens:,} tokens ({long}); "
        f"an update holds up to {sft.batch_tokens:,} tokens; "
        f"learning rate {sft.learning_rate:g} -> {sft.min_learning_rate:g}"
    )


def _phase_arithmetic(phase: Phase) -> str:
    problems, group, per_update = phase.problems_per_iteration, phase.group_size, phase.problems_per_update
    updates, rollouts = -(-problems // per_update), problems * group
    return (
        f"rl-{phase.name}: {count(problems, 'problem')} x {group} rollouts = {rollouts:,} rollouts per iteration; "
        f"up to {count(updates, 'update')} of {count(per_update, 'problem')} ({per_update * group:,} rollouts); "
        f"x {count(phase.iterations, 'iteration')} = {rollouts * phase.iterations:,} rollouts, "
        f"at most {count(updates * phase.iterations, 'update')}"
    )


def _evaluation_arithmetic(recipe: Recipe) -> str:
    evaluation = recipe.evaluation
    heldout = [s for s in recipe.data.source if s.role == "heldout"]
    own = [s for s in heldout if s.samples is not None or s.limit is not None]
    told = [f"; {s.name}: {_of_its_own(s)}" for s in own]
    return (
        f"evaluate: {count(evaluation.samples, 'completion')} of up to {evaluation.max_completion_tokens:,} tokens "
        f"for each held-out problem{''.join(told)}"
    )


def _of_its_own(source: Source) -> str:
    told = [] if source.samples is None else [count(source.samples, "completion")]
    if source.limit is not None:
        problems = count(source.limit, "problem")
        told.append(f"the first {problems}" if source.limit_by == "first" else f"{problems} drawn by the seed")
    return ", ".join(told)


def count(number: int, noun: str) -> str:
    """`1 update`, `1,000 updates`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _table(table: BaseModel, path: tuple[str, ...]) -> Iterator[str]:
    """The lines of a table: its leaves first, as TOML demands, then the tables in it."""
    below = []
    for name, field in type(table).model_fields.items():
        value = getattr(table, name)
        if keys.tables(field.annotation):
            below.append((name, field, value))
        elif value is None:
            yield _commented(f"# {name} = (not set)", field)
        else:
            yield _commented(f"{name} = {keys.toml_value(value)}", field)
    for name, field, value in below:
        yield from _section(".".join((*path, name)), (*path, name), field, value)


def _section(title: str, path: tuple[str, ...], field: FieldInfo, value: object) -> Iterator[str]:
    if value is None:
        yield from ("", _commented(f"# [{title}] (not set)", field))
    elif isinstance(value, tuple):
        for item in value:
            yield from ("", _commented(f"[[{title}]]", field), *_table(item, path))
        if not value:
            yield from ("", _commented(f"# [[{title}]] (none)", field))
    elif isinstance(value, BaseModel):
        # A table that holds nothing but lists of tables needs no line of its own.
        holds_leaves = any(not keys.tables(below.annotation) for below in type(value).model_fields.values())
        yield from ("", _commented(f"[{title}]", field)) if holds_leaves else ()
        yield from _table(value, path)


def _commented(text: str, field: FieldInfo) -> str:
    return f"{text:{COMMENT_COLUMN}}  # {field.description}"
