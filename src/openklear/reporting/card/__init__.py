"""The data card: what a prepared data set is, how it was made and what became of every row, in Markdown and HTML.

The card is made of the files that the stage `prepare` left, and fails where they contradict each other. It reads
Parquet in batches and only the columns it needs. Nothing in it depends on the time or the machine: equal inputs give
equal bytes. Texts of rows are hostile: `reporting.texts.visible` shows what hides in
them, each template escapes them its own way.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openklear.data.store import PreparedPaths
from openklear.durable.files import write_atomic
from openklear.reporting.card.contents import contents
from openklear.reporting.pages import page


def write_card(prepared: PreparedPaths, recipe: Mapping[str, Any], directory: Path) -> None:
    """Write data-card.md and data-card.html, which needs no network and runs no script, into `directory`.

    `recipe` holds plain facts: `seed`, `sources` ({name, path, role, domain, licence, hash}) and `steps` ({dataset,
    step, parameters, facts}); what is absent is left out or "not stated". Raises DataError where the files of
    `prepared` cannot be read or do not agree with the funnel.
    """
    card = contents(prepared, recipe)
    write_atomic(directory / "data-card.md", page("data-card.md", card=card) + "\n")
    write_atomic(directory / "data-card.html", page("data-card.html", card=card))
