"""LiveCodeBench's problems as its own harness asks them, from rows in its columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openklear.evaluation.catalogue.definition import DATA, prompts
from openklear.recipe.load import read_toml
from openklear.types import Message


def official_prompt(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """The messages for a row: of the style with starter code where it has some.

    Problems that our readers made hold their starter code in the statement, so that any template can ask them; the
    named prompt `lcb-function` is worded for that. This one is the harness's to the letter.
    """
    starter = row.get("starter_code") or ""
    stdin, function = prompts()["lcb-stdin"], read_toml(DATA / "lcb-prompts.toml")["lcb-function"]
    before, after = (function["template"] if starter else stdin.template).split("{problem}")
    asked = f"{before}{row['question_content']}{after.replace('{starter_code}', starter)}"
    return Message(role="system", content=stdin.system or ""), Message(role="user", content=asked)
