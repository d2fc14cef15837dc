"""The data card: what a prepared data set is, how it was made and what became of every row, in Markdown and HTML.

The card is made of the files that the stage `prepare` left, and says so where they contradict each other. It reads
Parquet in batches and only the columns it needs. Nothing in it depends on the time or the machine: equal inputs give
equal bytes. Texts of rows are hostile: `texts.visible` shows what hides in them, each form escapes them its own way.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from openklear.data.store import PreparedPaths
from openklear.durable.files import write_atomic
from openklear.reporting.card.contents import contents
from openklear.reporting.card.markdown import markdown
from openklear.reporting.card.page import Card
from openklear.reporting.pages import template

MARKDOWN, HTML = "data-card.md", "data-card.html"


def write_card(prepared: PreparedPaths, recipe: Mapping[str, Any], directory: Path) -> None:
    """Write data-card.md and data-card.html into `directory`.

    `recipe` holds plain facts: `name`, `seed`, `sources` ({name, path, role, domain, licence, hash}) and `steps`
    ({dataset, step, parameters, facts}); what is absent is left out or "not stated". Raises DataError where the files
    of `prepared` cannot be read or do not agree with the funnel.
    """
    card = contents(prepared, recipe)
    write_atomic(directory / MARKDOWN, markdown(card))
    write_atomic(directory / HTML, html(card))


def html(card: Card) -> str:
    """The card as one page that needs no network and runs no script."""
    return template("card.html.jinja").render(card=card, drawn=Markup)
