"""Rows as text with the part that is trained marked: in colour, or between brackets where there is none."""

from __future__ import annotations

from collections.abc import Sequence

OPEN, CLOSE = "⟦", "⟧"
GREEN, PLAIN = "\x1b[32m", "\x1b[0m"


def marked(segments: Sequence[tuple[str, bool]], *, colour: bool) -> str:
    """The text of a row; of (text, trained) pairs the trained ones are marked."""
    before, after = (GREEN, PLAIN) if colour else (OPEN, CLOSE)
    return "".join(f"{before}{text}{after}" if trained else text for text, trained in segments)
