"""The templates of this room. Everything that a page shows is escaped; Markdown has the filters `line` and `fenced`."""

from __future__ import annotations

from typing import Any

import jinja2

from openklear.reporting.texts import fenced, line


def page(name: str, **shown: Any) -> str:
    """The page that the template NAME.jinja makes of what is shown."""
    loader, escaped = jinja2.PackageLoader("openklear.reporting"), jinja2.select_autoescape(["html.jinja"])
    room = jinja2.Environment(loader=loader, autoescape=escaped, trim_blocks=True, lstrip_blocks=True)
    room.filters |= {"line": line, "fenced": fenced, "percent": percent}
    return room.get_template(f"{name}.jinja").render(shown)


def percent(share: float | None) -> str:
    """A share as per cent; nothing where there is none."""
    return "" if share is None or isinstance(share, jinja2.Undefined) else f"{100 * share:.1f}"
