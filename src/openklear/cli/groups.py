"""A group of commands of which one is meant where none is named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typer.core import TyperGroup

RESCORE = "--rescore"
"""`evaluate --rescore DIR` is `evaluate rescore DIR`."""


class DefaultGroup(TyperGroup):
    """`evaluate MODEL ...` is `evaluate model MODEL ...`, and `evaluate RECIPE.toml` the same of `evaluate recipe`."""

    def meant(self, words: Sequence[str]) -> str | None:
        """The command that these words are for, where they name none; None where they do, or ask for help."""
        if any(word == RESCORE or word.startswith(f"{RESCORE}=") for word in words):
            return "rescore"
        if not words or words[0] in self.commands or words[0] in ("--help", "-h"):
            return None
        return "recipe" if words[0].endswith(".toml") else "model"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As of any group, with the command that is meant put in front."""
        name = self.meant(args)
        words = [word.removeprefix(f"{RESCORE}=") for word in args if word != RESCORE]
        return super().parse_args(ctx, words if name is None else [name, *words])
