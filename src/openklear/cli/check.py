"""`openklear recipe check`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openklear.cli.options import AsJson, json_only, tell
from openklear.errors import UsageError
from openklear.verifiers.printable import printable

if TYPE_CHECKING:
    from openklear.run.check import RecipeCheck
    from openklear.training.fitting import Fit


def check(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a TOML file.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe. Repeatable.")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows that are read of each source.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show what will be trained and asked: the first rows of every source through the model's chat template.

    One row of each source is printed as the model sees it, the trained part in green, or in ⟦brackets⟧ where there is
    no colour. No weights are loaded, and nothing is written. Ends with 2 where a run would stop.

    Example: openklear recipe check recipes/quickstart.toml
    """
    from openklear.recipe.load import load_recipe
    from openklear.run.check import check as run_check

    loaded = load_recipe(recipe, overrides or ())
    with json_only(as_json):
        found = run_check(loaded, rows)
    examples = [{**fit.row(), "segments": fit.example} for fit in found.fits]
    document: dict[str, Any] = {"examples": examples, "notes": found.notes, "faults": found.faults}
    tell(document, list(_lines(found)), as_json=as_json)
    if found.faults:
        raise UsageError("; ".join(found.faults))


def _lines(found: RecipeCheck) -> Iterator[str]:
    from openklear.reporting.examples import marked

    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    shown: set[tuple[str, str]] = set()
    for fit in found.fits:
        yield _counted(fit)
        if fit.example and (fit.role, fit.source) not in shown:
            shown.add((fit.role, fit.source))
            text = marked([(printable(text, "\n\t"), trained) for text, trained in fit.example], colour=colour)
            yield from (f"    {line}" for line in text.split("\n"))
    yield from (f"lost: {note}" for note in found.notes)


def _counted(fit: Fit) -> str:
    name = f"{fit.source} ({fit.role}), {fit.consumer}: {fit.kept} of the first {fit.read} rows"
    if not fit.kept:
        return name
    mean = f"{name}, {fit.tokens / fit.kept:.0f} tokens each"
    return f"{mean}, {fit.trained / fit.kept:.0f} of them trained" if fit.role == "demonstrations" else mean
