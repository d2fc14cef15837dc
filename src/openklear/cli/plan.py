"""`openklear plan`: memory, time and cost of a recipe before it runs. What it does is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openklear import progress
from openklear.cli.options import (
    MOST_GPUS,
    AsJson,
    above_zero,
    gpu_named,
    json_only,
    not_negative,
    tell,
    whole_numbers,
)
from openklear.errors import UsageError

if TYPE_CHECKING:
    from openklear.planner.plan import Plan
    from openklear.simulation.whole import Whole, WholeRun

DOES_NOT_FIT = 3
"""The exit code for a plan that does not fit the machine's memory."""


def _price(value: float | None) -> float | None:
    return value if value is None else not_negative(value)


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
            help="For which machine: b200, h200, h100, a100, l40s, 5090, 4090, 3090 and others, or cpu (this one's); "
            "without it the recipe's device on the machine at hand, with --gpus an h200.",
        ),
    ] = None,
    price: Annotated[
        float | None,
        typer.Option(callback=_price, help="What the machine (with --gpus one GPU) costs an hour, in any currency."),
    ] = None,
    completion_tokens: Annotated[
        float | None,
        typer.Option(callback=above_zero, metavar="N", help="Tokens of a sampled completion, on average."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="A run whose `prepare` is finished: its rows are counted."),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(
            "--gpus",
            metavar="N,N,..",
            help="On so many GPUs together: every stage's time, GPU-hours, cost and memory. No data are fetched.",
        ),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Take a second to measure how fast this processor multiplies and reads.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a recipe will take on a machine: memory by part and stage, time by phase, cost, and whether it fits.

    Nothing is written, and no weights are read or fetched. Where it does not fit, the nearest change that makes it fit
    is said, and the exit code is 3.

    Example: openklear plan recipes/klear-8b/recipe.toml --device h200 --gpus 8,64,256 --price 3
    """
    if gpus is not None:
        if output is not None or measure:
            raise UsageError("--gpus cannot be combined with --output or --measure; remove them")
        _plan_of_many(recipe, overrides or [], device or "h200", gpus, completion_tokens, price, as_json)
        return
    with json_only(as_json):
        found, heading = _planned(recipe, overrides or [], device, completion_tokens, output, measure)
    tell({"heading": heading, **found.document(price)}, [*heading, *found.lines(price)], as_json=as_json)
    if not found.fits:
        raise typer.Exit(DOES_NOT_FIT)


def _plan_of_many(
    file: Path,
    overrides: list[str],
    device: str,
    gpus: str,
    length: float | None,
    price: float | None,
    as_json: bool,
) -> None:
    """Print the plan on each number of GPUs; exit code 3 where it fits none of them."""
    from openklear.simulation.whole import Hands, whole_document, whole_lines

    numbers = whole_numbers("--gpus", gpus, least=1, most=MOST_GPUS)
    with json_only(as_json):
        whole, heading = _whole(file, overrides, device, length)
        runs: list[WholeRun] = []
        hands = [Hands(number) for number in numbers]
        hands += [written] if (written := whole.written()) is not None else []
        progress.quiet(as_json)
        with progress.task("planning", len(hands), "sizes", brief=True) as advance:
            for one in hands:
                runs.append(whole.on(one))
                advance()
    document = {"heading": heading, **whole_document(whole, runs, price)}
    tell(document, [*heading, "", *whole_lines(whole, runs, price)], as_json=as_json)
    if all(run.missing for run in runs):
        raise typer.Exit(DOES_NOT_FIT)


def _whole(file: Path, overrides: list[str], device: str, length: float | None) -> tuple[Whole, list[str]]:
    """What is planned, and the lines above it."""
    from openklear.recipe.load import load_recipe
    from openklear.run.model_facts import facts_or_fetch
    from openklear.run.unseen import expected_amounts
    from openklear.simulation.whole import Whole

    loaded = load_recipe(file, overrides)
    if loaded.model is None:
        raise UsageError(f"{file}: has no [model], so there is nothing to plan: it only curates data")
    if loaded.lora is not None:
        raise UsageError(f"{file}: --gpus plans models that are trained whole; adapters ([lora]) are of one device")
    machine = gpu_named(device, "--gpus")
    facts = facts_or_fetch(loaded)
    return Whole(loaded, facts.shape, machine, expected_amounts(loaded, length)), [f"model: {facts.line()}"]


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
