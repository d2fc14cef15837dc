"""A demonstration to tokens and the mask of those that are trained; the package's docstring says which."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openklear.errors import RowRefused, TemplateRefused
from openklear.models.chat.plain import Plain, encoded, plain
from openklear.models.chat.prompts import turn_end_id
from openklear.models.chat.render import generation_mask, generation_spans, marks_generation, render, token_ids
from openklear.think import CLOSE, OPEN
from openklear.types import Message

_MARKS = re.compile(rf"\s*({re.escape(OPEN)}|{re.escape(CLOSE)})\s*")


@dataclass(frozen=True, slots=True, eq=False)
class EncodedDemonstration:
    """Prompt and response tokens of one demonstration, the end token last."""

    ids: NDArray[np.int32]  # (T,)
    loss_mask: NDArray[np.bool_]  # (T,) True for the tokens that are trained


def encode_demonstration(
    tokenizer: Any, messages: Sequence[Message], *, end_ids: Collection[int], where: str
) -> EncodedDemonstration:
    """Tokens and loss mask of a conversation whose last message is the assistant's; see the package's docstring.

    `where` names the row in errors. RowRefused (a DataError): the last message is not the assistant's or is empty, the
    response holds an end token, leaves a thought open or opens one that the prompt has closed, or the template does not
    take the conversation. ModelError: no chat template.
    """
    try:
        return _encoded(tokenizer, messages, end_ids)
    except TemplateRefused as error:
        raise TemplateRefused(f"{where}: {error}", error.kind) from error
    except RowRefused as error:
        raise RowRefused(f"{where}: {error}", error.kind) from error


def _encoded(tokenizer: Any, messages: Sequence[Message], end_ids: Collection[int]) -> EncodedDemonstration:
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        raise RowRefused(
            "a demonstration must end with an assistant message after its prompt.", "no assistant message at the end"
        )
    safe = plain(tokenizer, messages)
    prompt_text = render(tokenizer, safe.messages[:-1], generation_prompt=True)
    prompt_ids, _ = encoded(tokenizer, prompt_text, safe.stands_for)
    response = _without_open_think(prompt_text, safe.messages[-1]["content"])
    _require_response(tokenizer, prompt_text, safe.restored(response), end_ids)
    made = _rendered_completion(tokenizer, safe, prompt_text, prompt_ids, response)
    if made is None:  # the response right after the prompt, as the sampler would have written it, without an end token
        own, _ = _continuation(tokenizer, prompt_text + response, prompt_ids, safe)
        made = own, [True] * len(own)
    completion, mask = _up_to_end(tokenizer, *made, end_ids)
    ids = np.asarray([*prompt_ids, *completion], dtype=np.int32)
    loss_mask = np.asarray([*_earlier_turns(tokenizer, safe, prompt_ids), *mask], dtype=np.bool_)
    return EncodedDemonstration(ids, loss_mask)


def _require_response(tokenizer: Any, prompt_text: str, response: str, end_ids: Collection[int]) -> None:
    """RowRefused where the response cannot be what a model is to write after the prompt."""
    if not response.strip():
        raise RowRefused("the assistant's message is empty. Drop the row.", "empty response")
    if not set(end_ids).isdisjoint(token_ids(tokenizer, response)):
        raise RowRefused(
            "the response contains an end-of-sequence token; sampling would stop there. Drop it.",
            "end token inside the response",
        )
    prompt = prompt_text.rstrip()
    if prompt.endswith(OPEN) and CLOSE not in response:
        raise RowRefused(
            f"the chat template opens a thought before the response, which never closes it with {CLOSE}: all of it "
            "would be trained as a thought without an answer. Drop the row, or give a template that opens none "
            "(model.chat_template).",
            "plain answer where the template opens a thought",
        )
    if prompt.endswith(CLOSE) and (OPEN in response or CLOSE in response):
        raise RowRefused(
            "the chat template closes the thought before the response, which holds one. Drop the row, or let the "
            "template leave it open (model.template_args, model.chat_template).",
            "thought where the template has closed it",
        )


def _rendered_completion(
    tokenizer: Any, safe: Plain, prompt_text: str, prompt_ids: list[int], response: str
) -> tuple[list[int], list[bool]] | None:
    """What the template makes of the last turn, after the prompt: ids and mask; None where it changes the response."""
    whole_text = render(tokenizer, safe.messages, generation_prompt=False)
    if not _squashed(whole_text).startswith(_squashed(prompt_text)) and not prompt_text.rstrip().endswith(
        (OPEN, CLOSE)
    ):
        raise TemplateRefused(
            "the chat template renders the prompt differently once an answer follows, so the model would be "
            "trained on a prompt that it never sees. Its generation prompt must be the beginning of an assistant "
            "turn: give a corrected template as model.chat_template.",
            "prompt that the chat template changes once an answer follows",
        )
    turn = whole_text.removeprefix(prompt_text)
    if not whole_text.startswith(prompt_text) or not _trimmed(turn).startswith(_trimmed(response)):
        return None
    completion, starts = _continuation(tokenizer, whole_text, prompt_ids, safe)
    if not marks_generation(tokenizer):
        return completion, [True] * len(completion)
    mask = _generated(tokenizer, safe.messages, starts, generation_prompt=False)[len(prompt_ids) :]
    if not any(mask):
        raise TemplateRefused(
            "the chat template's {% generation %} block marks no token of the last turn, so there is "
            "nothing to learn. Give a corrected template as model.chat_template.",
            "response that the chat template does not mark",
        )
    return completion, mask


def _continuation(tokenizer: Any, text: str, prompt_ids: list[int], safe: Plain) -> tuple[list[int], list[int]]:
    """Ids of `text` after those of the prompt, which must be its exact beginning; where each of all ids begins."""
    ids, starts = encoded(tokenizer, text, safe.stands_for)
    if ids[: len(prompt_ids)] != prompt_ids:
        raise RowRefused(
            "the tokenizer merges the end of the prompt with the beginning of the response, so the two "
            "cannot be told apart. End the chat template's generation prompt with a special token or a newline "
            "(model.chat_template), or drop the row.",
            "prompt and response that the tokenizer merges",
        )
    return ids[len(prompt_ids) :], starts


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


def _earlier_turns(tokenizer: Any, safe: Plain, prompt_ids: list[int]) -> list[bool]:
    """Mask of the prompt's tokens: the assistant turns in it, where the template marks them.

    They are context alone where the template cuts their thoughts out: they would teach to answer without a thought.
    """
    prompt = safe.messages[:-1]
    said = [message["content"] for message in prompt if message["role"] == "assistant"]
    if not said or not marks_generation(tokenizer):
        return [False] * len(prompt_ids)
    text = render(tokenizer, prompt, generation_prompt=True)
    if any(CLOSE in content and _thought(content) not in _squashed(text) for content in said):
        return [False] * len(prompt_ids)
    _, starts = encoded(tokenizer, text, safe.stands_for)
    # The first token has nothing to be predicted from.
    return [False, *_generated(tokenizer, prompt, starts, generation_prompt=True)[1:]]


def _generated(
    tokenizer: Any, messages: Sequence[Message], starts: Sequence[int], *, generation_prompt: bool
) -> list[bool]:
    """The template's marks on the tokens; with `starts`, those of a conversation with stand-ins."""
    if not starts:
        return generation_mask(tokenizer, messages, generation_prompt=generation_prompt)
    mask = np.zeros(len(starts), dtype=np.bool_)
    for first, last in generation_spans(tokenizer, messages, generation_prompt=generation_prompt):
        mask |= (np.asarray(starts) >= first) & (np.asarray(starts) < last)
    marks: list[bool] = mask.tolist()
    return marks


def _without_open_think(prompt_text: str, response: str) -> str:
    """The response without its `<think>` where the prompt already ends with one."""
    opened = prompt_text.rstrip()
    if not opened.endswith(OPEN) or not response.lstrip().startswith(OPEN):
        return response
    return response.lstrip().removeprefix(OPEN).removeprefix(prompt_text[len(opened) :])


def _squashed(text: str) -> str:
    return "".join(text.split())


def _thought(content: str) -> str:
    return _squashed(content.rpartition(CLOSE)[0].replace(OPEN, "")) + CLOSE


def _trimmed(text: str) -> str:
    """Without the white space at its edges and around the marks of a thought, which templates write as they like."""
    return _MARKS.sub(r"\1", text).strip()
