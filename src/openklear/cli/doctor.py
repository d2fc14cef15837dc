"""The commands that examine this machine. What they do is imported when they run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from openklear.cli.options import EXIT_CODES, AsJson, print_json

if TYPE_CHECKING:
    from openklear.verifiers.selftest import Finding
    from openklear.verifiers.walls import Level

app = typer.Typer(no_args_is_help=True, help="Examine this machine: what OpenKlear can do on it, measured.")


@app.command(epilog=EXIT_CODES)
def sandbox(
    isolation: Annotated[
        Literal["bubblewrap", "rlimits"] | None,
        typer.Option(help="The level to try. Without it: the strongest that is available here."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Attack the walls around programs on this host, and say which of them hold.

    Ends with 0 if everything holds that the level of isolation promises, else with 1. Takes about ten seconds.

    Example: openklear doctor sandbox --isolation bubblewrap
    """
    from openklear import progress
    from openklear.verifiers import selftest

    missing = selftest.available()
    level = isolation or next((one for one, why_not in missing.items() if not why_not), None)
    backends = [{"level": one, "available": not why_not, "why_not": why_not} for one, why_not in missing.items()]
    document: dict[str, Any] = {"backends": backends, "level": level, "holds": False}
    if level is None or missing[level]:
        print_json(document) if as_json else _tell_backends(missing, level)
        raise typer.Exit(1)
    progress.quiet(as_json)
    with progress.task("sandbox", len(selftest.GUARANTEES), "attacks") as advance:
        findings = selftest.measure(level, lambda name: advance(last=name))
    counted = selftest.memory_is_counted()
    holds = all(finding.held for finding in findings if finding.promised)
    if as_json:
        guarantees = [asdict(finding) for finding in findings]
        print_json(document | {"memory_cgroup": counted, "holds": holds, "guarantees": guarantees})
    else:
        _tell_backends(missing, level)
        _tell_findings(findings, counted)
    if not holds:
        raise typer.Exit(1)


def _tell_backends(missing: Mapping[Level, str], level: Level | None) -> None:
    typer.echo("Ways to wall programs in, strongest first:")
    for one, why in missing.items():
        told = f"not available: {why}" if why else "tried below" if one == level else "available"
        typer.echo(f"  {one:11} {told}")


def _tell_findings(findings: list[Finding], counted: bool) -> None:
    typer.echo("")
    for finding in findings:
        mark = "held" if finding.held else "NOT HELD" if finding.promised else "open"
        colour = "green" if finding.held else "red" if finding.promised else "yellow"
        typer.echo(f"  {typer.style(f'{mark:8}', fg=colour)}  {finding.name:13}  {finding.says}")
        if not finding.held:
            typer.echo(f"  {'':8}  {'':13}  {finding.why}{'' if finding.promised else ' (not promised at this level)'}")
    how = "counted by the kernel, in a cgroup" if counted else "sampled 50 times a second: no cgroup can be made here"
    typer.echo(f"\nThe memory of a program and its children is {how}.")
    broken = [finding.name for finding in findings if finding.promised and not finding.held]
    typer.echo(f"Not held: {', '.join(broken)}." if broken else "All that this level promises is held.")
    typer.echo("Bugs of the kernel itself are not tried: use gVisor or a virtual machine against those.")
