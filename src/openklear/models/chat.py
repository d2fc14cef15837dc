"""Messages <-> tokens: the only place that knows chat templates.

What is trained. A demonstration's tokens are the tokens of its prompt, exactly as the sampler will see them, then the
last assistant turn up to and with the first end token after the response. Template text after that token, such as a
newline, is cut off. Only the last assistant turn is trained; earlier ones are context, unless the template marks them
with `{% generation %}`, which then also says which tokens of the last turn are trained (the end token always is).
Masks come from positions alone, never from ids: the padding token may be the end token.

Where the template does not render the response, its whitespace aside, after the prompt's text (R1-like templates cut
the reasoning out of past turns, Qwen3's adds an empty think block where there is none), the completion is made without
it: the response's own tokens and the template's end token. So no reasoning is lost and none is invented. A prompt that
already opens `<think>` is not followed by a second one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2 import TemplateError
from numpy.typing import NDArray

from openklear.errors import ModelError, RowRefused, TemplateRefused
from openklear.think import OPEN
from openklear.types import Message

_PROBE = "Zq7probe"
"""Content that no template's own text contains."""
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


@dataclass(frozen=True, slots=True, eq=False)
class EncodedDemonstration:
    """Prompt and response tokens of one demonstration, the end token last."""

    ids: NDArray[np.int32]  # (T,)
    loss_mask: NDArray[np.bool_]  # (T,) True for the tokens that are trained


def encode_prompt(tokenizer: Any, messages: Sequence[Message]) -> tuple[int, ...]:
    """Token ids of the messages, ending with the template's generation prompt. ModelError without a template."""
    return tuple(_ids(tokenizer, _render(tokenizer, messages, generation_prompt=True)))


def prompt_tail(tokenizer: Any, messages: Sequence[Message]) -> str:
    """What the template puts after the last message's content: end of turn, generation prompt, an opened `<think>`."""
    probed: list[Message] = [*messages[:-1], {"role": messages[-1]["role"], "content": _PROBE}]
    _, found, tail = _render(tokenizer, probed, generation_prompt=True).rpartition(_PROBE)
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
    turns: list[Message] = [{"role": "user", "content": "question"}, {"role": "assistant", "content": _PROBE}]
    _, found, tail = _render(tokenizer, turns, generation_prompt=False).rpartition(_PROBE)
    first = next(iter(_ids(tokenizer, tail)), None) if found else None
    known = tokenizer.added_tokens_decoder.get(first)
    return first if known is not None and known.special else None


def encode_demonstration(
    tokenizer: Any, messages: Sequence[Message], *, end_ids: Collection[int], where: str
) -> EncodedDemonstration:
    """Tokens and loss mask of a conversation whose last message is the assistant's; see the module's docstring.

    `where` names the row in errors. DataError: the last message is not the assistant's or is empty, the response holds
    an end token, or the template's rendering of the conversation does not continue that of the prompt. ModelError: no
    chat template.
    """
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        text = f"{where}: a demonstration must end with an assistant message after its prompt."
        raise RowRefused(text, "no assistant message at the end")
    prompt_text = _render(tokenizer, messages[:-1], generation_prompt=True)
    prompt_ids = _ids(tokenizer, prompt_text)
    response = _without_open_think(prompt_text, messages[-1]["content"])
    if not response.strip():
        raise RowRefused(f"{where}: the assistant's message is empty. Drop the row.", "empty response")
    if not set(end_ids).isdisjoint(_ids(tokenizer, response)):
        text = f"{where}: the response contains an end-of-sequence token; sampling would stop there. Drop it."
        raise RowRefused(text, "end token inside the response")
    made = _rendered_completion(tokenizer, messages, prompt_text, prompt_ids, response, where)
    if made is None:  # the response right after the prompt, as the sampler would have written it, without an end token
        own = _continuation(tokenizer, prompt_text + response, prompt_ids, where)
        made = own, [True] * len(own)
    completion, mask = _up_to_end(tokenizer, *made, end_ids)
    ids = np.asarray([*prompt_ids, *completion], dtype=np.int32)
    loss_mask = np.asarray([*_earlier_turns(tokenizer, messages[:-1], len(prompt_ids)), *mask], dtype=np.bool_)
    return EncodedDemonstration(ids, loss_mask)


