"""`openklear simulate`: what an iteration of RL takes on many GPUs. What it does is imported when it runs."""

from __future__ import annotations

from collections.abc import Sequence
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
    from openklear.recipe.schema import Phase, Recipe
    from openklear.simulation.summary import Summary

SIZES = "1,2,4,8,16,32,64,128,256,512,1024"


def simulate(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a TOML file.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe. Repeatable.")
    ] = None,
    phase: Annotated[
        str | None, typer.Option("--phase", metavar="NAME", help="Which phase of RL; without it the first.")
    ] = None,
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="Which GPUs: b200, h200, h100 ..")] = "h200",
    gpus: Annotated[str, typer.Option("--gpus", metavar="N,N,..", help="How many, in all.")] = SIZES,
    staleness: Annotated[
        str,
        typer.Option(
            "--staleness",
            metavar="N,N,..",
            help="Beside 0: most updates between a rollout's start and its use.",
        ),
    ] = "1,4",
    completion_tokens: Annotated[
        float | None,
        typer.Option(callback=above_zero, metavar="N", help="Tokens of a sampled completion, on average."),
    ] = None,
    price: Annotated[
        float | None,
        typer.Option(
            callback=lambda value: value if value is None else not_negative(value),
            help="What one GPU costs an hour, in any currency.",
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE.svg", help="Draw it, too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Simulate the RL of a recipe on many GPUs, event by event: how fast, how idle, who should do what.

    For each number of GPUs the best placement is said, synchronous (all take turns, or some train and others sample)
    and with bounded staleness, and from where asynchrony pays. Lengths are drawn as real traces are spread; no model is
    loaded and nothing is fetched.

    Example: openklear simulate recipes/klear-8b/recipe.toml --gpus 8,64,256 --completion-tokens 12000
    """
    progress.quiet(as_json)
    with json_only(as_json):
        found = _simulated(recipe, overrides or [], phase, device, gpus, staleness, completion_tokens)
    if plot is not None:
        from openklear.durable.files import write_atomic
        from openklear.reporting.scaling import scaling_svg

        write_atomic(plot, scaling_svg(found))
    tell(found.document(price), found.lines(price), as_json=as_json)


def _simulated(
    file: Path,
    overrides: list[str],
    phase: str | None,
    device: str,
    gpus: str,
    staleness: str,
    length: float | None,
) -> Summary:
    from openklear.recipe.load import load_recipe
    from openklear.run.model_facts import facts_or_fetch
    from openklear.run.unseen import expected_amounts
    from openklear.simulation.summary import Summary
    from openklear.simulation.sweep import job_of, sweep, without_cluster

    sizes = whole_numbers("--gpus", gpus, least=1, most=MOST_GPUS)
    bounds = [0, *whole_numbers("--staleness", staleness, least=1, most=64)]
    loaded = without_cluster(load_recipe(file, overrides))
    one = _phase(file, loaded, phase)
    job = job_of(
        loaded, one, facts_or_fetch(loaded).shape, gpu_named(device, "the simulation"), expected_amounts(loaded, length)
    )
    found = []
    with progress.task("simulating", len(sizes) * len(bounds), "placements", brief=True) as advance:
        for best in sweep(job, sizes, bounds):
            found.append(best)
            advance()
    return Summary(job, found)


def _phase(file: Path, recipe: Recipe, name: str | None) -> Phase:
    phases: Sequence[Phase] = recipe.rl.phase if recipe.rl is not None else ()
    if not phases or recipe.model is None:
        raise UsageError(f"{file}: has no phase of RL, so there is nothing to simulate; name a recipe with [rl]")
    found = next((one for one in phases if name in (None, one.name)), None)
    if found is None:
        raise UsageError(f"--phase {name}: {file} has {', '.join(one.name for one in phases)}")
    return found
