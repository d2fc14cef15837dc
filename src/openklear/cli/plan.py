"""`openklear plan`: memory, time and cost of a recipe before it runs. What it does is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openklear.cli.options import AsJson, above_zero, json_only, not_negative, tell
from openklear.errors import UsageError

if TYPE_CHECKING:
    from openklear.planner.plan import Plan

DOES_NOT_FIT = 3
"""The exit code for a plan that does not fit the machine's memory."""


def plan(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a TOML file.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe. Repeatable.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="NAME",
            help="For which machine: b200, h200, h100, a100, l40s, 5090, 4090, 3090 and others, or cpu (this one's). "
            "Without it the recipe's device on the machine at hand.",
        ),
    ] = None,
    price: Annotated[
        float | None,
        typer.Option(
            callback=lambda value: value if value is None else not_negative(value),
            help="What the machine costs an hour, in any currency.",
        ),
    ] = None,
    completion_tokens: Annotated[
        float | None,
        typer.Option(callback=above_zero, metavar="N", help="Tokens of a sampled completion, on average."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="A run whose `prepare` is finished: its rows are counted."),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Take a second to measure how fast this processor multiplies and reads.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a recipe will take on a machine: memory by part and stage, time by phase, cost, and whether it fits.

    Nothing is written, and no weights are read or fetched. Where it does not fit, the nearest change that makes it fit
    is said, and the exit code is 3.

    Example: openklear plan recipes/gsm8k-smollm2.toml --device 4090 --price 0.4
    """
    with json_only(as_json):
        found, heading = _planned(recipe, overrides or [], device, completion_tokens, output, measure)
    tell({"heading": heading, **found.document(price)}, [*heading, *found.lines(price)], as_json=as_json)
    if not found.fits:
        raise typer.Exit(DOES_NOT_FIT)


def _planned(
    file: Path, overrides: list[str], device: str | None, length: float | None, output: Path | None, measure: bool
) -> tuple[Plan, list[str]]:
    """The plan, and the lines above it."""
    from openklear.planner.machines import machine_named
    from openklear.planner.plan import make_plan
    from openklear.planner.probe import measured
    from openklear.recipe.load import load_recipe
    from openklear.run.amounts import amounts_of, looked_at, prepared_amounts
    from openklear.run.model_facts import TokenCounter, facts_or_fetch

    loaded = load_recipe(file, overrides)
    if loaded.model is None:
        raise UsageError(f"{file}: has no [model], so there is nothing to plan: it only curates data")
    facts = facts_or_fetch(loaded)
    machine = machine_named(device or loaded.device, "--device" if device else "device =")
    if measure:
        machine = measured(machine, loaded.threads)
    counter = TokenCounter.of(loaded)
    if output is None:
        amounts = amounts_of(loaded, looked_at(loaded, counter), length)
    else:
        amounts = prepared_amounts(loaded, output / "prepare", counter, length)
    threads = f", {loaded.threads} of them used" if machine.kind == "cpu" else ""
    heading = [
        f"model: {facts.line()}",
        f"machine: {machine.name}{threads}: {machine.memory_bytes / 1e9:,.0f} GB, "
        f"{machine.bandwidth / 1e9:,.0f} GB/s, {_speeds(machine.flops)} ({machine.source})",
    ]
    return make_plan(loaded, facts.shape, machine, amounts), heading


def _speeds(flops: object) -> str:
    assert isinstance(flops, dict)
    return ", ".join(f"{each / 1e12:,.3g} TFLOP/s in {name}" for name, each in flops.items())
