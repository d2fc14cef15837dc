"""A group of commands of which one is meant where none is named."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


class DefaultGroup(TyperGroup):
    """`evaluate MODEL ...` is `evaluate model MODEL ...`, and `evaluate RECIPE.toml` the same of `evaluate recipe`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As of any group; a first word that is no command of it belongs to the one that is meant."""
        if "--rescore" in args:
            args = ["rescore", *(word for word in args if word != "--rescore")]
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["recipe" if args[0].endswith(".toml") else "model", *args]
        return super().parse_args(ctx, args)