def _rendered_completion(
    tokenizer: Any, messages: Sequence[Message], prompt_text: str, prompt_ids: list[int], response: str, where: str
) -> tuple[list[int], list[bool]] | None:
    """What the template makes of the last turn, after the prompt: ids and mask; None where it changes the response."""
    whole_text = _render(tokenizer, messages, generation_prompt=False)
    whole, prompt = _squashed(whole_text), _squashed(prompt_text)
    if not whole.startswith(prompt) and not prompt.endswith(OPEN):
        raise TemplateRefused(
            f"{where}: the chat template renders the prompt differently once an answer follows, so the model would be "
            "trained on a prompt that it never sees. Its generation prompt must be the beginning of an assistant "
            "turn: give a corrected template as model.chat_template.",
            "prompt that the chat template changes once an answer follows",
        )
    if not whole_text.startswith(prompt_text) or not whole[len(prompt) :].startswith(_squashed(response)):
        return None
    completion = _continuation(tokenizer, whole_text, prompt_ids, where)
    if not _marks_generation(tokenizer):
        return completion, [True] * len(completion)
    mask = _generation_mask(tokenizer, messages, generation_prompt=False)[len(prompt_ids) :]
    if not any(mask):
        raise TemplateRefused(
            f"{where}: the chat template's {{% generation %}} block marks no token of the last turn, so there is "
            "nothing to learn. Give a corrected template as model.chat_template.",
            "response that the chat template does not mark",
        )
    return completion, mask


def _continuation(tokenizer: Any, text: str, prompt_ids: list[int], where: str) -> list[int]:
    """Ids of `text` after those of the prompt, which must be its exact beginning."""
    ids = _ids(tokenizer, text)
    if ids[: len(prompt_ids)] != prompt_ids:
        raise RowRefused(
            f"{where}: the tokenizer merges the end of the prompt with the beginning of the response, so the two "
            "cannot be told apart. End the chat template's generation prompt with a special token or a newline "
            "(model.chat_template), or drop the row.",
            "prompt and response that the tokenizer merges",
        )
    return ids[len(prompt_ids) :]


def _up_to_end(
    tokenizer: Any, completion: list[int], mask: list[bool], end_ids: Collection[int]
) -> tuple[list[int], list[bool]]:
    """Cut after the first end token, or add one where there is none; it belongs to the completion with mask True."""
    stop = next((index for index, token in enumerate(completion) if token in end_ids), None)
    if stop is not None:
        return completion[: stop + 1], [*mask[:stop], True]
    candidates = (turn_end_id(tokenizer), tokenizer.eos_token_id, *sorted(end_ids))
    end = next(token for token in candidates if token in end_ids)
    return [*completion, end], [*mask, True]


def _earlier_turns(tokenizer: Any, prompt: Sequence[Message], length: int) -> list[bool]:
    """Mask of the prompt's tokens: the assistant turns in it, where the template marks them."""
    if not _marks_generation(tokenizer) or all(message["role"] != "assistant" for message in prompt):
        return [False] * length
    # The first token has nothing to be predicted from.
    return [False, *_generation_mask(tokenizer, prompt, generation_prompt=True)[1:]]


def _marks_generation(tokenizer: Any) -> bool:
    return _GENERATION.search(tokenizer.get_chat_template()) is not None


def _generation_mask(tokenizer: Any, messages: Sequence[Message], *, generation_prompt: bool) -> list[bool]:
    encoded = tokenizer.apply_chat_template(
        list(messages), add_generation_prompt=generation_prompt, return_assistant_tokens_mask=True, return_dict=True
    )
    return [bool(mark) for mark in encoded["assistant_masks"]]


def _without_open_think(prompt_text: str, response: str) -> str:
    """The response without its `<think>` where the prompt already ends with one."""
    opened = prompt_text.rstrip()
    if not opened.endswith(OPEN) or not response.lstrip().startswith(OPEN):
        return response
    return response.lstrip().removeprefix(OPEN).removeprefix(prompt_text[len(opened) :])


def _render(tokenizer: Any, messages: Sequence[Message], *, generation_prompt: bool) -> str:
    if not tokenizer.chat_template:
        raise ModelError(
            "the tokenizer has no chat template, so messages cannot become a prompt. "
            "Name a Jinja file with one: model.chat_template."
        )
    try:
        text: str = tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=generation_prompt, tokenize=False
        )
    except Exception as error:  # trust boundary: a template is a program of others, and may raise anything
        reason = str(error) if isinstance(error, TemplateError) else f"{type(error).__name__}: {error}"
        raise TemplateRefused(
            f"the chat template refuses a conversation of {', '.join(m['role'] for m in messages)}: {reason}. "
            "Change the data, or give another template as model.chat_template."
        ) from error
    return text


def _ids(tokenizer: Any, text: str) -> list[int]:
    """Ids of text that a template has rendered: it holds its special tokens already."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _squashed(text: str) -> str:
    return "".join(text.split())
