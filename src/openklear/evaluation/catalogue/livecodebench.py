"""LiveCodeBench's problems as its own harness asks them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from openklear.evaluation.catalogue.errata import DATA
from openklear.recipe.load import read_toml
from openklear.types import Message


@cache
def prompts() -> Mapping[str, Mapping[str, str]]:
    """The two styles, lcb-stdin and lcb-function: system, template and source of each."""
    return read_toml(DATA / "lcb-prompts.toml")


def official_prompt(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """The messages for a row in LiveCodeBench's columns: with its starter code where it has some."""
    starter = row.get("starter_code") or ""
    style = prompts()["lcb-function" if starter else "lcb-stdin"]
    before, after = style["template"].split("{problem}")
    asked = f"{before}{row['question_content']}{after.replace('{starter_code}', starter)}"
    return Message(role="system", content=style["system"]), Message(role="user", content=asked)
