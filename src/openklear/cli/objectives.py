"""The commands around policy losses: figure, table, conformance. What they do is imported when they run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from openklear.cli.options import EXIT_CODES
from openklear.errors import UsageError

SHOWN = ("gppo", "ppo_clip", "ce_gppo", "cispo")
"""What the figure compares if nothing is named."""

app = typer.Typer(no_args_is_help=True, help="Policy losses: formulas, defaults, and the figure of gradient weights.")


@app.command(epilog=EXIT_CODES)
def plot(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Losses to draw; see `openklear objectives table`.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="FILE.svg, FILE.png or FILE.html.")
    ] = Path("weights.svg"),
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME.KEY=VALUE", help="A number other than the published one: gppo.beta_low=0.5."
        ),
    ] = None,
    low: Annotated[float, typer.Option(help="Smallest ratio drawn, above 0 and below 1.")] = 0.05,
    high: Annotated[float, typer.Option(help="Largest ratio drawn, above 1.")] = 10.0,
) -> None:
    """Draw the gradient weight w(r) of losses for both signs of the advantage, and w / pi below it.

    Example: openklear objectives plot gppo ppo_clip cispo sapo --output weights.png
    """
    if not 0.0 < low < 1.0 < high:
        raise UsageError(f"--low {low:g} --high {high:g}: r = 1 must lie between them, and --low above 0")
    from openklear.reporting.weights import write

    chosen = {name: numbers_of(name, changes or ()) for name in names or SHOWN}
    for change in changes or ():
        if change.partition(".")[0] not in chosen:
            raise UsageError(
                f"--set {change}: the figure draws {', '.join(chosen)}; name the loss too, or leave it out"
            )
    write(output, chosen, low, high)
    typer.echo(f"{output}")


@app.command(epilog=EXIT_CODES)
def table(
    style: Annotated[
        Literal["text", "markdown", "json"], typer.Option("--format", help="How the table is printed.")
    ] = "text",
) -> None:
    """Print every policy loss: its formula, defaults, source, and how dialects of one name differ.

    d loss / d log pi = -A w; r = pi / pi_old, p = pi_old, el = clip_low, eh = clip_high.

    Example: openklear objectives table --format markdown
    """
    from openklear.objectives.aggregate import AGGREGATION_NOTES
    from openklear.objectives.policy import CATALOG

    rows = [
        {
            "name": name,
            "w, A > 0": entry.positive,
            "w, A < 0": entry.negative,
            "defaults": _shown(numbers_of(name, ())),
            "source": entry.source,
            "note": entry.note + ("; only with aggregation sequence_mean" if entry.sequence else ""),
        }
        for name, entry in CATALOG.items()
    ]
    if style == "json":
        document = {"objectives": rows, "aggregations": dict(AGGREGATION_NOTES)}
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
    elif style == "markdown":
        typer.echo("\n".join(markdown(rows)))
    else:
        typer.echo("\n\n".join(_paragraph(row) for row in rows))
        typer.echo("\nAggregations (rl.aggregation):")
        width = max(map(len, AGGREGATION_NOTES))
        typer.echo("\n".join(f"  {name:{width}}  {note}" for name, note in AGGREGATION_NOTES.items()))


def conformance(
    style: Annotated[
        Literal["text", "markdown", "json"], typer.Option("--format", help="How the table is printed.")
    ] = "text",
    objectives: Annotated[
        list[str] | None, typer.Option("--objective", metavar="NAME", help="Only this loss; repeatable.")
    ] = None,
    frameworks: Annotated[
        list[str] | None, typer.Option("--framework", metavar="NAME", help="Only rows of this one; repeatable.")
    ] = None,
    departures: Annotated[bool, typer.Option("--departures", help="Only what does not agree.")] = False,
) -> None:
    """Compare the losses of the frameworks installed here with the published formulas, on one fixture of tokens.

    Shows where ours, the released Klear code, TRL or verl departs: in value, in gradient, with how a step is split into
    micro-batches, at far log-ratios, or by NaN outside the mask. In an environment without this command's
    dependencies, use python -m openklear.conformance. Ends with 1 if a loss of ours departs.

    Example: openklear conformance --objective gppo --objective ppo_clip --departures
    """
    from openklear.conformance import render, run

    report = run(objectives=objectives)
    known = {row.framework for row in report.rows}
    if unknown := sorted(set(frameworks or ()) - known):
        raise UsageError(f"--framework {unknown[0]}: the frameworks here are {', '.join(sorted(known))}")
    typer.echo(render(report, style, departures=departures, frameworks=frameworks), nl=False)
    if not report.ours_agree:
        raise typer.Exit(1)


def markdown(rows: list[dict[str, str]]) -> list[str]:
    """The rows as a Markdown table; the name in backticks."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
    for row in rows:
        cells = [f"`{value}`" if key == "name" else value.replace("|", "\\|") for key, value in row.items()]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def numbers_of(name: str, changes: list[str] | tuple[str, ...]) -> dict[str, Any]:
    """The loss's published numbers with the changes that are its own (NAME.KEY=VALUE) over them. UsageError."""
    from pydantic import ValidationError

    from openklear.recipe.explain import faults
    from openklear.recipe.objectives import MEMBERS
    from openklear.recipe.overrides import parse_value

    if name not in MEMBERS:
        raise UsageError(f"there is no loss named {name}; choose from {', '.join(MEMBERS)}")
    member = MEMBERS[name]
    given: dict[str, Any] = {}
    for change in changes:
        key, equals, text = change.partition("=")
        owner, _, number = key.partition(".")
        if not equals or not number:
            raise UsageError(f"--set {change}: write NAME.KEY=VALUE, such as gppo.beta_low=0.5")
        if owner == name:
            given[number] = parse_value(text)
    try:
        return member(**given).model_dump(exclude={"type"})
    except ValidationError as error:
        first = next(faults(error, member))
        raise UsageError(f"--set {name}.{'.'.join(map(str, first.path))}: {first.message}") from error


def _shown(numbers: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value:g}" if value is not None else f"{key} off" for key, value in numbers.items())


def _paragraph(row: dict[str, str]) -> str:
    width = max(map(len, row))
    lines = [f"  {key:{width}}  {value}" for key, value in row.items() if key != "name" and value]
    return "\n".join([row["name"], *lines])
