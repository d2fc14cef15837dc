"""Text in messages that looks like a control token is plain text: only the template writes control tokens.

Each such text is replaced by one character before the template renders the conversation, so that the template may trim
and split as it likes, and the character gives way to the plain tokens of the text afterwards. A conversation without
such text takes the ordinary way, and has the ids that it always had.

Control tokens are the tokenizer's special tokens, and added tokens in brackets that stand in the template, but not the
marks of a thought. What an assistant says may hold those of the second kind: it calls tools with them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, cast
from weakref import WeakKeyDictionary

from tokenizers import AddedToken, Tokenizer

from openklear.errors import RowRefused
from openklear.models.chat.render import token_ids
from openklear.think import CLOSE, OPEN
from openklear.types import Message

_PLACE = "\U0010fffd"
"""Stands for a text that is encoded apart: a private character that the tokenizer's copy has as a token."""
_FIRST_STAND_IN = 0xF0000
_MARK = re.compile(r"[<\[{|]\S*[>\]}|]")
"""An added token that is no word: words stand in templates too."""
_KIND = "text that looks like a control token"


@dataclass(frozen=True, slots=True)
class Plain:
    """A conversation in which one character stands for each text that looks like a control token."""

    messages: list[Message]
    stands_for: Mapping[str, str]
    """Character -> text; empty for most conversations."""

    def restored(self, text: str) -> str:
        """With the texts in place of their characters."""
        return text.translate({ord(mark): one for mark, one in self.stands_for.items()})


def plain(tokenizer: Any, messages: Sequence[Message]) -> Plain:
    """The conversation without any text that looks like a control token."""
    controls = _controls(tokenizer)
    patterns = [controls.said if m["role"] == "assistant" else controls.given for m in messages]
    found = [pattern.findall(message["content"]) for pattern, message in zip(patterns, messages, strict=True)]
    if not any(found):
        return Plain(list(messages), {})
    contents = "".join(message["content"] for message in messages)
    free = (chr(code) for code in range(_FIRST_STAND_IN, _FIRST_STAND_IN + 0xFFFD) if chr(code) not in contents)
    character = dict(zip(dict.fromkeys(chain.from_iterable(found)), free, strict=False))
    changed = [
        cast("Message", {**message, "content": pattern.sub(lambda match: character[match[0]], message["content"])})
        for pattern, message in zip(patterns, messages, strict=True)
    ]
    return Plain(changed, {mark: text for text, mark in character.items()})


def encoded(tokenizer: Any, text: str, stands_for: Mapping[str, str]) -> tuple[list[int], list[int]]:
    """Ids of a rendered text, and the character each begins at; a stand-in becomes the plain tokens of its text.

    The second list is empty where there is no stand-in. RowRefused where the tokenizer cannot keep the texts apart.
    """
    marks = [character for character in text if character in stands_for]
    if not marks:
        return token_ids(tokenizer, text), []
    if _PLACE in text:
        raise RowRefused(f"the private character U+10FFFD stands beside {_KIND}. Drop the row.", _KIND)
    shield = _controls(tokenizer).shield(tokenizer)
    made = shield.encode(text.translate(dict.fromkeys(map(ord, stands_for), _PLACE)))
    ids: list[int] = []
    starts: list[int] = []
    waiting = iter(marks)
    for token, (start, _) in zip(made.ids, made.offsets, strict=True):
        own = shield.plain_ids(stands_for[next(waiting)]) if token == shield.place else [token]
        ids += own
        starts += [start] * len(own)
    if next(waiting, None) is not None:
        raise RowRefused(f"the tokenizer cannot keep {_KIND} apart. Drop the row.", _KIND)
    return ids, starts


@dataclass(slots=True)
class _Shield:
    """A copy of the tokenizer that knows one token more, which nothing but `_PLACE` becomes."""

    backend: Tokenizer
    place: int
    known: dict[str, list[int]] = field(default_factory=dict)

    def encode(self, text: str) -> Any:
        return self.backend.encode(text, add_special_tokens=False)

    def plain_ids(self, text: str) -> list[int]:
        """Ids of a control token's text that are not the control token."""
        if text not in self.known:
            control = self.backend.token_to_id(text)
            self.backend.encode_special_tokens = True
            ids = self._after_place(text)
            self.backend.encode_special_tokens = False
            if control in ids:  # an added token that is not special: two halves cannot become it
                ids = self._after_place(text[:1] + _PLACE + text[1:])
            if control in ids or not ids:
                raise RowRefused(f"the tokenizer has no plain tokens for {text!r}. Drop the row.", _KIND)
            self.known[text] = ids
        return self.known[text]

    def _after_place(self, text: str) -> list[int]:
        return [token for token in self.encode(_PLACE + text).ids if token != self.place]


@dataclass(slots=True)
class _Controls:
    """The control tokens of a tokenizer under one template."""

    given: re.Pattern[str]
    """In what a user or the system says."""
    said: re.Pattern[str]
    """In what the assistant says."""
    shielded: _Shield | None = None

    def shield(self, tokenizer: Any) -> _Shield:
        """Made once, where the first such text is met: copying a large vocabulary takes a second."""
        if self.shielded is None:
            backend = getattr(tokenizer, "backend_tokenizer", None)
            if backend is None:
                text = f"this kind of tokenizer cannot encode {_KIND} as plain text. Drop the row."
                raise RowRefused(text, _KIND)
            copy = Tokenizer.from_str(backend.to_str())
            copy.no_truncation()
            copy.no_padding()
            copy.add_tokens([AddedToken(_PLACE, special=False, normalized=False)])
            self.shielded = _Shield(copy, copy.encode(_PLACE, add_special_tokens=False).ids[-1])
        return self.shielded


_known: WeakKeyDictionary[Any, tuple[str, _Controls]] = WeakKeyDictionary()


def _controls(tokenizer: Any) -> _Controls:
    template = tokenizer.get_chat_template() if tokenizer.chat_template else ""
    kept = _known.get(tokenizer)
    if kept is None or kept[0] != template:
        added = tokenizer.added_tokens_decoder.values()
        special = {token.content for token in added if token.special} | set(tokenizer.all_special_tokens)
        marks = {token.content for token in added if _MARK.fullmatch(token.content)} - {OPEN, CLOSE}
        written = {mark for mark in marks if mark in template}
        kept = template, _Controls(_any_of(special | written), _any_of(special - {OPEN, CLOSE}))
        _known[tokenizer] = kept
    return kept[1]


def _any_of(texts: set[str]) -> re.Pattern[str]:
    """Longest first, so that a token goes before those it contains."""
    return re.compile("|".join(map(re.escape, sorted(filter(str.strip, texts), key=len, reverse=True))) or "(?!)")
