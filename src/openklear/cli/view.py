"""`openklear view`: a local page over evaluations and RL runs. What it does is imported when it runs."""

from __future__ import annotations

import contextlib
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from openklear.errors import UsageError

PACKAGES = ("starlette", "uvicorn")


def view(
    directories: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...", help="Evaluations, runs (their evaluations and RL phases), or what holds such."
        ),
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port on 127.0.0.1; 0 takes any that is free.")] = 0,
    export: Annotated[
        Path | None,
        typer.Option("--export", metavar="FILE.html", help="Write the page as one file instead, texts included."),
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only say the address; open no browser.")] = False,
) -> None:
    """Look at evaluations and RL iterations in a browser, also while they run; Ctrl-C ends it.

    Scores with their intervals, every completion by problem and sample, what decided, two evaluations side by side.
    The page needs no network, and nothing but this machine can reach it.

    Example: openklear view runs/quickstart
    """
    from openklear.reporting.viewer.places import require

    require(directories)
    if export is not None:
        from openklear.reporting.viewer.export import export as exported

        said = exported(directories, export)
        typer.echo(f"{export}: {said}")
        return
    lacking = [name for name in PACKAGES if find_spec(name) is None]
    if lacking:
        raise UsageError(f"openklear view needs {' and '.join(lacking)}: run pip install 'openklear[view]'")
    from openklear.reporting.viewer.server import serve

    def ready(address: str) -> None:
        typer.echo(address)
        if not no_browser:
            import webbrowser

            webbrowser.open(address)

    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how it ends
        serve(directories, port, ready)
