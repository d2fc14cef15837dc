"""A conversation through the chat template to text. What the template does wrong then concerns that row alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

from openklear.errors import ModelError, TemplateRefused
from openklear.think import CLOSE
from openklear.types import Message

PROBE = "Zq7probe"
"""Content that no template's own text contains."""
DATED = "it writes today's date, so that no two days would train or ask the same"
_GUARD = "{% macro strftime_now(format) %}{{ raise_exception('" + DATED.replace("'", "\\'") + "') }}{% endmacro %}\n"
"""Before a template that may ask for the date; a date that was given as an argument stands after it and goes first."""
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


def render(tokenizer: Any, messages: Sequence[Message], *, generation_prompt: bool) -> str:
    """The conversation as text.

    ModelError: no chat template. TemplateRefused: the template raises an error, asks for today's date, or leaves a
    message out.
    """
    if not tokenizer.chat_template:
        raise ModelError(
            "the tokenizer has no chat template, so messages cannot become a prompt. "
            "Name a Jinja file with one: model.chat_template."
        )
    try:
        text: str = tokenizer.apply_chat_template(
            list(messages), chat_template=_guarded(tokenizer), add_generation_prompt=generation_prompt, tokenize=False
        )
    except Exception as error:  # trust boundary: a template is a program of others, and may raise anything
        reason = str(error) if isinstance(error, TemplateError) else f"{type(error).__name__}: {error}"
        raise TemplateRefused(
            f"the chat template refuses a conversation of {', '.join(m['role'] for m in messages)}: {reason}. "
            "Change the data, or give another template as model.chat_template."
        ) from error
    _require_whole(text, messages)
    return text


def marks_generation(tokenizer: Any) -> bool:
    """Whether the template says which tokens are the assistant's."""
    return _GENERATION.search(tokenizer.get_chat_template()) is not None


def generation_mask(tokenizer: Any, messages: Sequence[Message], *, generation_prompt: bool) -> list[bool]:
    """The template's own marks on the tokens of the conversation."""
    encoded = tokenizer.apply_chat_template(
        list(messages),
        add_generation_prompt=generation_prompt,
        return_assistant_tokens_mask=True,
        return_dict=True,
        chat_template=_guarded(tokenizer),
    )
    return [bool(mark) for mark in encoded["assistant_masks"]]


def generation_spans(tokenizer: Any, messages: Sequence[Message], *, generation_prompt: bool) -> list[tuple[int, int]]:
    """The template's own marks on the characters of the conversation."""
    rendering: Any = render_jinja_template
    _, spans = rendering(
        conversations=[list(messages)],
        chat_template=_guarded(tokenizer),
        return_assistant_tokens_mask=True,
        add_generation_prompt=generation_prompt,
        **tokenizer.special_tokens_map,
    )
    return [(start, end) for start, end in spans[0]]


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """Ids of text that a template has rendered: it holds its special tokens already."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _guarded(tokenizer: Any) -> str:
    """The template in use; where it asks for today's date, it raises an error that says so."""
    template: str = tokenizer.get_chat_template()
    return _GUARD + template if "strftime_now" in template else template


def _require_whole(text: str, messages: Sequence[Message]) -> None:
    """Every message stands in the text, but for the thoughts of past turns and the white space at its edges.

    How an answer at the end is rendered is for `demonstrations` to see.
    """
    for number, message in enumerate(messages, 1):
        content = message["content"]
        if number == len(messages) and message["role"] == "assistant":
            return
        if message["role"] == "assistant":
            content = content.rpartition(CLOSE)[2]
        if content.strip() not in text:
            raise TemplateRefused(
                f"the chat template leaves out or changes message {number} of {len(messages)} ({message['role']}). "
                "Change the data, or give another template as model.chat_template.",
                "message that the chat template leaves out or changes",
            )
