"""`openklear leaderboard`: models and benchmarks in one table. What it does is imported when it runs."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from openklear.cli.options import AsJson, tell
from openklear.verifiers.printable import printable


def leaderboard(
    directories: Annotated[
        list[Path] | None,
        typer.Argument(metavar="DIR", help="Evaluations, imported ones too; or runs, with all their evaluations."),
    ] = None,
    quoted: Annotated[
        list[str] | None,
        typer.Option("--quoted", metavar="FILE", help="Published scores, or klear-report for those of its Table 1."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show models x benchmarks as a Markdown table: avg@k with its interval, and footnotes where rows differ.

    Quoted rows are marked, and nothing is computed from them. A file of one's own is TOML: `source = "..."` and
    `quoted = [{ model = "...", benchmark = "aime24", value = 83.2, k = 64 }]`, values in percent.

    Example: openklear leaderboard runs/aime runs/theirs --quoted klear-report
    """
    from openklear.evaluation.leaderboard import document, markdown
    from openklear.evaluation.leaderboard import leaderboard as built
    from openklear.evaluation.quotes import read_quotes

    quotes = chain.from_iterable(map(read_quotes, quoted or ()))
    board = built(directories or (), list(quotes))
    tell(document(board), map(printable, markdown(board)), as_json=as_json)
