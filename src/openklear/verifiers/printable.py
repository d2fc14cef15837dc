"""Texts of models and of others' code, shown without what would command a terminal."""

from __future__ import annotations


def printable(text: str, kept: str = "") -> str:
    """A model's output must not command the terminal: control characters are shown, not sent, but for those `kept`."""
    return "".join(one if one.isprintable() or one in kept else f"\\x{ord(one):02x}" for one in text)
