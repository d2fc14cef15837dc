"""In which words a source's problems are put to the model, when they are asked and where an answer to them is trained.

Curation, draws, records and verdicts are those of the problem itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from openklear.errors import RowRefused
from openklear.recipe.schema import Recipe
from openklear.types import Message


@dataclass(frozen=True, slots=True)
class Wording:
    """What a source puts around its problems."""

    system_prompt: str | None = None
    """A system turn before the prompt."""
    prompt_suffix: str | None = None
    """A line of its own after the last message."""
    prompt_template: str | None = None
    """Holds {problem} where the text of the last message goes."""

    def of(self, prompt: Sequence[Message]) -> tuple[Message, ...]:
        """The prompt as the model is given it. RowRefused where it has a system turn beside the source's own."""
        if self.system_prompt is not None and any(message["role"] == "system" for message in prompt):
            raise RowRefused(
                "the row has a system turn of its own, and its source a system_prompt; leave one of the two out",
                "system turn beside the source's system_prompt",
            )
        *before, last = prompt
        text = last["content"]
        if self.prompt_template is not None:
            text = self.prompt_template.replace("{problem}", text)
        if self.prompt_suffix is not None:
            text = f"{text}\n{self.prompt_suffix}"
        if self.system_prompt is not None:
            before.insert(0, Message(role="system", content=self.system_prompt))
        return (*before, {**last, "content": text})


PLAIN = Wording()


def wordings(recipe: Recipe) -> dict[str, Wording]:
    """Name of each source that words its problems -> how."""
    found = {s.name: Wording(s.system_prompt, s.prompt_suffix, s.prompt_template) for s in recipe.data.source}
    return {name: wording for name, wording in found.items() if wording != PLAIN}
