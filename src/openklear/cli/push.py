"""`openklear push`: a model to the Hugging Face hub. What it does is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from openklear.cli.options import AsJson, tell
from openklear.verifiers.printable import printable


def push(
    place: Annotated[
        Path, typer.Argument(metavar="RUN_OR_MODEL", help="A run directory (its last model), or a model directory.")
    ],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Where on the hub; made if it is not there.")],
    private: Annotated[bool, typer.Option("--private", help="Make the repository a private one.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the card and the files; send nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send a model with its card to the Hugging Face hub, in one commit.

    The card has the recipe, the data, and the scores with their intervals. `hf auth login` or HF_TOKEN names you.

    Example: openklear push runs/quickstart me/quickstart --private
    """
    from openklear.reporting.push import plan_upload, send

    upload = plan_upload(place, repository, private=private)
    files = {path.name: path.stat().st_size for path in upload.files}
    document = {"repository": repository, "private": private, "directory": str(upload.directory), "files": files}
    if dry_run:
        lines = [
            printable(upload.card or "(no README.md)", "\n"),
            *(f"{size:>14,}  {name}" for name, size in files.items()),
        ]
        tell({**document, "card": upload.card}, [*lines, f"nothing was sent to {repository}"], as_json=as_json)
        return
    address = send(upload)
    tell({**document, "commit": address}, [address], as_json=as_json)
