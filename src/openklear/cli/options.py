"""What several commands share: options, exit codes, and how they print."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openklear.durable.files import json_text
from openklear.errors import UsageError
from openklear.verifiers.printable import shown

if TYPE_CHECKING:
    from openklear.planner.machines import Machine

EXIT_CODES = "Exit codes: 0 done, 1 the run failed, 2 bad input or usage, 130 interrupted."
MOST_GPUS = 8192
"""That are planned or simulated, at most: an event for every rollout and engine is still quick there."""


def above_zero(value: float | None) -> float | None:
    """Checks a number that was given."""
    if value is not None and not value > 0.0:
        raise typer.BadParameter("must be above 0")
    return value


def not_negative(value: float) -> float:
    """Checks a finite number from 0 on, such as a temperature."""
    if not 0.0 <= value < float("inf"):
        raise typer.BadParameter("must be 0 or above")
    return value


def whole_numbers(option: str, text: str, *, least: int, most: int) -> list[int]:
    """Whole numbers between commas, from small to large, each once. Raises UsageError."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isdecimal() and least <= int(word) <= most for word in words):
        raise UsageError(f"{option} {text}: write whole numbers from {least} to {most:,} with commas, such as 8,64,256")
    return sorted({int(word) for word in words})


def gpu_named(name: str, what: str) -> Machine:
    """A GPU of the planner's table, for `what`. Raises UsageError where it is none, or no GPU."""
    from openklear.planner.machines import machine_named

    found = machine_named(name)
    if found.kind != "gpu":
        raise UsageError(f"--device {name}: {what} needs a GPU; name one, such as h200")
    return found


AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON document and nothing else on stdout; show no progress.")
]


def json_only(as_json: bool) -> AbstractContextManager[object]:
    """With --json, what libraries print goes to stderr: stdout holds one document."""
    return redirect_stdout(sys.stderr) if as_json else nullcontext()


def print_json(document: Any) -> None:
    """The one document of --json; what is no number is null there."""
    typer.echo(json_text(document, indent=2))


def tell(document: Any, lines: Iterable[str], *, as_json: bool, err: bool = False) -> None:
    """What a command found: with --json the document, else the lines (with `err` on stderr)."""
    if as_json:
        print_json(document)
        return
    for line in lines:
        typer.echo(line, err=err)


def fail_where_unscorable(what: str, lost: int, total: int, first: str | None) -> None:
    """Exit code 1 where verifiers failed at more than half: the rows are written, but no share of them means much."""
    if first is not None and lost > total / 2:
        typer.secho(
            f"{what}: {lost:,} of {total:,} are unscorable: the verifier failed there, or the row, and not the answer. "
            f"The first reason: {shown(first)}. Mend it and grade again; shares over the rest say little",
            fg="red",
            err=True,
        )
        raise typer.Exit(1)
