"""Prompts to tokens, and sampled tokens to text."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openklear.errors import ModelError
from openklear.models.chat.plain import encoded, plain
from openklear.models.chat.render import PROBE, render, token_ids
from openklear.types import Message


def encode_prompt(tokenizer: Any, messages: Sequence[Message]) -> tuple[int, ...]:
    """Token ids of the messages, ending with the template's generation prompt.

    ModelError without a template; TemplateRefused where it does not take the messages.
    """
    safe = plain(tokenizer, messages)
    return tuple(encoded(tokenizer, render(tokenizer, safe.messages, generation_prompt=True), safe.stands_for)[0])


def prompt_tail(tokenizer: Any, messages: Sequence[Message]) -> str:
    """What the template puts after the last message's content: end of turn, generation prompt, an opened `<think>`."""
    probed: list[Message] = [*messages[:-1], {"role": messages[-1]["role"], "content": PROBE}]
    _, found, tail = render(tokenizer, probed, generation_prompt=True).rpartition(PROBE)
    if not found:
        raise ModelError("the chat template leaves the last message out. Give another one as model.chat_template.")
    return tail


def decode_completion(tokenizer: Any, token_ids: Sequence[int] | NDArray[np.int32], end_ids: Collection[int]) -> str:
    """Text of sampled tokens up to the first end token, without it; other special tokens stay as text."""
    ids = [int(token) for token in token_ids]
    stop = next((index for index, token in enumerate(ids) if token in end_ids), len(ids))
    text: str = tokenizer.decode(ids[:stop], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text


def turn_end_id(tokenizer: Any) -> int | None:
    """The special token that the template puts right after an assistant's content; None where it puts none."""
    turns: list[Message] = [{"role": "user", "content": "question"}, {"role": "assistant", "content": PROBE}]
    _, found, tail = render(tokenizer, turns, generation_prompt=False).rpartition(PROBE)
    first = next(iter(token_ids(tokenizer, tail)), None) if found else None
    known = tokenizer.added_tokens_decoder.get(first)
    return first if known is not None and known.special else None
