"""A template is refused when it is loaded, by the name of its fault, where no row could be right under it."""

from __future__ import annotations

from typing import Any

from jinja2 import nodes

from openklear.errors import ModelError, TemplateRefused
from openklear.models.chat.arguments import DATE, parsed
from openklear.models.chat.render import DATED, PROBE, render
from openklear.think import CLOSE, OPEN
from openklear.types import Message

_SPACED = f"{PROBE}\n    is  asked"
"""White space that a template must leave as it is: a program is more than its words."""
_CHANCE = ("random", "shuffle")
_REMEDY = "Give another template as model.chat_template."
_HARMONY = (
    "the chat template is Harmony-like: an assistant's turn is written in channels ({}), which OpenKlear cannot train, "
    f"sample or grade. {_REMEDY}"
)


def check_template(tokenizer: Any) -> None:
    """Render the simplest conversations. ModelError where the template cannot, or would be trained unlike sampled."""
    user: Message = {"role": "user", "content": _SPACED}
    try:
        _refuse_chance(tokenizer.get_chat_template())
        prompt = render(tokenizer, [user], generation_prompt=True)
        whole = render(tokenizer, [user, {"role": "assistant", "content": PROBE}], generation_prompt=False)
    except TemplateRefused as error:
        if "<|channel|>" in tokenizer.get_chat_template():
            raise ModelError(_HARMONY.format("<|channel|>")) from error
        if DATED in str(error):
            raise ModelError(
                f"the chat template cannot be used as it is: {DATED}. Set the date: model.template_args = "
                f'{{ {DATE} = "2025-06-30" }}.'
            ) from error
        raise ModelError(f"even in the simplest conversation {error}") from error
    except ValueError as error:  # several templates, of which none is the default
        raise ModelError(f"{str(error).splitlines()[0]} {_REMEDY}") from error
    asked = prompt.rpartition(_SPACED)[2]
    header, answered, _ = whole.rpartition(_SPACED)[2].partition(PROBE)
    if not answered:
        raise ModelError(f"the chat template leaves out or changes what the assistant says. {_REMEDY}")
    _require_header(asked, header)


def _refuse_chance(template: str) -> None:
    tree = parsed(template)
    names = {node.name for node in tree.find_all(nodes.Filter)} | {node.name for node in tree.find_all(nodes.Name)}
    if chance := names.intersection((*_CHANCE, "lipsum")):
        raise ModelError(f"the chat template draws at random ({', '.join(sorted(chance))}). {_REMEDY}")


def _require_header(asked: str, header: str) -> None:
    """The generation prompt is how an assistant's turn begins, the marks of a thought and white space aside.

    `asked` is what follows the user's words where a completion is sampled, `header` what stands between them and the
    assistant's words.
    """
    sampled, trained = _without_thought(asked), _without_thought(header)
    if sampled == trained:
        return
    if trained.startswith(sampled):
        missing = trained.removeprefix(sampled)
        if "channel" in missing:
            raise ModelError(_HARMONY.format(missing))
        raise ModelError(
            f"the chat template ignores add_generation_prompt or leaves {missing!r} out there: completions would be "
            f"sampled and trained without the beginning of an assistant's turn. {_REMEDY}"
        )
    raise ModelError(
        f"the chat template's generation prompt ({asked!r}) is not how it begins an assistant's turn ({header!r}), so "
        f"the model would be trained on prompts that it never sees. {_REMEDY}"
    )


def _without_thought(text: str) -> str:
    return "".join(text.replace(OPEN, "").replace(CLOSE, "").split())
