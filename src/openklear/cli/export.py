"""`openklear export`: prepared rows as files for other trainers. What it does is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from openklear.errors import UsageError

Rows = Literal["demonstrations", "problems", "validation", "heldout"]


def export(
    run: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory in which `prepare` is finished.")],
    form: Annotated[
        str, typer.Option("--form", metavar="FORM", help="verl, trl-grpo: problems; trl-sft, sharegpt: demonstrations.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write; the file must not exist yet.")
    ],
    rows: Annotated[
        Rows | None,
        typer.Option("--rows", help="Which set. Without it: demonstrations or problems, as the form requires."),
    ] = None,
) -> None:
    """Write what `prepare` left as a file that other trainers read: verl's Parquet, TRL's JSON lines, ShareGPT.

    Example: openklear export runs/curation --form verl --output runs/curation/verl.parquet
    """
    from openklear import progress
    from openklear.data.export import FORMS
    from openklear.data.export import export as write
    from openklear.data.store import prepared, read_demonstrations, read_problems
    from openklear.types import Demonstration

    paths = prepared(run / "prepare")
    if not paths.funnel.is_file():
        raise UsageError(f"{run}: holds no finished `prepare`; run openklear prepare RECIPE --output {run}")
    if output.exists():
        raise UsageError(f"{output}: exists already; name another file, or remove it")
    wanted = "demonstrations" if form in FORMS and FORMS[form].kind is Demonstration else "problems"
    name = rows or wanted
    read = read_demonstrations if name == "demonstrations" else read_problems
    count = write(form, read(getattr(paths, name)), output)
    progress.say(f"{output}: {count:,} {name} as {form}")
