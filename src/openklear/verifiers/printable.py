"""Texts of models and of others' code, shown without what would command a terminal."""

from __future__ import annotations

_LONGEST = 400
"""Characters of a reason that are shown."""


def printable(text: str, kept: str = "") -> str:
    """A model's output must not command the terminal: control characters are shown, not sent, but for those `kept`."""
    return "".join(one if one.isprintable() or one in kept else f"\\x{ord(one):02x}" for one in text)


def shown(reason: str) -> str:
    """A reason on one line, not endless."""
    text = printable(" ".join(reason.split()))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
