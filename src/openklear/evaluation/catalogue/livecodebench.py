"""LiveCodeBench's problems as its own harness asks them, from rows in its columns.

The texts are those of get_generic_question_template_answer in lcb_runner/prompts/code_generation.py
(LiveCodeBench/LiveCodeBench at 28fef95, MIT).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openklear.errors import DataError
from openklear.evaluation.catalogue.definition import prompts
from openklear.types import Message

STARTER = "{starter_code}"


def official_prompt(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """The harness's messages for a row, to the letter: of the style with starter code where it has some.

    Problems that our readers made hold their starter code in the statement, so that any template can ask them; these
    are made from the row itself.
    """
    starter = str(row.get("starter_code") or "")
    prompt = prompts()["lcb-function" if starter else "lcb-stdin"]
    before, after = prompt.template.split("{problem}")
    if not isinstance(row.get("question_content"), str):
        raise DataError(
            "a row has no question_content, which LiveCodeBench's own prompts are made of; name another prompt"
        )
    asked = f"{before}{row['question_content']}{after.replace(STARTER, starter)}"
    return Message(role="system", content=prompt.system or ""), Message(role="user", content=asked)
