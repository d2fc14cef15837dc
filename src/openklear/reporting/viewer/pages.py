"""The page's own files: as the server sends them, and joined into one for an exported page."""

from __future__ import annotations

import re
from importlib.resources import files

SCRIPTS = ("dom.js", "source.js", "marks.js", "grid.js", "reader.js", "evaluation.js", "phase.js", "main.js")
"""In the order of what they need: each may use those before it."""
STYLES = ("viewer.css",)
KINDS = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}

_IMPORT = re.compile(r"^import\b[^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|let|class)\b)", re.MULTILINE)


def static(name: str) -> str:
    """One of the page's files."""
    return files("openklear.reporting.viewer").joinpath("static", name).read_text(encoding="utf-8")


def joined() -> str:
    """All scripts as one: no file stands beside an exported page, so nothing is imported there."""
    whole = "\n".join(_EXPORT.sub("", _IMPORT.sub("", static(name))) for name in SCRIPTS)
    return f"(() => {{\n{whole}}})();\n"
