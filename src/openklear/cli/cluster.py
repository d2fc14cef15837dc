"""`openklear cluster`: what is on a Ray cluster. What it does is imported when it runs."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

import typer

from openklear.cli.options import EXIT_CODES, AsJson, json_only, tell
from openklear.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Look at the Ray cluster that recipes with [cluster] train on.")


@app.callback()
def _cluster() -> None:
    pass


@app.command(epilog=EXIT_CODES)
def status(
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Of the cluster. Without it the one that Ray finds (RAY_ADDRESS)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the nodes, and of every run its ranks, samplers and judges: where each is, and what it does for how long.

    Nothing is disturbed: each process answers beside its work. Exit code 1 where one does not answer.

    Example: openklear cluster status --address head:6379
    """
    if find_spec("ray") is None:
        raise UsageError("a cluster needs Ray; run pip install 'openklear[cluster]'")
    from openklear.cluster.status import cluster_status

    with json_only(as_json):
        found = cluster_status(address)
    tell(found.document(), found.lines(), as_json=as_json)
    if not all(one.answers for one in found.actors):
        raise typer.Exit(1)
