"""The commands that examine this machine. What they do is imported when they run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from openklear.cli.objectives import EXIT_CODES

if TYPE_CHECKING:
    from openklear.verifiers.selftest import Finding

app = typer.Typer(no_args_is_help=True, help="Examine this machine: what it lets OpenKlear do, measured.")


@app.command(epilog=EXIT_CODES)
def sandbox(
    isolation: Annotated[
        Literal["bubblewrap", "rlimits"] | None,
        typer.Option(help="The level to try; without it, the strongest that is available here."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout; no progress.")] = False,
) -> None:
    """Attack the code judge's walls on this host, and say which hold.

    Ends with 0 if everything holds that the level of isolation promises, else with 1. Takes about ten seconds.

    Example: openklear doctor sandbox --isolation bubblewrap
    """
    from openklear.verifiers import selftest

    missing = selftest.available()
    level = isolation or next((one for one, why_not in missing.items() if not why_not), None)
    if level is None or missing[level]:
        _tell_backends(missing, level, as_json)
        raise typer.Exit(1)
    count = len(selftest.GUARANTEES)
    numbers = iter(range(1, count + 1))

    def progress(name: str) -> None:
        if not as_json:
            typer.echo(f"\r\x1b[Ktrying {next(numbers)} of {count}: {name}", err=True, nl=False)

    findings = selftest.measure(level, progress)
    counted = selftest.memory_is_counted()
    holds = all(finding.held for finding in findings if finding.promised)
    if as_json:
        document = {
            "backends": [{"level": one, "available": not why, "why_not": why} for one, why in missing.items()],
            "level": level,
            "memory_cgroup": counted,
            "holds": holds,
            "guarantees": [{name: getattr(one, name) for name in one.__slots__} for one in findings],
        }
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        typer.echo("\r\x1b[K", err=True, nl=False)
        _tell_backends(missing, level, as_json)
        _tell_findings(findings, counted)
    if not holds:
        raise typer.Exit(1)


def _tell_backends(
    missing: dict[str, str] | dict[Literal["rlimits", "bubblewrap"], str],
    level: str | None,
    as_json: bool,
) -> None:
    if as_json:
        rows = [{"level": one, "available": not why, "why_not": why} for one, why in missing.items()]
        typer.echo(json.dumps({"backends": rows, "level": level, "holds": False}, indent=2, ensure_ascii=False))
        return
    typer.echo("Ways to wall programs in, strongest first:")
    for one, why in missing.items():
        typer.echo(f"  {one:11} {f'not available: {why}' if why else 'tried below' if one == level else 'available'}")


def _tell_findings(findings: list[Finding], counted: bool) -> None:
    typer.echo("")
    for finding in findings:
        mark = "held" if finding.held else "NOT HELD" if finding.promised else "open"
        colour = "green" if finding.held else "red" if finding.promised else "yellow"
        typer.echo(f"  {typer.style(f'{mark:8}', fg=colour)}  {finding.name:13}  {finding.says}")
        if not finding.held:
            typer.echo(f"  {'':8}  {'':13}  {finding.why}{'' if finding.promised else ' (not promised at this level)'}")
    how = "counted by the kernel, in a cgroup" if counted else "looked at 50 times a second: no cgroup can be made here"
    typer.echo(f"\nThe memory of a family of processes is {how}.")
    broken = [finding.name for finding in findings if finding.promised and not finding.held]
    typer.echo(f"Not held: {', '.join(broken)}." if broken else "All that this level promises is held.")
    typer.echo("Faults of the kernel itself are not tried: use gVisor or a virtual machine against those.")
