"""What a server answered, and the one form in which responses are kept. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openklear.think import CLOSE, OPEN, join_thought

REASONING_FIELDS = ("reasoning_content", "reasoning")
"""Where servers put the reasoning apart: DeepSeek's API, SGLang and older vLLM the first, newer vLLM the second."""


class BadAnswer(ValueError):
    """A body that is not a chat completion; asking again may give one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One chat completion, its texts as they came."""

    content: str
    reasoning: str | None
    """The server's reasoning field; None where it sent none."""
    finish_reason: str | None
    model: str | None
    """What the server calls its model."""
    prompt_tokens: int | None
    completion_tokens: int | None
    opened: bool = False
    """The prompt already opens the thought."""

    @property
    def response(self) -> str:
        """The texts in one form."""
        return one_form(self.content, self.reasoning, cut=self.finish_reason == "length", opened=self.opened)


def read_answer(document: Any) -> Answer:
    """Read the JSON body of /chat/completions; BadAnswer says what is wrong with it."""
    if not isinstance(document, Mapping):
        raise BadAnswer("the answer is not a JSON object")
    choices = document.get("choices")
    if not isinstance(choices, list) or not choices:
        raise BadAnswer("the answer holds no choices")
    choice = choices[0]
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(message, Mapping):
        raise BadAnswer("the answer's choice holds no message")
    content, thoughts = _texts(message.get("content"))
    named = next((message[name] for name in REASONING_FIELDS if isinstance(message.get(name), str)), None)
    reasoning = named if named is not None else thoughts
    usage = document.get("usage")
    return Answer(
        _storable(content),
        None if reasoning is None else _storable(reasoning),
        _text(choice.get("finish_reason")),
        _text(document.get("model")),
        _count(usage, "prompt_tokens"),
        _count(usage, "completion_tokens"),
    )


def one_form(content: str, reasoning: str | None, *, cut: bool = False, opened: bool = False) -> str:
    """`<think>\\n...\\n</think>\\n\\nanswer`, from a reasoning field or from tags in the content.

    `cut`: the response ended by length. `opened`: the prompt already opens the thought. A thought that never ended is
    left open; a text without a thought, or with text before it, stays as it is: nothing is invented.
    """
    if reasoning is not None and reasoning.strip():
        thought = reasoning.strip().removeprefix(OPEN).removesuffix(CLOSE).strip()
        answer = content.partition(CLOSE)[2] if content.lstrip().startswith(OPEN) else content
        if not answer.strip() and cut:
            return f"{OPEN}\n{thought}"
        return _joined(thought, answer)
    head, closed, tail = content.partition(CLOSE)
    before, tag, thought = head.partition(OPEN)
    if tag and before.strip():
        return content
    if not tag:
        thought = head
    if closed:
        return _joined(thought, tail)
    return f"{OPEN}\n{thought.strip()}" if tag or opened else content


def _joined(thought: str, answer: str) -> str:
    return join_thought(thought.strip(), answer.strip())


def _texts(content: Any) -> tuple[str, str | None]:
    """(text, reasoning) of a content that is a string, nothing, or a list of typed parts (Mistral, OpenAI)."""
    if content is None or isinstance(content, str):
        return content or "", None
    if not isinstance(content, list):
        raise BadAnswer("the answer's content is not text")
    said: dict[str, list[str]] = {"text": [], "thinking": []}
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in said:
            value = part.get(kind)
            said[kind].append(value if isinstance(value, str) else _texts(value)[0])
    return "".join(said["text"]), "".join(said["thinking"]) or None


def _storable(text: str) -> str:
    """JSON can hold half of a surrogate pair, which no file of text can: it becomes a replacement character."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _count(usage: Any, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
