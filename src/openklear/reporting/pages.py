"""The templates of this room, with everything that they show escaped."""

from __future__ import annotations

import jinja2


def template(name: str) -> jinja2.Template:
    """A template of the room by its name."""
    loader = jinja2.PackageLoader("openklear.reporting")
    return jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True).get_template(name)
